"""Lets lmms-eval run beside filelock 4, which removed the module `filelock._api` that lmms-eval imports.

lmms-eval makes file locks re-entrant before every evaluation, of any model. During that call a module of that name
provides what the function reads from it: the metaclass of file locks, and its default for `mode`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from video3d_plugin.patches.base import Patch, Replace

from video3d_plugin.errors import MissingError

GONE = "filelock._api"


def changes(module: ModuleType) -> list[Replace]:
    original = module._enable_reentrant_filelocks

    @functools.wraps(original)
    def _enable_reentrant_filelocks() -> None:
        import filelock

        if GONE in sys.modules:
            return original()
        sys.modules[GONE] = stand_in(filelock)
        try:
            return original()
        finally:
            del sys.modules[GONE]

    return [Replace(module, "_enable_reentrant_filelocks", _enable_reentrant_filelocks)]


def stand_in(filelock: Any) -> ModuleType:
    """Build a module with what lmms-eval reads from `filelock._api`, from filelock's public classes.

    Args:
        filelock: The package.

    Raises:
        MissingError: If file locks have no metaclass of filelock, which lmms-eval would patch.
    """
    meta = type(getattr(filelock, "FileLock", None))
    if "__call__" not in vars(meta) or meta.__module__.split(".")[0] != "filelock":
        raise MissingError(
            f"lmms-eval cannot make the file locks of filelock {getattr(filelock, '__version__', '?')} re-entrant",
            remedy="pip install 'filelock<5'",
        )
    module = ModuleType(GONE)
    module.FileLockMeta = meta
    module.BaseFileLock = getattr(filelock, "BaseFileLock", filelock.FileLock)
    mode = inspect.signature(meta.__call__).parameters.get("mode")
    module._UNSET_FILE_MODE = None if mode is None or mode.default is mode.empty else mode.default
    return module


def not_needed(module: ModuleType) -> str | None:
    return "this filelock has what lmms-eval imports" if find_spec(GONE) is not None else None


PATCH = Patch(
    name="lmms_eval_file_locks",
    target="lmms_eval.evaluator",
    why="evaluations run beside filelock 4",
    known={"_enable_reentrant_filelocks": {"4be6c377903e5fc3": "lmms-eval 0.7.3"}},
    changes=changes,
    not_needed=not_needed,
)
