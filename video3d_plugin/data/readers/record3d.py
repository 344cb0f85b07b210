"""Record3D: an .r3d file, or the folder that it unpacks to: metadata and rgbd/<i>.jpg, .depth, .conf.

An .r3d is a zip. `metadata` is JSON: K (3x3, column by column) in pixels of the w x h images, poses (qx qy qz qw x y z)
or perFrameIntrinsicCoeffs (fx fy cx cy) for each frame. Depth is LZFSE-compressed float32 in metres, confidence
LZFSE-compressed bytes 0 to 2. Poses are ARKit's: camera axes of OpenGL, a world whose y axis points up, which is turned
to z. Layout as read by nerfstudio-project/viser, src/viser/extras/_record3d.py, and marek-simonik/record3d, issue 7.
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
    image_size,
    quaternion_rotation,
    rigid_matrix,
)
from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.extras import import_extra
from video3d_plugin.files.json import parse_json
from video3d_plugin.files.text import natural_order, read_text
from video3d_plugin.scene import Confidence, FileSlice

_LEAST_CONFIDENCE = 1  # of 0 (low), 1 (medium), 2 (high)
_DEPTH_SIZES = ((192, 256), (480, 640))  # (height, width) of LiDAR and TrueDepth in landscape
_METADATA_BYTES = 1 << 27
_REMEDY = "export the .r3d again"


def _matches(folder: Path) -> bool:
    return (folder / "rgbd").is_dir() and _metadata_path(folder) is not None


def _metadata_path(folder: Path) -> Path | None:
    return next((path for name in ("metadata", "metadata.json") if (path := folder / name).is_file()), None)


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    where = _metadata_path(folder)
    assert where is not None
    import_extra("lzfse", folder)
    content = parse_json(read_text(where, _METADATA_BYTES, _REMEDY), dict, where, _REMEDY)
    poses, size = content.get("poses"), image_size(content.get("h"), content.get("w"), where)
    if not isinstance(poses, list):
        raise DataError("holds no poses", where=where, remedy="record with a version of Record3D that stores them")
    camera, cameras = _camera(content.get("K"), where), content.get("perFrameIntrinsicCoeffs")
    images = sorted((folder / "rgbd").glob("*.jpg"), key=lambda path: natural_order(path.stem))
    depth_size = _depth_size(content, size, where)
    for image in images:
        index = int(image.stem) if image.stem.isascii() and image.stem.isdecimal() and len(image.stem) < 9 else -1
        own = cameras[index] if isinstance(cameras, list) and 0 <= index < len(cameras) else None
        confidence = image.with_suffix(".conf")
        yield FrameEntry(
            image.stem,
            image,
            image.with_suffix(".depth"),
            _pose(poses[index]) if 0 <= index < len(poses) else "no pose in the metadata",
            _numbers(own, 4, where) if own is not None else camera,
            size,
            depth_codec="lzfse_float",
            depth_size=depth_size,
            unit_m=1.0,
            confidence=Confidence(FileSlice(confidence, root=folder), "lzfse", _LEAST_CONFIDENCE)
            if confidence.is_file()
            else None,
        )


def _depth_size(content: dict[str, Any], size: tuple[int, int], where: Path) -> tuple[int, int]:
    """Return (height, width) of the depth images: as the metadata say, else the sensor's in the images' orientation."""
    if "dh" in content and "dw" in content:
        return image_size(content["dh"], content["dw"], where)
    camera_type = content.get("cameraType", 1)  # 0: TrueDepth
    landscape = _DEPTH_SIZES[1 if camera_type == 0 or max(size) <= 640 and "cameraType" not in content else 0]
    return landscape if size[1] >= size[0] else (landscape[1], landscape[0])


def _camera(value: Any, where: Path) -> tuple[float, float, float, float]:
    numbers = _numbers(value, 9, where)
    return numbers[0], numbers[4], numbers[6], numbers[7]


def _numbers(value: Any, count: int, where: Path) -> Any:
    """Return `count` finite numbers as a tuple; DataError for anything else."""
    try:
        numbers = np.array(value, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DataError(f"intrinsics are {quoted(value, 60)}, not {count} numbers", where=where, remedy=_REMEDY)
    return tuple(map(float, numbers))


def _pose(value: Any) -> np.ndarray | str:
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0)
    if numbers.shape != (7,):
        return "its pose is not seven numbers"
    return Z_UP_FROM_Y_UP @ rigid_matrix(quaternion_rotation(*numbers[:4]), numbers[4:]) @ FROM_OPENGL


FORMAT = CaptureFormat("Record3D", _matches, _list_frames)
