"""Symbolic links that lead out of the folder they lie in."""

from __future__ import annotations

import os
from pathlib import Path


def escapes_root(path: Path, root: Path) -> bool:
    """Return whether `path` is, or lies behind, a symbolic link to something outside `root`."""
    # not Path.resolve, which fails at a link to itself before Python 3.13
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def skipped_link_note(path: Path, root: Path, action: str = "used") -> str:
    """Return the note that a link out of `root` is not used; `action` is "used" or "searched"."""
    return f"{path} is a link out of {root} and is not {action} (--follow-links allows it)"
