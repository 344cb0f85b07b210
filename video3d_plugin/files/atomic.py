"""Atomic writing of files and folders, and locking of a folder against a second writer."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, Video3DError

SUFFIX = ".video3d-tmp"
HOST = re.sub(r"\W", "-", socket.gethostname())[:64]
_DAY_S = 86400
_count = itertools.count()


@contextlib.contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name and rename it to `path` if the block succeeds.

    No temporary file stays behind, except after a kill; `remove_leftovers` deletes those.

    Args:
        path: The file to write or replace.
        sync: Whether to wait until the bytes are on the disk, so that a power cut does not leave an empty file.

    Yields:
        The temporary path, in the folder of `path`.

    Raises:
        DataError: The disk is full, or the folder cannot be written.
    """
    temporary = path.parent / (_begin(path) + f".{HOST}.{os.getpid()}-{next(_count)}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if sync:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, Video3DError):  # MissingError of what the block reads
            raise
        raise _as_data_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Write a folder under a temporary name and rename it to `path` if the block succeeds.

    The temporary folder of a killed writer is removed by the next one.

    Args:
        path: The folder to make. It may exist if it is empty.

    Yields:
        The temporary folder.

    Raises:
        DataError: The disk is full, or the folder cannot be written.
    """
    path = path.resolve()  # a link to a folder stays one
    is_mount = os.path.ismount(path)  # it cannot be replaced, so the entries are moved into it
    with scratch_folder(path, path if is_mount else path.parent) as temporary:
        yield temporary
        try:
            if is_mount:
                for entry in list(temporary.iterdir()):
                    os.rename(entry, path / entry.name)
                return
            if path.is_dir():
                path.rmdir()
            os.rename(temporary, path)
        except OSError as error:
            raise _as_data_error(error, path) from error


@contextlib.contextmanager
def scratch_folder(name: Path, parent: Path) -> Iterator[Path]:
    """Make a temporary folder in `parent`, named after `name`, and remove it after the block.

    Folders that killed processes left for the same name are removed first.

    Raises:
        DataError: The disk is full, or the folder cannot be written.
    """
    temporary = parent / (_begin(name) + f".{HOST}.{os.getpid()}-{next(_count)}{SUFFIX}")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob(f"{glob.escape(_begin(name))}.*{SUFFIX}"):
            if old.is_dir() and not _may_be_alive(old):
                shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir()
        yield temporary
    except OSError as error:
        if isinstance(error, Video3DError):
            raise
        raise _as_data_error(error, name) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes, sync: bool = True) -> None:
    """Write a file atomically; see `replacing`."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write UTF-8 JSON atomically. Equal values give equal bytes.

    Raises:
        ValueError: The value holds NaN or infinity, which other programs cannot read.
        DataError: As `replacing`.
    """
    separators = (",", ": ") if indent else (",", ":")
    options: dict[str, Any] = {"allow_nan": False, "indent": indent, "separators": separators}
    try:
        data = json.dumps(value, ensure_ascii=False, **options).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair: only an escape can represent it
        data = json.dumps(value, **options).encode("ascii")
    write_bytes(path, data + b"\n")


def _begin(path: Path) -> str:
    """Return how the temporary name for a path begins: short, because the length of a file's name is limited."""
    return f".{path.name[:40]}"


def remove_leftovers(folder: Path) -> int:
    """Delete the temporary files of writers that were killed.

    A file belongs to a killed writer if its process does not run any more; one of another machine, after a day.

    Returns:
        The number of deleted files.
    """
    leftovers = [path for path in folder.rglob(f".*{SUFFIX}") if path.is_file() and not _may_be_alive(path)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def is_ours(name: str) -> bool:
    """Return whether a file of this name is a lock or a leftover; a folder with nothing else counts as empty."""
    return name == ".lock" or name.endswith(SUFFIX)


def _may_be_alive(path: Path) -> bool:
    host, process = path.name[: -len(SUFFIX)].split(".")[-2:]
    if host != HOST:
        return path.stat().st_mtime > time.time() - _DAY_S
    try:
        os.kill(int(process.split("-")[0]), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True


def digest(value: Any) -> str:
    """Return 32 hexadecimal digits that identify a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, made if it does not exist.

    Waits while another process holds the lock, and prints that to stderr. A killed process releases it.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+")  # noqa: SIM115  (closed below, after the lock is released)
    except OSError as error:
        raise _as_data_error(error, folder) from error
    with file:
        if not _try_lock(file, wait=False):
            print(f"{folder}: another process is preparing this folder; waiting for it", file=sys.stderr)
            _try_lock(file, wait=True)
        yield


def _try_lock(file: Any, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return _try_lock(file, wait=True) if wait else False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _as_data_error(error: OSError, path: Path) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError("the disk is full", where=path, remedy="free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DataError(f"cannot be written: {error.strerror}", where=path, remedy="choose a folder you may write to")
    return DataError(f"cannot be written: {error.strerror or error}", where=path)
