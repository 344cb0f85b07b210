"""3D Scanner App ("All data"): frame_<i>.json, frame_<i>.jpg, depth_<i>.png, conf_<i>.png.

A frame_<i>.json holds cameraPoseARFrame (4x4, row by row) and intrinsics (3x3, row by row, pixels of the colour
image). Fewer frames have a colour image than a pose; only those are listed. Depth is in millimetres, confidence 0 to 2;
pixels of low confidence are left out. Poses are ARKit's: camera axes of OpenGL, a world whose y axis points up, which
is turned to z.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.readers.capture_format import (
    FROM_OPENGL,
    Z_UP_FROM_Y_UP,
    CaptureFormat,
    FrameEntry,
    finite_number,
)
from video3d_plugin.errors import DataError, MissingError, quoted
from video3d_plugin.files.images import open_image
from video3d_plugin.files.json import read_object
from video3d_plugin.files.regular import is_regular, read_regular
from video3d_plugin.files.text import natural_order
from video3d_plugin.scene import MAX_SLICE_BYTES, Confidence, FileSlice

_LEAST_CONFIDENCE = 1  # of 0 (low), 1 (medium), 2 (high)
_REMEDY = "export all data again"


def _matches(folder: Path) -> bool:
    return all(next(folder.glob(pattern), None) for pattern in ("frame_*.json", "frame_*.jpg", "depth_*.png"))


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    images = sorted(folder.glob("frame_*.jpg"), key=lambda path: natural_order(path.stem))
    size = next((size for image in images if (size := _size(image))), None)
    for image in images:
        number = image.stem.removeprefix("frame_")
        confidence = folder / f"conf_{number}.png"
        camera, pose = _read_camera(image.with_suffix(".json"))
        yield FrameEntry(
            number,
            image,
            depth if is_regular(depth := folder / f"depth_{number}.png") else None,
            pose if size is not None else "no colour image can be opened",
            camera,
            size,
            confidence=Confidence(FileSlice(confidence, root=folder), "png", _LEAST_CONFIDENCE)
            if is_regular(confidence)
            else None,
        )


def _size(image: Path) -> tuple[int, int] | None:
    """Return (height, width) of a colour image; None for a broken one, which is reported when it is decoded."""
    try:
        with open_image(read_regular(image, MAX_SLICE_BYTES, root=image.parent), str(image)) as opened:
            return opened.height, opened.width
    except (DataError, MissingError):
        return None


def _read_camera(path: Path) -> tuple[tuple[float, float, float, float], np.ndarray | str]:
    """Return fx, fy, cx, cy in pixels, and the (4, 4) pose, scan from camera, or the reason why there is none."""
    try:
        content = read_object(path, _REMEDY)
        matrix = _numbers(content.get("intrinsics"), 9, "intrinsics")
        pose = np.reshape(_numbers(content.get("cameraPoseARFrame"), 16, "cameraPoseARFrame"), (4, 4))
    except (DataError, MissingError) as error:
        return (1.0, 1.0, 0.0, 0.0), f"camera: {error.what}"
    return (matrix[0], matrix[4], matrix[2], matrix[5]), Z_UP_FROM_Y_UP @ pose @ FROM_OPENGL


def _numbers(value: Any, count: int, name: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise DataError(f"{name} is {quoted(value, 60)}, not {count} numbers")
    return [finite_number(number, name) for number in value]


FORMAT = CaptureFormat("3D Scanner App", _matches, _list_frames)
