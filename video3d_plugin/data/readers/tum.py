"""TUM RGB-D: rgb.txt, depth.txt, groundtruth.txt.

Depth is in 1/5000 m, z points up. Colour, depth and pose are paired by time, within 20 ms, as TUM's associate.py does.
The intrinsics are the published ones of the camera that the folder's name contains.
"""

from __future__ import annotations

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

_PAIRING_S = 0.02
_UNIT_M = 1 / 5000
_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
_DEFAULT_CAMERA = (525.0, 525.0, 319.5, 239.5)
_CAMERA_SIZE = (480, 640)


def _matches(folder: Path) -> bool:
    return all((folder / f"{name}.txt").is_file() for name in ("rgb", "depth", "groundtruth"))


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    camera = next((c for name, c in _CAMERAS.items() if name in folder.resolve().name), _DEFAULT_CAMERA)
    if camera is _DEFAULT_CAMERA:
        notes.append("the folder's name contains no TUM camera: the default intrinsics (525) are used")
    depths, poses = read_table(folder / "depth.txt", 2), read_table(folder / "groundtruth.txt", 8)
    depth_times, pose_times = row_times(depths), row_times(poses)
    for row in read_table(folder / "rgb.txt", 2):
        time = float(row[0])
        depth_row = nearest_row(depths, depth_times, time, _PAIRING_S)
        pose_row = nearest_row(poses, pose_times, time, _PAIRING_S)
        pose: np.ndarray | str = "no pose at that time"
        if pose_row is not None:
            pose = rigid_matrix(_rotation(*map(float, pose_row[4:8])), list(map(float, pose_row[1:4])))
        depth = resolve_name(folder, depth_row[1]) if depth_row is not None else None
        color = resolve_name(folder, row[1])
        yield FrameEntry(row[0], color, depth, pose, camera, _CAMERA_SIZE, unit_m=_UNIT_M)


def _rotation(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Return the (3, 3) rotation of a quaternion; NaN for one of length 0."""
    from scipy.spatial.transform import Rotation

    if not np.linalg.norm([x, y, z, w]) > 1e-9:
        return np.full((3, 3), np.nan)
    return Rotation.from_quat([x, y, z, w]).as_matrix()


FORMAT = CaptureFormat("TUM RGB-D", _matches, _list_frames)
