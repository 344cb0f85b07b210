"""Polycam's raw data: keyframes/ with images, cameras, depth and confidence of each keyframe.

Layout: PolyCam/polyform, README.md. The corrected images and cameras (undistorted, globally optimised poses) are used
where the app wrote them. Poses are ARKit's: camera axes of OpenGL, a world whose y axis points up, which is turned to
z. Depth is in millimetres; pixels of low confidence are left out, as Polycam recommends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers.capture_format import (
    FROM_OPENGL,
    Z_UP_FROM_Y_UP,
    CaptureFormat,
    FrameEntry,
    finite_number,
    image_size,
)
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import read_object
from video3d_plugin.files.text import natural_order
from video3d_plugin.scene import Confidence, FileSlice

_CAMERA_FIELDS = ("fx", "fy", "cx", "cy")
_POSE_FIELDS = tuple(f"t_{row}{column}" for row in range(3) for column in range(4))
_LEAST_CONFIDENCE = 1  # of 0 (low), 127 (medium), 255 (high)
_REMEDY = "export the raw data again"


def _matches(folder: Path) -> bool:
    keyframes = _keyframes(folder)
    return (keyframes / "depth").is_dir() and any(
        (keyframes / f"{kind}cameras").is_dir() for kind in ("corrected_", "")
    )


def _keyframes(folder: Path) -> Path:
    return inner if (inner := folder / "keyframes").is_dir() else folder


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    keyframes = _keyframes(folder)
    kind = "corrected_" if all((keyframes / f"corrected_{part}").is_dir() for part in ("images", "cameras")) else ""
    if not kind:
        notes.append("the app wrote no corrected_images and corrected_cameras: poses drift, lens distortion stays")
    for path in sorted((keyframes / f"{kind}cameras").glob("*.json"), key=lambda path: natural_order(path.stem)):
        name = path.stem
        camera, size, pose = _read_camera(path)
        confidence = keyframes / "confidence" / f"{name}.png"
        yield FrameEntry(
            name,
            keyframes / f"{kind}images" / f"{name}.jpg",
            keyframes / "depth" / f"{name}.png",
            pose,
            camera,
            size,
            confidence=Confidence(FileSlice(confidence, root=folder), "png", _LEAST_CONFIDENCE)
            if confidence.is_file()
            else None,
        )


def _read_camera(path: Path) -> tuple[tuple[float, float, float, float], tuple[int, int] | None, np.ndarray | str]:
    """Return fx, fy, cx, cy in pixels, the (height, width) they are for, and the pose or why there is none."""
    no_camera = (1.0, 1.0, 0.0, 0.0)
    try:
        content = read_object(path, _REMEDY)
        values = [finite_number(content.get(name), name) for name in (*_CAMERA_FIELDS, *_POSE_FIELDS)]
        size = image_size(content.get("height"), content.get("width"))
    except (DataError, MissingError) as error:
        return no_camera, None, f"camera: {error.what}"
    matrix = np.eye(4)
    matrix[:3] = np.reshape(values[4:], (3, 4))
    return (values[0], values[1], values[2], values[3]), size, Z_UP_FROM_Y_UP @ matrix @ FROM_OPENGL


FORMAT = CaptureFormat("Polycam", _matches, _list_frames)
