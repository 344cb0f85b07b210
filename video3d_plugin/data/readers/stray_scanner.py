"""Stray Scanner: rgb.mp4 (HEVC), depth/, confidence/, odometry.csv, camera_matrix.csv.

Layout: strayrobots/scanner, docs/format.md. Depth is in millimetres, in .png or, of older versions, .npy files.
odometry.csv has a pose for each frame of the video (x y z qx qy qz qw, camera with z forward, as
kekeblom/StrayVisualizer uses them) in ARKit's world, whose y axis points up and is turned to z. Newer versions add the
fx fy cx cy of each frame. Pixels of low confidence are left out. Frames of the video are written beside it (see
`extracted`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from video3d_plugin.data.readers.capture_format import (
    Z_UP_FROM_Y_UP,
    CaptureFormat,
    FrameEntry,
    quaternion_rotation,
    rigid_matrix,
)
from video3d_plugin.data.readers.extracted import extract_images, folder_beside
from video3d_plugin.data.readers.video import jpeg_frames, video_size
from video3d_plugin.errors import DataError
from video3d_plugin.files.text import MATRIX_BYTES, parse_numbers, read_text
from video3d_plugin.scene import Confidence, FileSlice

_VIDEO, _POSES, _CAMERA = "rgb.mp4", "odometry.csv", "camera_matrix.csv"
_POSITION_COLUMNS, _ROTATION_COLUMNS = ("x", "y", "z"), ("qx", "qy", "qz", "qw")
_CAMERA_COLUMNS = ("fx", "fy", "cx", "cy")
_LEAST_CONFIDENCE = 1  # of 0 (low), 1 (medium), 2 (high)
_ODOMETRY_BYTES = 1 << 28
_MAX_FRAMES = 10_000_000
_REMEDY = "copy the recording again"


def _matches(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_POSES, _CAMERA))


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    video = folder / _VIDEO
    size = video_size(video)
    numbers = parse_numbers(read_text(folder / _CAMERA, MATRIX_BYTES).replace(",", " "), 9, where=folder / _CAMERA)
    camera = (numbers[0], numbers[4], numbers[2], numbers[5])
    for row in _read_odometry(folder / _POSES):
        name = f"{int(row['frame']):06d}"
        depth = next((path for s in (".png", ".npy") if (path := folder / "depth" / (name + s)).is_file()), None)
        confidence = folder / "confidence" / f"{name}.png"
        rotation = quaternion_rotation(*(row[column] for column in _ROTATION_COLUMNS))
        pose = Z_UP_FROM_Y_UP @ rigid_matrix(rotation, [row[column] for column in _POSITION_COLUMNS])
        own_camera = [row[column] for column in _CAMERA_COLUMNS if column in row]
        yield FrameEntry(
            name,
            folder_beside(video) / f"{name}.jpg",
            depth,
            pose,
            tuple(own_camera) if len(own_camera) == len(_CAMERA_COLUMNS) else camera,  # type: ignore[arg-type]
            size,
            confidence=Confidence(FileSlice(confidence, root=folder), "png", _LEAST_CONFIDENCE)
            if confidence.is_file()
            else None,
        )


def _read_odometry(path: Path) -> list[dict[str, float]]:
    """Return the numbers of each row by the name of its column."""
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, _ODOMETRY_BYTES)), skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"not a table of comma-separated values: {error}", where=path, remedy=_REMEDY) from error
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in ("frame", *_POSITION_COLUMNS, *_ROTATION_COLUMNS) if name not in header]
    if missing:
        raise DataError(f"has no column {', '.join(missing)}", where=path, remedy=_REMEDY)
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            row = dict(zip(header, map(float, line), strict=True))
        except ValueError:
            row = {}
        if not row or not 0 <= row["frame"] <= _MAX_FRAMES:
            raise DataError(f"line {number} is not a row of {len(header)} numbers", where=path, remedy=_REMEDY)
        rows.append(row)
    return rows


def _extract(folder: Path, entries: list[FrameEntry]) -> list[FrameEntry]:
    """Write the colour images of the entries, as far as the video has them."""
    video = folder / _VIDEO
    # the name of a file is that of the frame's index, whatever the frame is called
    indices = {entry.color.name: int(entry.color.stem) for entry in entries if entry.depth is not None}

    def decode(names: set[str]) -> Iterator[tuple[str, bytes]]:
        by_index = {indices[name]: name for name in names}
        for index, data in jpeg_frames(video, set(by_index)):
            yield by_index[index], data

    extract_images(video, list(indices), decode)
    return entries


FORMAT = CaptureFormat("Stray Scanner", _matches, _list_frames, extract=_extract)
