"""Opens zip files of unknown origin (zipped recordings, .npz, .pth) with bounds on what they unpack to."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import open_regular

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAIL_BYTES = (1 << 16) + 200  # the longest comment, and the records with the position of the directory
_ENTRY_BYTES = 300  # of a file in the directory: 46 bytes, its name and dates
_NPZ_MEMBERS = 100
_END, _END_64 = b"PK\5\6", b"PK\6\6"


@contextmanager
def open_zip(path: Path, max_bytes: int, max_files: int, remedy: str | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a zip file with bounds on what it unpacks to.

    Members must be stored or deflated: with other methods `zipfile` unpacks a megabyte of compressed data at once,
    which may be gigabytes.

    Args:
        path: The file.
        max_bytes: Largest size of all members together, unpacked.
        max_files: Largest number of members.
        remedy: What the user can do about a file that is refused.

    Yields:
        The archive. Errors that `zipfile` raises for a damaged one are left to the caller.

    Raises:
        MissingError: There is no such file.
        DataError: It is not a regular file, holds more than is allowed, states more bytes than it has, or is compressed
            by another method.
    """
    with open_regular(path, remedy=remedy) as file:
        size = os.fstat(file.fileno()).st_size
        _check_directory(file, path, max_files * _ENTRY_BYTES + (1 << 20), remedy)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > max_files:
                raise DataError(f"holds {len(members)} files, more than {max_files}", where=path, remedy=remedy)
            for member in members:
                if member.compress_type not in _METHODS:
                    what = f"is compressed by method {member.compress_type}; only deflate is read"
                    raise DataError(what, where=path, remedy=remedy)
                if member.compress_size > size:  # `zipfile` takes memory for it before it reads
                    what = f"states {member.compress_size} bytes of a member; the file has {size}"
                    raise DataError(what, where=path, remedy=remedy)
            total = sum(member.file_size for member in members)
            if total > max_bytes:
                what = f"holds {total / 1e6:.0f} MB unpacked, more than {max_bytes / 1e6:.0f}"
                raise DataError(what, where=path, remedy=remedy)
            yield archive


@contextmanager
def open_npz(path: Path, max_bytes: int, remedy: str | None = None) -> Iterator[np.lib.npyio.NpzFile]:
    """Open a .npz without pickles, bounded as by `open_zip`. Errors that NumPy raises are left to the caller."""
    with open_zip(path, max_bytes, _NPZ_MEMBERS, remedy) as archive:
        archive.fp.seek(0)  # type: ignore[union-attr]
        with np.load(archive.fp, allow_pickle=False) as arrays:  # type: ignore[arg-type]
            yield arrays


def _check_directory(file: BinaryIO, path: Path, limit: int, remedy: str | None) -> None:
    """Raise DataError if the directory has more than `limit` bytes: `zipfile` reads it whole when it opens an archive.

    Every record is checked that may be the one that `zipfile` uses.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    file.seek(0)
    for signature, offset, width in ((_END, 12, 4), (_END_64, 40, 8)):
        at = tail.find(signature)
        while at >= 0:
            stated = int.from_bytes(tail[at + offset : at + offset + width], "little")
            if limit < stated <= size:  # `zipfile` refuses a directory larger than the file
                raise DataError(f"has a directory of {stated} bytes: too many files", where=path, remedy=remedy)
            at = tail.find(signature, at + 1)
