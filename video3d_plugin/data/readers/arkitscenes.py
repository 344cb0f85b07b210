"""ARKitScenes: lowres_wide/, lowres_depth/, lowres_wide_intrinsics/, lowres_wide.traj.

Depth is in millimetres, z points up. Poses come at 10 Hz and are paired with images by time.
Source of the layout: apple/ARKitScenes, threedod/benchmark_scripts/utils/tenFpsDataLoader.py.
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
    rigid_matrix,
    row_times,
)
from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import is_regular
from video3d_plugin.files.text import MATRIX_BYTES, parse_numbers, read_text

_PAIRING_S = 0.06


def _image_folders(folder: Path) -> tuple[Path, ...]:
    return folder / "lowres_wide", folder / f"{folder.name}_frames" / "lowres_wide"


def _matches(folder: Path) -> bool:
    return any(path.is_dir() for path in _image_folders(folder))


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    base = next(path for path in _image_folders(folder) if path.is_dir()).parent
    poses = read_table(base / "lowres_wide.traj", 7)
    times = row_times(poses)
    images = [(_time(color.stem), color) for color in (base / "lowres_wide").glob("*.png")]
    for time, color in sorted(images):
        if time == np.inf:
            yield FrameEntry(color.stem, color, None, "its name contains no time", (0.0,) * 4)
            continue
        row = nearest_row(poses, times, time, _PAIRING_S)
        pose: np.ndarray | str = "no pose at that time"
        if row is not None:
            camera_from_scan = rigid_matrix(_rotation(list(map(float, row[1:4]))), list(map(float, row[4:7])))
            pose = np.linalg.inv(camera_from_scan)
        camera = _read_camera(base / "lowres_wide_intrinsics", color.stem, time)
        if isinstance(camera, str):
            pose, camera = camera, [0.0] * 6
        size, (fx, fy, cx, cy) = (int(camera[1]), int(camera[0])), camera[2:6]
        depth = base / "lowres_depth" / color.name
        yield FrameEntry(color.stem, color, depth, pose, (fx, fy, cx, cy), size if min(size) > 0 else None)


def _time(stem: str) -> float:
    """Return the seconds in a name like 42444946_78.223; infinity if it contains none."""
    try:
        time = float(stem.rpartition("_")[2])
    except ValueError:
        return np.inf
    return time if np.isfinite(time) else np.inf


def _read_camera(folder: Path, stem: str, time: float) -> list[float] | str:
    """Return width, height, fx, fy, cx, cy of an image in pixels, or the reason why there are none.

    The time in the file's name may differ from the image's by up to a millisecond, as Apple's own loader allows.
    """
    video = stem.rpartition("_")[0]
    names = [stem, *(f"{video}_{time + offset_s:.3f}" for offset_s in (-0.001, 0.001))]
    path = next((path for name in names if is_regular(path := folder / f"{name}.pincam")), None)
    if path is None:
        return "no intrinsics"
    try:
        return parse_numbers(read_text(path, MATRIX_BYTES), 6, where=path)
    except DataError as error:
        return f"intrinsics: {error.what}"


def _rotation(axis_angle: list[float]) -> np.ndarray:
    """Return the (3, 3) rotation of an axis whose length is the angle in radians."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(axis_angle).as_matrix()


FORMAT = CaptureFormat("ARKitScenes", _matches, _list_frames)
