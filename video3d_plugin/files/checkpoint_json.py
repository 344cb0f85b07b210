"""Files of checkpoint folders, which are untrusted: read with bounds, before transformers or PEFT reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import parse_json
from video3d_plugin.files.regular import read_regular
from video3d_plugin.files.schema import Anything, Text, check

log = logging.getLogger(__name__)

SMALL_BYTES = 4 << 20  # config.json and its like have a few kilobytes
LARGE_BYTES = 256 << 20  # tokenizer.json, vocab.json, merges.txt, the index of a sharded checkpoint
DOWNLOAD = "download it again"
_POINTER = b"version https://git-lfs.github.com/spec/"
_CONTENT = Anything(depth=32, text=Text(SMALL_BYTES, encodable=True))


def read_checkpoint_file(path: Path, limit: int, remedy: str = DOWNLOAD) -> bytes:
    """Read a file.

    Args:
        path: The file.
        limit: Largest size in bytes.
        remedy: What the user can do, for errors.

    Raises:
        MissingError: It does not exist.
        DataError: It is not a regular file, too large, a Git LFS pointer, or cannot be read.
    """
    content = read_regular(path, limit, remedy=remedy)
    check_pointer(content, path)
    return content


def check_pointer(beginning: bytes, path: Path) -> None:
    """Raise DataError if a file begins like a Git LFS pointer."""
    if beginning.startswith(_POINTER):
        raise DataError("is a Git LFS pointer, not the file", where=path, remedy="run `git lfs pull` in its folder")


def read_checkpoint_json(path: Path, limit: int = SMALL_BYTES, remedy: str = DOWNLOAD) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        limit: Largest size in bytes.
        remedy: What the user can do, for errors.

    Raises:
        MissingError: It does not exist.
        DataError: It is not JSON, not an object, nested too deeply, too large, or holds a number that is not finite.
    """
    try:
        text = read_checkpoint_file(path, limit, remedy).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text (byte {error.start})", where=path, remedy=remedy) from None
    content = parse_json(text, dict, path, remedy)
    check(content, _CONTENT, path, remedy)
    return content


def check_keys(content: Mapping[str, Any], cls: type, refused: Iterable[str], where: Path, remedy: str) -> None:
    """Raise DataError for keys that would overwrite methods or other attributes that are no settings.

    Logs a warning for `auto_map`, which names code that is never run.
    """
    for name in content:
        own = getattr(cls, name, None) if isinstance(name, str) else None
        is_method = callable(own) or (isinstance(own, property) and own.fset is None)
        if (name in refused and content[name]) or is_method or name.startswith("__"):
            raise DataError(f"{quoted(name)} is no setting of a file", where=where, remedy=remedy)
    if content.get("auto_map"):
        log.warning("%s names code of its own (auto_map): it is not run", where)
