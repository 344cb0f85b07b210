"""Decodes depth images of unknown origin: 16-bit PNG and PGM, NumPy arrays, the zlib data of .sens files, and LZFSE.

The first bytes of a file determine its format. NumPy arrays are read without pickles, and no format allocates more
than its header may claim.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from tokenize import TokenError
from typing import Literal

import numpy as np

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.images import EXPORT_AGAIN, check_depth_size, depth_from_png, depth_from_zlib, png_header
from video3d_plugin.files.lzfse import bytes_from_lzfse

DepthCodec = Literal["png", "zlib_ushort", "pgm", "npy", "lzfse_float"]

HEAD_BYTES = 4096  # of a file, for `depth_format`: a header of NumPy has 128 bytes, the comments of a PGM a few lines
SUFFIXES: dict[DepthCodec, str] = {
    "png": ".png",
    "zlib_ushort": ".zlib",
    "pgm": ".pgm",
    "npy": ".npy",
    "lzfse_float": ".lzfse",
}
_NPY, _PGM = b"\x93NUMPY", b"P5"
_PGM_HEADER = re.compile("P5" + r"(?:\s|#[^\n]*\n)+([0-9]{1,9})" * 3 + r"\s")
_FARTHEST = 65_535.0  # of a float, as of 16 bits: what is beyond is not a distance


def depth_format(head: bytes, where: str) -> tuple[DepthCodec, tuple[int, int]]:
    """Return the format of a depth image and its (height, width) in pixels.

    Args:
        head: The first HEAD_BYTES of the file, or all where it is shorter.
        where: What errors name.

    Raises:
        DataError: It is not a 16-bit grey PNG or PGM or a NumPy array of a depth image, or claims too many pixels.
    """
    if head.startswith(_NPY):
        return "npy", _npy_header(head, where)[0]
    if head.startswith(_PGM):
        return "pgm", _pgm_header(head, where)[0]
    return "png", png_header(head[:33], where)


def decode_depth(codec: DepthCodec, data: bytes, size: tuple[int, int], where: str) -> np.ndarray:
    """Decode a depth image.

    Args:
        codec: Its format.
        data: Its bytes.
        size: (height, width) in pixels; only formats that do not say it themselves need it.
        where: The file, for errors.

    Returns:
        (H, W) uint16, or float32 for a NumPy array of another type than uint16 and for LZFSE data; 0 where nothing was
        measured.

    Raises:
        DataError: The data is damaged, or of another format.
    """
    if codec == "zlib_ushort":
        return depth_from_zlib(data, size, where)
    if codec == "lzfse_float":
        check_depth_size(size, where)
        raw = bytes_from_lzfse(data, size[0] * size[1] * 4, where)
        return _sound(np.frombuffer(raw, "<f4").reshape(size))
    decoders: dict[str, Callable[[bytes, str], np.ndarray]] = {
        "png": depth_from_png,
        "pgm": _depth_from_pgm,
        "npy": _depth_from_npy,
    }
    return decoders[codec](data, where)


def _pgm_header(head: bytes, where: str) -> tuple[tuple[int, int], int]:
    """Return (height, width) in pixels, and the number of bytes of the header."""
    match = _PGM_HEADER.match(head[:HEAD_BYTES].decode("latin-1"))
    if match is None:
        raise DataError("depth is not a whole PGM", where=where, remedy=EXPORT_AGAIN)
    width, height, largest = (int(number) for number in match.groups())
    if not 255 < largest < 65536:
        raise DataError(f"depth has values up to {largest}", where=where, remedy="expected a 16-bit grey PGM")
    check_depth_size((height, width), where)
    return (height, width), match.end()


def _depth_from_pgm(data: bytes, where: str) -> np.ndarray:
    (height, width), start = _pgm_header(data[:HEAD_BYTES], where)
    pixels = data[start:]
    if len(pixels) < height * width * 2:
        raise DataError("depth cannot be decoded: the PGM is truncated", where=where, remedy=EXPORT_AGAIN)
    return np.frombuffer(pixels, ">u2", height * width).reshape(height, width).astype(np.uint16)


def _npy_header(head: bytes, where: str) -> tuple[tuple[int, int], bool, np.dtype, int]:
    """Return (height, width) in pixels, whether the order is Fortran's, the type, and the bytes of the header."""
    stream = io.BytesIO(head[:HEAD_BYTES])
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, EOFError, TokenError, RecursionError, MemoryError) as error:
        raise DataError(f"depth is not a whole .npy file: {error}", where=where, remedy=EXPORT_AGAIN) from None
    sides = tuple(side for side in shape if side != 1)
    if dtype.kind not in "uif" or len(sides) != 2:
        what = f"depth is an array of {quoted(str(dtype), 40)}, shape {quoted(shape, 60)}"
        raise DataError(what, where=where, remedy="expected (height, width) numbers")
    check_depth_size(sides, where)
    return sides, fortran, dtype, stream.tell()


def _depth_from_npy(data: bytes, where: str) -> np.ndarray:
    (height, width), fortran, dtype, start = _npy_header(data, where)
    count = height * width
    if len(data) - start < count * dtype.itemsize:
        raise DataError("depth cannot be decoded: the .npy file is truncated", where=where, remedy=EXPORT_AGAIN)
    depth = np.frombuffer(data, dtype, count, start)
    depth = depth.reshape(width, height).T if fortran else depth.reshape(height, width)
    if dtype.kind == "u" and dtype.itemsize == 2:  # in any byte order
        return depth.astype(np.uint16)
    return _sound(depth)


def _sound(depth: np.ndarray) -> np.ndarray:
    """Return depth as float32, 0 for what is not a distance."""
    with np.errstate(over="ignore", invalid="ignore"):
        depth = depth.astype(np.float32)
        return np.where((depth > 0) & (depth <= _FARTHEST), depth, np.float32(0))
