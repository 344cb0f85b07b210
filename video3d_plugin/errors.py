"""Errors that a user can act on: one line that names the file, scene or item, and the remedy.

The command line prints them without a traceback and exits with status 2. Any other exception is a bug and keeps its
traceback. Text that messages quote from files is shortened and made printable here.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WHAT_LETTERS, _WHERE_LETTERS, _REMEDY_LETTERS, _NAME_LETTERS = 700, 300, 400, 120
_NAMES = 12


class Video3DError(Exception):
    """Base class of this package's errors."""


class DataError(Video3DError, ValueError):
    """Data that cannot be used: `DataError("depth is 320x240, not 640x480", where=path, remedy="export it again")`.

    Args:
        what: The fault.
        where: The file, scene or item.
        remedy: What the user can do.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where = _clean(what, _WHAT_LETTERS), where
        self.remedy = _clean(remedy, _REMEDY_LETTERS) if remedy else None
        super().__init__(_one_line(self.what, where, self.remedy))


class MissingError(Video3DError, FileNotFoundError):
    """A missing file, folder, scene or installed package.

    Args:
        what: What is missing.
        where: The file, folder or scene.
        remedy: How the user can get it.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where = _clean(what, _WHAT_LETTERS), where
        self.remedy = _clean(remedy, _REMEDY_LETTERS) if remedy else None
        super().__init__(_one_line(self.what, where, self.remedy))


def quoted(value: Any, limit: int = 80) -> str:
    """Return the repr of a value for a message, shortened to `limit` letters whatever the value's size."""
    if isinstance(value, str | bytes):
        return _cut(repr(value[:limit]) if len(value) <= limit else repr(value[:limit]) + "...", limit)
    shortened = reprlib.Repr()
    shortened.maxlist = shortened.maxtuple = shortened.maxdict = shortened.maxset = 6
    shortened.maxstring = shortened.maxother = shortened.maxlong = limit
    try:
        return _cut(shortened.repr(value), limit)
    except ValueError:  # an integer of more digits than Python prints
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"


def joined_names(names: Iterable[str], letters: int = 280) -> str:
    """Join names for a message, separated by commas.

    Args:
        names: The names; each is shown with at most 120 letters.
        letters: Names are shown until they take this many letters, and at most 12.

    Returns:
        The first names, and "and K more" where there are K others.
    """
    names = list(names)
    shown: list[str] = []
    for name in names[:_NAMES]:
        shown.append(_cut(name, _NAME_LETTERS))
        if sum(map(len, shown)) >= letters:
            break
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _one_line(what: str, where: str | Path | None, remedy: str | None) -> str:
    text = f"{_clean(where, _WHERE_LETTERS)}: {what}" if where is not None else what
    return f"{text} ({remedy})" if remedy else text


def _clean(text: Any, limit: int) -> str:
    """Return text as one line of printable letters, shortened in the middle to `limit`."""
    text = str(text)
    if len(text) > 4 * limit:  # before it is split: a message may quote megabytes
        text = text[: 2 * limit] + " ... " + text[-2 * limit :]
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    """Return the text, with its middle replaced by dots if it is longer than `limit`."""
    if len(text) <= limit:
        return text
    head = (limit - 5) * 2 // 3
    return f"{text[:head]} ... {text[-(limit - 5 - head) :]}"
