"""Decodes images of unknown origin. Nothing else in the package opens images with Pillow or OpenCV.

The first bytes of an image determine its format, and only the decoder of that format is used. Pillow alone would try
every plug-in, of which some start programs (PostScript starts Ghostscript) or open files that the image names.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 26  # 8192 x 8192: a header that claims more is broken or hostile
COLOR_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # Pillow's names
EXPORT_AGAIN = "export this frame again, or leave it out"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (_PNG_SIGNATURE,),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}


def image_format(data: bytes) -> str | None:
    """Return the format of an image, a name in COLOR_FORMATS, by its first bytes; None for any other."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for name, starts in _SIGNATURES.items() if data.startswith(starts)), None)


class _Whole(io.BytesIO):
    """The bytes of an image. Once it is opened, reading beyond the end is an error.

    Pillow raises an error itself unless a host sets `ImageFile.LOAD_TRUNCATED_IMAGES`, as LLaVA-NeXT's trainer does:
    then it fills what is missing with grey.
    """

    opened = False

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.opened and size and not data:
            raise OSError("image file is truncated")
        return data


@contextmanager
def open_image(data: bytes, where: str, what: str = "colour image") -> Iterator[Image.Image]:
    """Open a JPEG, PNG, WebP, BMP or TIFF image; it is decoded when the block asks for its pixels.

    Args:
        data: The image's bytes.
        where: What errors name.
        what: What errors call the image.

    Yields:
        The Pillow image, of at most MAX_PIXELS.

    Raises:
        DataError: It is not an image of these formats, claims too many pixels, or does not decode in the block.
    """
    from PIL import Image

    kind = image_format(data)
    if kind is None:
        raise DataError(
            f"{what} cannot be decoded: not a recognised image format",
            where=where,
            remedy="use JPEG, PNG, WebP, BMP or TIFF",
        )
    try:
        _check_pixels(_webp_size(data) if kind == "WEBP" else (0, 0), what, where)
        stream = _Whole(data)
        with Image.open(stream, formats=[kind]) as image:
            stream.opened = True
            _check_pixels(image.size, what, where)
            yield image
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise many types on broken files; all mean the same here
        raise DataError(f"{what} cannot be decoded: {error}", where=where, remedy=EXPORT_AGAIN) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Decode an image to mode RGB; it is usable after `open_image` has closed its file.

    Grey of 16 bits becomes 8 bits by dropping the lower ones; Pillow would clip it.
    """
    if image.mode == "RGB":
        image.load()
        return image  # `convert` would copy it
    if not image.mode.startswith("I"):
        return image.convert("RGB")
    from PIL import Image

    values = np.clip(np.asarray(image), 0, 65_535)
    return Image.fromarray((values // 256).astype(np.uint8)).convert("RGB")


def _check_pixels(size: tuple[int, int], what: str, where: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{what} claims {size[0]}x{size[1]} pixels", where=where, remedy="at most 8192x8192")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas. Pillow's decoder allocates it, up to 2 GB, before the size is known."""
    if len(data) < 30:
        return 0, 0
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def png_header(head: bytes, where: str) -> tuple[int, int]:
    """Return (height, width) of a 16-bit grey PNG in pixels, from its first 33 bytes; DataError for anything else."""
    if len(head) < 33 or head[:8] != _PNG_SIGNATURE or head[12:16] != b"IHDR":
        raise DataError("depth is not a PNG", where=where, remedy="expected a 16-bit grey PNG")
    width, height, bits, kind = struct.unpack(">IIBB", head[16:26])
    if (bits, kind) != (16, 0):
        raise DataError(
            f"depth has {bits} bits and PNG colour type {kind}", where=where, remedy="expected a 16-bit grey PNG"
        )
    check_depth_size((height, width), where)
    return height, width


def check_depth_size(size: tuple[int, int], where: str) -> None:
    """Raise DataError unless a depth image may have this (height, width) in pixels."""
    if not (min(size) > 0 and size[0] * size[1] <= MAX_PIXELS):
        raise DataError(f"depth claims {size[1]}x{size[0]} pixels", where=where)


def depth_from_png(data: bytes, where: str) -> np.ndarray:
    """Decode a whole 16-bit grey PNG to (H, W) uint16; DataError for anything else."""
    # OpenCV decodes twice as fast as Pillow, but ignores that a file is truncated, so that is checked first
    png_header(data[:33], where)
    if not is_whole_png(data):
        raise DataError("depth cannot be decoded: the PNG is truncated or damaged", where=where, remedy=EXPORT_AGAIN)
    depth = _decode_png(data)
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        raise DataError("depth cannot be decoded: it is not a 16-bit grey image", where=where, remedy=EXPORT_AGAIN)
    return depth


def depth_from_zlib(data: bytes, size: tuple[int, int], where: str) -> np.ndarray:
    """Decompress a depth image of a .sens file.

    Args:
        data: zlib-compressed little-endian uint16 values.
        size: (height, width) in pixels.
        where: The file, for errors.

    Returns:
        (H, W) uint16.

    Raises:
        DataError: The data is damaged, or is not of this size.
    """
    check_depth_size(size, where)
    height, width = size
    expected = height * width * 2
    try:
        raw = zlib.decompressobj().decompress(data, expected + 1)  # bounded, whatever the stream holds
    except zlib.error as error:
        raise DataError(f"depth cannot be decompressed: {error}", where=where, remedy="copy the file again") from error
    if len(raw) != expected:
        got = f"{len(raw)}" if len(raw) < expected else f"more than {expected}"
        raise DataError(f"depth holds {got} bytes, expected {expected} ({width}x{height})", where=where)
    return np.frombuffer(raw, "<u2").reshape(height, width).astype(np.uint16)


def _decode_png(data: bytes) -> np.ndarray | None:
    """Decode a PNG with OpenCV, or with Pillow if OpenCV fails; return None if both do.

    OpenCV's libpng fails with "bad parameters to zlib" after `import decord` (LLaVA-NeXT's training imports it), whose
    zlib is found before OpenCV's own.
    """
    global _opencv_decodes
    if _opencv_decodes:
        import cv2

        try:
            depth = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            depth = None
        if depth is not None:
            return depth
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            depth = np.array(image)
    except Exception:  # many types, as in `open_image`; the caller raises
        return None
    _opencv_decodes = False  # not tried again: it prints a warning for every frame
    return depth.astype(np.uint16) if depth.dtype == np.int32 else depth  # Pillow before 10 reads mode "I"


_opencv_decodes = True


def is_whole_png(data: bytes) -> bool:
    """Return whether the chunks follow each other to the end chunk, each with the right checksum."""
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
