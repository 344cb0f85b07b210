"""Reads JSON of unknown origin: bounded in size and depth, with one-line errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import open_regular
from video3d_plugin.files.text import read_text

LINE_BYTES = 1 << 24
OBJECT_BYTES = 1 << 26  # the largest, a tokenizer, has 20 MB
JSON_BYTES = 1 << 31  # the largest official annotation file has 40 MB, processed training files a few hundred
MAX_DEPTH = 64  # of lists in lists: deeper nesting breaks code that handles the value recursively


def read_object(path: Path, remedy: str = "download it again") -> dict[str, Any]:
    """Read the object in a small JSON file, such as those of a checkpoint; raises as `read_json`."""
    return parse_json(read_text(path, OBJECT_BYTES, remedy), dict, path, remedy)


def read_json(path: Path, kind: type | tuple[type, ...] = (dict, list), remedy: str | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        kind: Type of the top level.
        remedy: What the user can do about a file that is refused.

    Raises:
        MissingError: There is no such file.
        DataError: It is not JSON, is nested too deeply, or its top level has another type.
    """
    return parse_json(read_text(path, JSON_BYTES, remedy), kind, path, remedy)


def parse_json(text: str, kind: type | tuple[type, ...], where: Path, remedy: str | None = None, at: str = "") -> Any:
    """Parse a JSON text.

    Args:
        text: The text.
        kind: Type of the top level.
        where: The file, for errors.
        remedy: What the user can do about it.
        at: Begins the message: "line 3: " if the text is a part of the file.

    Raises:
        DataError: As `read_json`.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(f"{at}not valid JSON: {detail}", where=where, remedy=remedy or "download it again") from None
    if not isinstance(value, kind):
        names = "/".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"{at}expected a JSON {names}, found a {type(value).__name__}", where=where, remedy=remedy)
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for holder in level for inner in _inside(holder) if isinstance(inner, dict | list)]
        if not level:
            return value
    raise DataError(f"{at}not valid JSON: nested too deeply", where=where, remedy=remedy or "download it again")


def _inside(holder: Any) -> Iterable[Any]:
    return holder.values() if isinstance(holder, dict) else holder if isinstance(holder, list) else ()


def json_lines(path: Path, kind: type = object, remedy: str | None = None) -> Iterator[tuple[int, Any]]:
    """Read JSON lines one by one; a line may have at most LINE_BYTES.

    Args:
        path: The file.
        kind: Type of each value.
        remedy: What the user can do about a line that is refused.

    Yields:
        Line number, from 1, and value of every line that is not blank.

    Raises:
        MissingError: There is no such file.
        DataError: A line is not JSON or has another type; the message names it.
    """
    with open_regular(path, remedy=remedy) as file:
        number = 0
        while line := _line(file, path, remedy):
            number += 1
            if text := _text(line, number, path, remedy).strip():
                yield number, parse_json(text, kind, path, remedy, f"line {number}: ")


def _line(file: BinaryIO, path: Path, remedy: str | None) -> bytes:
    try:
        return file.readline(LINE_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, remedy=remedy) from error


def _text(line: bytes, number: int, path: Path, remedy: str | None) -> str:
    if len(line) > LINE_BYTES:
        raise DataError(f"line {number} has more than {LINE_BYTES} bytes", where=path, remedy=remedy)
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"line {number}: not UTF-8 text (byte {error.start})", where=path, remedy=remedy) from None
