"""Decompresses LZFSE, Apple's format, with the reference implementation and a bound on what it may allocate."""

from __future__ import annotations

import struct
from pathlib import Path

from video3d_plugin.errors import DataError
from video3d_plugin.files.extras import import_extra

_BLOCK_SIGNATURES = (b"bvx2", b"bvx1", b"bvxn", b"bvx-")
_BLOCK_BYTES = 1 << 14  # decoded, at least, of every block but the last ones; the encoder's hold 35 kB and more
_REMEDY = "copy the file again"


def bytes_from_lzfse(data: bytes, expected: int, where: Path | str) -> bytes:
    """Decompress an LZFSE stream.

    Args:
        data: The stream.
        expected: Number of bytes that it must hold.
        where: The file, for errors.

    Returns:
        The `expected` bytes.

    Raises:
        MissingError: The library is not installed.
        DataError: The stream is damaged or holds another number of bytes.
    """
    lzfse = import_extra("lzfse", where)
    _check_blocks(data, expected, where)
    try:
        raw = lzfse.decompress(data)
    except (lzfse.error, MemoryError) as error:
        raise DataError(f"cannot be decompressed: {error}", where=where, remedy=_REMEDY) from error
    if len(raw) != expected:
        raise DataError(f"holds {len(raw)} bytes, expected {expected}", where=where, remedy=_REMEDY)
    return raw


def _check_blocks(data: bytes, expected: int, where: Path | str) -> None:
    """Raise DataError for a stream with more blocks than `expected` bytes need.

    The library has no limit of its own, and a block of a few bytes can decode to 27 MB. A stream that an encoder wrote
    has few blocks, so counting their signatures bounds what the library allocates.
    """
    claimed = struct.unpack("<I", data[4:8])[0] if len(data) >= 8 else 0
    if data[:4] not in _BLOCK_SIGNATURES or claimed > expected:
        raise DataError("is not an LZFSE stream of this size", where=where, remedy=_REMEDY)
    blocks = sum(data.count(signature) for signature in _BLOCK_SIGNATURES)
    most = expected // _BLOCK_BYTES + 4
    if blocks > most:
        raise DataError(f"has {blocks} LZFSE blocks, expected at most {most}", where=where, remedy=_REMEDY)
