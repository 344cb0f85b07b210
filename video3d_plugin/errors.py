"""Errors a user can act on: one line that names the file, scene or item, and the remedy.

The command line prints these without a traceback and exits with 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path


class Video3DError(Exception):
    """Base of every error that this package raises on purpose."""


class DataError(Video3DError, ValueError):
    """Content that cannot be used: `DataError("depth is 320x240, not 640x480", where=path, remedy="re-export")`."""

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(_one_line(what, where, remedy))


class MissingError(Video3DError, FileNotFoundError):
    """A file, folder, scene or installed part that is not there; says how to make it."""

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(_one_line(what, where, remedy))


def _one_line(what: str, where: str | Path | None, remedy: str | None) -> str:
    text = f"{where}: {what}" if where is not None else what
    if remedy:
        text += f" ({remedy})"
    return " ".join(text.split())
