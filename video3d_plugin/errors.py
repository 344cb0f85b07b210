"""Errors that a user can act on: one line with the file, scene or item, the fault, and the remedy.

The command line prints them without a traceback and exits with status 2; any other exception is a bug and keeps its
traceback. Messages may quote files, which may hold anything, so they are shortened and made printable here.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WHAT_LETTERS, _WHERE_LETTERS, _REMEDY_LETTERS, _NAME_LETTERS = 700, 300, 400, 120
_NAMES = 12


class Video3DError(Exception):
    """Base class of the errors that this package raises on purpose."""


class DataError(Video3DError, ValueError):
    """Content or arguments that cannot be used: `DataError("depth is 320x240, not 640x480", where=path)`.

    Args:
        what: The fault.
        where: File, folder or scene; it begins the message.
        remedy: What the user can do; it ends the message, in parentheses.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where = _clean(what, _WHAT_LETTERS), where
        self.remedy = _clean(remedy, _REMEDY_LETTERS) if remedy else None
        super().__init__(_one_line(self.what, where, self.remedy))


class Interrupted(KeyboardInterrupt):
    """An interruption by the user where it matters what is finished: `Interrupted("3 of 12 rooms are measured")`.

    Args:
        what: What is finished, and how to go on.
    """


class MissingError(Video3DError, FileNotFoundError):
    """A file, folder, scene or library that is missing.

    Args:
        what: The fault.
        where: File, folder or scene; it begins the message.
        remedy: How to get what is missing; it ends the message, in parentheses.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where = _clean(what, _WHAT_LETTERS), where
        self.remedy = _clean(remedy, _REMEDY_LETTERS) if remedy else None
        super().__init__(_one_line(self.what, where, self.remedy))


def quoted(value: Any, limit: int = 80) -> str:
    """Return the repr of a value for a message.

    Args:
        value: Any value, of any size.
        limit: Largest number of characters.
    """
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
    """Return the text as one line of at most `limit` printable characters."""
    text = str(text)
    if len(text) > 4 * limit:  # before it is split: a message may quote megabytes
        text = text[: 2 * limit] + " ... " + text[-2 * limit :]
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    """Return the text, its middle replaced by dots where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    head = (limit - 5) * 2 // 3
    return f"{text[:head]} ... {text[-(limit - 5 - head) :]}"
