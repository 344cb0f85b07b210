"""Symbolic links that lead out of the folder they lie in."""

from __future__ import annotations

import os
from pathlib import Path


def escapes_root(path: Path, root: Path) -> bool:
    """Whether `path` is, or lies behind, a symbolic link to something outside `root`."""
    # not Path.resolve, which fails at a link to itself before Python 3.13
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def skipped_link_note(path: Path, root: Path, done: str = "used") -> str:
    """The note on a path that leads out of `root`: it is not `done`."""
    return f"{path} is a link out of {root} and is not {done} (--follow-links allows it)"
