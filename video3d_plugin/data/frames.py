"""Decoding of frames: the only place where images are opened."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from video3d_plugin.errors import DataError
from video3d_plugin.scene import FileSlice, Frame, Omission, Scene

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 26  # 8192 x 8192: a header that claims more is broken or hostile
_EXPORT = "export this frame again, or leave it out"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def open_color(frame: Frame) -> Image.Image:
    """The colour image as a decoded Pillow RGB image; DataError if it is not a whole image."""
    with _opened(frame) as image:
        return image.convert("RGB")


def color_size(frame: Frame) -> tuple[int, int]:
    """(height, width) of the colour image, from its header."""
    with _opened(frame) as image:
        return image.height, image.width


class _Whole(io.BytesIO):
    """An image's bytes. Once it is opened, asking for more than there are is an error.

    Pillow says so itself, but not where a host has told it to fill what is missing with grey, as LLaVA-NeXT's trainer
    does (`ImageFile.LOAD_TRUNCATED_IMAGES`).
    """

    opened = False

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.opened and size and not data:
            raise OSError("image file is truncated")
        return data


@contextmanager
def _opened(frame: Frame) -> Iterator[Image.Image]:
    """The colour image before it is decoded; DataError if it, or what is done with it, fails."""
    from PIL import Image, UnidentifiedImageError

    where = describe(frame.color, frame)
    data = _read(frame.color, where)
    try:
        stream = _Whole(data)
        with Image.open(stream) as image:
            stream.opened = True
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"colour image claims {image.width}x{image.height} pixels", where=where)
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError("colour image cannot be decoded: no kind of image", where=where, remedy=_EXPORT) from error
    except Exception as error:  # Pillow's plugins raise many types on broken files; all mean the same here
        raise DataError(f"colour image cannot be decoded: {error}", where=where, remedy=_EXPORT) from error


def read_color(frame: Frame) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return np.asarray(open_color(frame))


def read_depth(frame: Frame) -> np.ndarray:
    """(H, W) uint16 in units of frame.depth_unit_m, 0 where nothing was measured.

    DataError if it is not a whole 16-bit image of frame.depth_size.
    """
    where = describe(frame.depth, frame)
    data = _read(frame.depth, where)
    depth = _depth_from_png(data, where) if frame.depth_codec == "png" else _depth_from_zlib(data, frame, where)
    if depth.shape != tuple(frame.depth_size):
        raise DataError(
            f"depth is {depth.shape[1]}x{depth.shape[0]}, expected {frame.depth_size[1]}x{frame.depth_size[0]}",
            where=where,
            remedy=_EXPORT,
        )
    return depth if frame.depth_void is None else np.where(depth == frame.depth_void, np.uint16(0), depth)


def png_size(source: FileSlice, where: str) -> tuple[int, int]:
    """(height, width) of a 16-bit grey PNG, from its first 33 bytes."""
    try:
        return _png_header(FileSlice(source.path, source.offset, 33).read(), where)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=where) from error


def check_frame(frame: Frame) -> str | None:
    """None if colour and depth decode in full, else why not."""
    try:
        read_depth(frame)
        open_color(frame)
    except DataError as error:
        return error.what
    return None


def without_broken_frames(scene: Scene, threads: int = 1, progress: bool = False) -> Scene:
    """The scene without the frames whose images do not decode, which become omissions; DataError if none is left.

    Every image is decoded once: 6 ms of processor time a frame of 640x480. progress: a bar, on a terminal.
    """
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(check_frame, scene.frames)
        bar = tqdm(results, "checking frames", len(scene.frames), disable=None if progress else True, delay=1)
        checked = list(zip(scene.frames, bar, strict=True))
    frames = tuple(frame for frame, reason in checked if reason is None)
    broken = [Omission(f"frame {frame.name}", reason) for frame, reason in checked if reason is not None]
    omissions = (*scene.omissions, *broken)
    if not frames:
        first = f"; the first: {omissions[0].what}: {omissions[0].reason}" if omissions else ""
        remedy = "see docs/own_scans.md for what a recording needs"
        raise DataError(f"no frame can be used{first}", where=scene.scene_id, remedy=remedy)
    return replace(scene, frames=frames, omissions=omissions)


def keep_commonest_depth_size(frames: list[Frame], omissions: list[Omission]) -> tuple[Frame, ...]:
    """The frames whose depth has the commonest size (the first such on a tie); the others become omissions."""
    if not frames:
        return ()
    size = Counter(frame.depth_size for frame in frames).most_common(1)[0][0]
    for frame in frames:
        if frame.depth_size != size:
            got, expected = (f"{s[1]}x{s[0]}" for s in (frame.depth_size, size))
            omissions.append(Omission(f"frame {frame.name}", f"depth is {got}, expected {expected}"))
    return tuple(frame for frame in frames if frame.depth_size == size)


def describe(source: FileSlice, frame: Frame) -> str:
    return str(source.path) if source.size is None and not source.offset else f"{source.path} (frame {frame.name})"


def _read(source: FileSlice, where: str) -> bytes:
    try:
        data = source.read()
    except OSError as error:
        remedy = "the prepared data folder points to the frames: put the source back or prepare again"
        raise DataError(f"cannot be read: {error.strerror or error}", where=where, remedy=remedy) from error
    if source.size is not None and len(data) < source.size:
        raise DataError(f"ends after {len(data)} of {source.size} bytes", where=where, remedy="copy it again")
    return data


def _png_header(head: bytes, where: str) -> tuple[int, int]:
    if len(head) < 33 or head[:8] != _PNG_SIGNATURE or head[12:16] != b"IHDR":
        raise DataError("depth is not a PNG", where=where, remedy="expected a 16-bit grey PNG")
    width, height, bits, kind = struct.unpack(">IIBB", head[16:26])
    if (bits, kind) != (16, 0):
        raise DataError(
            f"depth has {bits} bits and PNG colour type {kind}", where=where, remedy="expected a 16-bit grey PNG"
        )
    if not 0 < width * height <= MAX_PIXELS:
        raise DataError(f"depth claims {width}x{height} pixels", where=where)
    return height, width


def _depth_from_png(data: bytes, where: str) -> np.ndarray:
    """OpenCV decodes twice as fast as Pillow, but passes over a file's missing end: so that is checked before."""
    _png_header(data[:33], where)
    if not _is_whole_png(data):
        raise DataError("depth cannot be decoded: the PNG is truncated or damaged", where=where, remedy=_EXPORT)
    depth = _decode_png(data)
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        raise DataError("depth cannot be decoded: no 16-bit grey image comes out", where=where, remedy=_EXPORT)
    return depth


def _decode_png(data: bytes) -> np.ndarray | None:
    """With OpenCV, or with Pillow where OpenCV cannot: after `import decord` (LLaVA-NeXT's training imports it), whose
    zlib comes before OpenCV's own, libpng fails with "bad parameters to zlib". None where neither can."""
    global _opencv_decodes
    if _opencv_decodes:
        import cv2

        depth = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if depth is not None:
            return depth
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            depth = np.array(image)
    except (OSError, ValueError, SyntaxError):
        return None
    _opencv_decodes = False  # it failed where Pillow did not: ask it no more, it complains at every frame
    return depth.astype(np.uint16) if depth.dtype == np.int32 else depth  # Pillow before 10 reads mode "I"


_opencv_decodes = True


def _is_whole_png(data: bytes) -> bool:
    """Whether the chunks follow each other to the end mark, each with its right checksum."""
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def _depth_from_zlib(data: bytes, frame: Frame, where: str) -> np.ndarray:
    height, width = frame.depth_size
    if not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"depth claims {width}x{height} pixels", where=where)
    expected = height * width * 2
    try:
        raw = zlib.decompressobj().decompress(data, expected + 1)  # bounded, whatever the stream holds
    except zlib.error as error:
        raise DataError(f"depth cannot be decompressed: {error}", where=where, remedy="copy the file again") from error
    if len(raw) != expected:
        size = f"{len(raw)}" if len(raw) < expected else f"more than {expected}"
        raise DataError(f"depth holds {size} bytes, expected {expected} ({width}x{height})", where=where)
    return np.frombuffer(raw, "<u2").reshape(height, width).astype(np.uint16)
