"""nerfstudio: transforms.json with a depth_file_path in each frame.

Poses are camera to world with the axes of OpenGL (x right, y up, z back), taken as metres; z points up. Depth is in
units of `depth_unit_scale_factor` metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry, resolve_name
from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_json
from video3d_plugin.files.text import natural_order
from video3d_plugin.geometry.camera_checks import check_depth_unit

_FILE = "transforms.json"
_CAMERA_FIELDS = ("fl_x", "fl_y", "cx", "cy", "h", "w")
_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def _matches(folder: Path) -> bool:
    return (folder / _FILE).is_file()


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    where = folder / _FILE
    content = read_json(where, dict, "expected nerfstudio's transforms.json")
    entries = content.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError("no list of frames", where=where)
    if any(content.get(name) for name in ("k1", "k2", "k3", "p1", "p2")):
        notes.append("lens distortion is not corrected")
    notes.append("poses are taken as metres")
    unit = check_depth_unit(_positive(content.get("depth_unit_scale_factor", 0.001), where), where)
    for entry in sorted(entries, key=lambda e: natural_order(str(e.get("file_path")))):
        values = [_positive(entry.get(name, content.get(name)), where) for name in _CAMERA_FIELDS]
        color, depth = entry.get("file_path"), entry.get("depth_file_path")
        if not isinstance(color, str):
            raise DataError("a frame has no file_path", where=where)
        pose = _pose(entry.get("transform_matrix"))
        depth_path = resolve_name(folder, depth) if isinstance(depth, str) else None
        size = (int(values[4]), int(values[5]))
        if min(size) < 1:
            raise DataError(f"image size {values[5]:g}x{values[4]:g} is less than a pixel", where=where)
        name, color_path = color.rpartition(".")[0] or color, resolve_name(folder, color)
        yield FrameEntry(name, color_path, depth_path, pose, tuple(values[:4]), size, unit_m=unit)


def _pose(value: Any) -> np.ndarray | str:
    """Return the (4, 4) float64 pose, scan from camera (z forward), or the reason why there is none."""
    try:
        matrix = np.array(value, np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError):
        return "transform_matrix is not 4x4"
    return matrix @ _FROM_OPENGL if np.isfinite(matrix).all() else "transform_matrix is not finite"


def _positive(value: Any, where: Path) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
    except OverflowError:  # an integer beyond all floats
        number = np.inf
    if not 0 < number < np.inf:
        raise DataError(f"camera value {quoted(value, 40)} is not a positive number", where=where)
    return number


FORMAT = CaptureFormat("nerfstudio", _matches, _list_frames)
