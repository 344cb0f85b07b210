"""lmms-eval makes file locks re-entrant through `filelock._api`, which filelock 4 no longer has.

The function that does it runs before every evaluation, of any model. Where the module is gone, what the function takes
from it is shown to it for the time of the call: the metaclass of file locks, and its default for `mode`.
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
    """What lmms-eval reads from `filelock._api`, found through filelock's public classes.

    Raises MissingError where file locks are not made by a metaclass of filelock's own: nothing could be patched.
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
