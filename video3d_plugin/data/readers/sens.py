"""ScanNet's .sens container: header and frame table. Colour and depth stay on disk until a frame is decoded.

Source of the format: ScanNet/ScanNet, SensReader/python/SensorData.py, version 4, little endian. Images are skipped,
not read: a file of 5 GB costs a few thousand seeks and no memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.images import check_depth_size
from video3d_plugin.files.regular import open_regular
from video3d_plugin.geometry.camera_checks import check_depth_unit, check_intrinsics, pose_fault
from video3d_plugin.scene import FileSlice, Frame, Omission

_MATRICES = struct.Struct("<64f")
_TAIL = struct.Struct("<ii4IfQ")
_FRAME = struct.Struct("<16f4Q")
_REMEDY = "expected a ScanNet .sens file of version 4; download it again"
_COLOR_KINDS = {1: "png", 2: "jpeg"}
_MAX_NAME = 4096
REFERENCE_STEP = 10  # Video-3D LLM and EmbodiedScan export every tenth frame


@dataclass(frozen=True)
class SensHeader:
    """What precedes the frames.

    Attributes:
        color_intrinsics: (4, 4) float64, pixels of the colour image.
        depth_intrinsics: (4, 4) float64, pixels of the depth image.
        color_codec: "jpeg" or "png".
        depth_size: (height, width) in pixels.
        depth_unit_m: Metres per depth unit.
        frame_count: Number of frames that the file should have.
        first_frame_offset: Where the first frame begins, in bytes.
    """

    color_intrinsics: np.ndarray
    depth_intrinsics: np.ndarray
    color_codec: str
    depth_size: tuple[int, int]
    depth_unit_m: float
    frame_count: int
    first_frame_offset: int


@dataclass(frozen=True)
class SensFrame:
    """An entry of the frame table.

    Attributes:
        index: Place in the file, from 0.
        scan_from_camera: (4, 4) float64 pose as stored, metres; infinite if tracking was lost.
        color: Bytes of the colour image.
        depth: Bytes of the depth image, zlib-compressed.
    """

    index: int
    scan_from_camera: np.ndarray
    color: FileSlice
    depth: FileSlice


def read_header(path: Path) -> SensHeader:
    """Read the header of a .sens file.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not a .sens file of version 4, or is compressed in another way.
    """
    with open_regular(path) as file:
        return _read_header(file, path)


def iterate_frames(path: Path, header: SensHeader, step: int = 1) -> Iterator[SensFrame]:
    """Yield every `step`-th entry of the frame table.

    Raises:
        DataError: The file ends early; raised after all whole frames.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        offset = header.first_frame_offset
        for index in range(header.frame_count):
            file.seek(offset)
            head = file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                raise DataError(f"ends at frame {index} of {header.frame_count}", where=path, remedy="copy it again")
            *pose, _, _, color_bytes, depth_bytes = _FRAME.unpack(head)
            start = offset + _FRAME.size
            offset = start + color_bytes + depth_bytes
            if offset > size:
                raise DataError(
                    f"ends inside frame {index} of {header.frame_count}", where=path, remedy="copy it again"
                )
            if index % step == 0:
                yield SensFrame(
                    index,
                    np.array(pose, np.float64).reshape(4, 4),
                    FileSlice(path, start, color_bytes),
                    FileSlice(path, start + color_bytes, depth_bytes),
                )


def read_sens(path: Path, frame_step: int | None = None) -> tuple[tuple[Frame, ...], list[Omission], list[str]]:
    """Read the frames of a .sens file.

    Args:
        path: The file.
        frame_step: Keep every n-th frame, counted from 0 before any is left out. By default every tenth, as Video-3D
            LLM and EmbodiedScan export them; in a short scan, as many as give 32 frames.

    Returns:
        Frames, omissions and notes. Frames without a pose are left out, and so are those behind the end of a truncated
        file.

    Raises:
        MissingError: There is no such file.
        DataError: Its header is broken.
    """
    header = read_header(path)
    step = frame_step if frame_step is not None else default_step(header.frame_count)
    if step < 1:
        raise DataError(f"frame step {step} is not positive", where=path)
    frames: list[Frame] = []
    omissions: list[Omission] = []
    entries = iterate_frames(path, header, step)
    while True:
        try:
            entry = next(entries)
        except StopIteration:
            break
        except DataError as error:  # a truncated download: keep the whole frames
            omissions.append(Omission(f"frames of {path.name}", error.what))
            break
        name = f"{entry.index:05d}"
        if fault := pose_fault(entry.scan_from_camera):
            omissions.append(Omission(f"frame {name}", fault))
            continue
        frames.append(
            Frame(
                name=name,
                color=entry.color,
                depth=entry.depth,
                scan_from_camera=entry.scan_from_camera,
                depth_intrinsics=header.depth_intrinsics,
                depth_size=header.depth_size,
                depth_codec="zlib_ushort",
                depth_unit_m=header.depth_unit_m,
            )
        )
    notes = [f"one frame in {step} is used, of {header.frame_count} in {path.name}"] if step > 1 else []
    return tuple(frames), omissions, notes


def default_step(frame_count: int, least_frames: int = 32) -> int:
    """Return the default frame step of a scan: 10, or less if fewer than `least_frames` would remain."""
    return min(REFERENCE_STEP, max(1, frame_count // least_frames))


def _take(file: BinaryIO, count: int, path: Path) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise DataError("ends inside the header", where=path, remedy=_REMEDY)
    return data


def _read_header(file: BinaryIO, path: Path) -> SensHeader:
    version, name_bytes = struct.unpack("<IQ", _take(file, 12, path))
    if version != 4 or name_bytes > _MAX_NAME:
        raise DataError(
            f"not a .sens file (version {version}, sensor name of {name_bytes} bytes)", where=path, remedy=_REMEDY
        )
    _take(file, name_bytes, path)
    matrices = np.array(_MATRICES.unpack(_take(file, _MATRICES.size, path)), np.float64).reshape(4, 4, 4)
    tail = _TAIL.unpack(_take(file, _TAIL.size, path))
    color_kind, depth_kind, _, _, depth_width, depth_height, depth_shift, count = tail
    if color_kind not in _COLOR_KINDS or depth_kind != 1:
        what = f"colour compression {color_kind} and depth compression {depth_kind} are not supported"
        raise DataError(what, where=path, remedy="supported: jpeg (2) or png (1) with zlib depth (1)")
    check_depth_size((depth_height, depth_width), str(path))
    if not depth_shift > 0:
        raise DataError(f"depth shift is {depth_shift}, expected a positive number", where=path, remedy=_REMEDY)
    return SensHeader(
        color_intrinsics=matrices[0],
        depth_intrinsics=check_intrinsics(matrices[2], path),
        color_codec=_COLOR_KINDS[color_kind],
        depth_size=(depth_height, depth_width),
        depth_unit_m=check_depth_unit(1.0 / depth_shift, path),
        frame_count=count,
        first_frame_offset=file.tell(),
    )
