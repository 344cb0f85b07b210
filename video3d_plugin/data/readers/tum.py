"""TUM RGB-D: rgb.txt, depth.txt, groundtruth.txt; or associations.txt instead of the first two.

Depth is in 1/5000 m, z points up. Colour, depth and pose are paired by time, within 20 ms, as TUM's associate.py does.
The intrinsics are those that the folder gives (calib.txt, ...), else the published ones of the camera that its name
contains, else TUM's default, with a note.

SLAM systems write and read this layout with other cameras and units; ICL-NUIM, for one, has associations.txt alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers.capture_format import (
    CaptureFormat,
    FrameEntry,
    nearest_row,
    read_table,
    resolve_name,
    rigid_matrix,
    row_times,
)
from video3d_plugin.errors import DataError
from video3d_plugin.notes import Note

_PAIRING_S = 0.02
_UNIT_M = 1 / 5000
_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
    "rgbd_bonn": (542.822841, 542.576870, 315.593520, 237.756098),
}
_DEFAULT_CAMERA = (525.0, 525.0, 319.5, 239.5)
_CAMERA_SIZE = (480, 640)
_DEFAULT_NOTE = (
    "the folder's name contains no TUM camera: TUM's default intrinsics (525) are used; "
    "calib.txt (fx fy cx cy) or --intrinsics gives the camera's own"
)
_PAIRS = ("associations.txt", "associate.txt", "associated.txt", "association.txt", "assoc.txt")
_POSES = ("groundtruth.txt", "CameraTrajectory.txt", "KeyFrameTrajectory.txt", "trajectory.txt")
_DEPTH_NAME = re.compile(r"(^|[/\\_.])depth", re.IGNORECASE)


def _matches(folder: Path) -> bool:
    has_images = all((folder / name).is_file() for name in ("rgb.txt", "depth.txt"))
    return (has_images or _pairs_file(folder) is not None) and _poses_file(folder) is not None


def _pairs_file(folder: Path) -> Path | None:
    return next((path for name in _PAIRS if (path := folder / name).is_file()), None)


def _poses_file(folder: Path) -> Path | None:
    return next((path for name in _POSES if (path := folder / name).is_file()), None)


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    name = folder.resolve().name
    camera = next((camera for part, camera in _CAMERAS.items() if part in name), _DEFAULT_CAMERA)
    note = _DEFAULT_NOTE if camera is _DEFAULT_CAMERA else ""
    pairs, poses_path = _read_pairs(folder), _poses_file(folder)
    assert poses_path is not None  # `_matches` has found it
    poses = read_table(poses_path, 8)
    times = row_times(poses)
    _check_times(np.array([float(time) for time, _, _ in pairs]), times, poses_path)
    if poses_path.name != _POSES[0]:
        notes.append(Note(f"the poses are those of {poses_path.name}, an estimate", "assumption"))
    for time, color, depth in pairs:
        row = nearest_row(poses, times, float(time), _PAIRING_S)
        pose: np.ndarray | str = "no pose at that time"
        if row is not None:
            pose = rigid_matrix(_rotation(*map(float, row[4:8])), list(map(float, row[1:4])))
        color_path = resolve_name(folder, color)
        depth_path = resolve_name(folder, depth) if depth is not None else None
        yield FrameEntry(time, color_path, depth_path, pose, camera, _CAMERA_SIZE, _UNIT_M, camera_note=note)


def _read_pairs(folder: Path) -> list[tuple[str, str, str | None]]:
    """Return time in seconds as it is written, colour file, and depth file or None, of each frame in order of time."""
    pairs_path = _pairs_file(folder)
    if not (folder / "rgb.txt").is_file() or not (folder / "depth.txt").is_file():
        assert pairs_path is not None  # `_matches` has found it
        return [_read_pair(row) for row in read_table(pairs_path, 4)]
    depths = read_table(folder / "depth.txt", 2)
    depth_times, pairs = row_times(depths), []
    for row in read_table(folder / "rgb.txt", 2):
        depth_row = nearest_row(depths, depth_times, float(row[0]), _PAIRING_S)
        pairs.append((row[0], row[1], depth_row[1] if depth_row is not None else None))
    return pairs


def _read_pair(row: list[str]) -> tuple[str, str, str | None]:
    """Return time, colour and depth of a row of associations.txt; ICL-NUIM lists depth first, associate.py colour."""
    depth_first = _DEPTH_NAME.search(row[1]) is not None and _DEPTH_NAME.search(row[3]) is None
    return (row[2], row[3], row[1]) if depth_first else (row[0], row[1], row[3])


def _check_times(images: np.ndarray, poses: np.ndarray, where: Path) -> None:
    """Raise DataError if images and poses were counted by different clocks."""
    if len(images) and len(poses) and (images.min() > poses.max() + 1 or poses.min() > images.max() + 1):
        spans = [f"{times.min():.10g} to {times.max():.10g}" for times in (poses, images)]
        what = f"poses of {spans[0]} s, but images of {spans[1]} s: their clocks differ"
        raise DataError(what, where=where, remedy="give both the same times")


def _rotation(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Return the (3, 3) rotation of a quaternion; NaN for one of length 0."""
    from scipy.spatial.transform import Rotation

    if not np.linalg.norm([x, y, z, w]) > 1e-9:
        return np.full((3, 3), np.nan)
    return Rotation.from_quat([x, y, z, w]).as_matrix()


FORMAT = CaptureFormat("TUM RGB-D", _matches, _list_frames)
