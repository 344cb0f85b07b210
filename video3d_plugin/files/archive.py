"""Opening zip files of strangers (zipped recordings, .npz, .pth) with bounds on what they unpack to."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import open_regular

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAIL_BYTES = (1 << 16) + 200  # the longest comment, and the records that tell where the directory lies
_ENTRY_BYTES = 300  # of the directory, a file: 46 and its name and dates
_END, _END_64 = b"PK\5\6", b"PK\6\6"


@contextmanager
def open_zip(path: Path, max_bytes: int, max_files: int, remedy: str | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose members, taken together, have at most `max_bytes` unpacked.

    Members are stored or deflated: for other methods `zipfile` unpacks a megabyte of compressed data at once, which may
    be gigabytes.

    Raises:
        MissingError: There is no such file.
        DataError: It is no regular file, or holds more than was allowed. What `zipfile` raises at a damaged archive is
            left to the caller.
    """
    with open_regular(path, remedy=remedy) as file:
        _check_directory(file, path, max_files * _ENTRY_BYTES + (1 << 20), remedy)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > max_files:
                raise DataError(f"holds {len(members)} files, more than {max_files}", where=path, remedy=remedy)
            for member in members:
                if member.compress_type not in _METHODS:
                    what = f"is compressed by method {member.compress_type}; only deflate is read"
                    raise DataError(what, where=path, remedy=remedy)
            total = sum(member.file_size for member in members)
            if total > max_bytes:
                what = f"holds {total / 1e6:.0f} MB unpacked, more than {max_bytes / 1e6:.0f}"
                raise DataError(what, where=path, remedy=remedy)
            yield archive


def _check_directory(file: BinaryIO, path: Path, limit: int, remedy: str | None) -> None:
    """DataError where the directory has more than `limit` bytes: `zipfile` reads it whole when it opens an archive.

    Every record that may be the one `zipfile` goes by is looked at.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    file.seek(0)
    for mark, offset, width in ((_END, 12, 4), (_END_64, 40, 8)):
        at = tail.find(mark)
        while at >= 0:
            stated = int.from_bytes(tail[at + offset : at + offset + width], "little")
            if limit < stated <= size:  # more than the file has is refused by `zipfile`
                raise DataError(f"has a directory of {stated} bytes: too many files", where=path, remedy=remedy)
            at = tail.find(mark, at + 1)
