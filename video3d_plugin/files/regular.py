"""Opens files whose names are not trusted: regular files only, within a folder if one is given."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from video3d_plugin.errors import DataError, MissingError

# a FIFO without a writer must not block, a terminal must not become the controlling one
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_CHUNK = 1 << 16


def open_regular(
    path: Path, *, root: Path | None = None, limit: int | None = None, remedy: str | None = None
) -> BinaryIO:
    """Open a regular file for reading.

    A device is not opened at all, because opening may already act on it. The checks are repeated on the open
    descriptor, so that a file that is replaced in between does not pass.

    Args:
        path: The file. Symbolic links are followed.
        root: Folder in which the file must lie after links are resolved; no restriction if None.
        limit: Largest size in bytes; no restriction if None.
        remedy: What the user can do about a file that is missing or too large.

    Returns:
        The file, opened for reading bytes.

    Raises:
        MissingError: There is no such file.
        DataError: The path is not a regular file, lies outside `root`, is too large, or cannot be read.
    """
    try:
        _check_kind(os.stat(path), path)
        descriptor = os.open(path, _FLAGS)
    except DataError:
        raise
    except FileNotFoundError:
        raise MissingError("file not found", where=path, remedy=remedy) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, remedy=remedy) from error
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise DataError("is not a valid file name", where=path, remedy=remedy) from error
    try:
        status = os.fstat(descriptor)
        _check_kind(status, path)
        if root is not None:
            _check_inside(descriptor, status, path, root)
        if limit is not None and status.st_size > limit:
            what = f"{status.st_size} bytes, more than the {limit} that such a file may have"
            raise DataError(what, where=path, remedy=remedy)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int, *, root: Path | None = None, remedy: str | None = None) -> bytes:
    """Read a regular file of at most `limit` bytes; raises as `open_regular`."""
    with open_regular(path, root=root, limit=limit, remedy=remedy) as file:
        return read_bounded(file, limit, path, remedy)


def read_bounded(file: BinaryIO, limit: int, path: Path, remedy: str | None = None) -> bytes:
    """Read the rest of an open file; DataError if that is more than `limit` bytes or cannot be read.

    The size that the file system reports is not relied on: files grow, and those of /proc have size 0.
    """
    expected = min(os.fstat(file.fileno()).st_size, limit)  # `read` allocates as much as it is asked for
    parts, size = [], 0
    try:
        while part := file.read(max(expected + 1 - size, _CHUNK)):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise DataError(f"more than the {limit} bytes that such a file may have", where=path, remedy=remedy)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, remedy=remedy) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file; False also for a name that no file can have."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _check_kind(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DataError("is a folder, not a file", where=path)
    if not stat.S_ISREG(status.st_mode):
        raise DataError("is not a regular file but a pipe, a socket or a device", where=path)


def _check_inside(descriptor: int, status: os.stat_result, path: Path, root: Path) -> None:
    """Raise DataError unless the open file lies in `root`.

    On Linux the descriptor has a real path; elsewhere the resolved path must lead to the same file.
    """
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        real = os.path.realpath(path)
        if not os.path.samestat(status, os.stat(real)):
            raise DataError("was replaced while it was opened", where=path) from None
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise DataError(f"lies outside {root}", where=path)
