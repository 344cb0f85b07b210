"""Makes lmms-eval exit with status 3 where `--model video3d` left questions unanswered; it exits with 0 otherwise.

Results are written after the model has returned, by code that runs as `__main__` and cannot be patched. The status is
therefore set by an exit handler. It is registered when `lmms_eval` is imported, before torch and others register
theirs, and handlers run in reverse order, so it runs last.

With `--model video3d`, a dependency that is missing or does not fit is reported in one line, with status 2.
"""

from __future__ import annotations

import atexit
import os
import sys
from types import ModuleType

from video3d_plugin.patches.base import Patch


class AtExit:
    """Register a function that runs at exit.

    Args:
        function: Called without arguments.
    """

    def __init__(self, function) -> None:
        self.function = function

    def do(self) -> None:
        atexit.register(self.function)

    def can_undo(self) -> str | None:
        return None

    def undo(self) -> None:
        atexit.unregister(self.function)


class ExceptHook:
    """Call a function before `sys.excepthook`.

    Args:
        function: Called with an exception; returns whether it has handled it.
    """

    def __init__(self, function) -> None:
        self.function, self.on = function, False

    def do(self) -> None:
        self.old, self.on = sys.excepthook, True

        def hook(kind, error, trace) -> None:
            if not (self.on and self.function(error)):
                self.old(kind, error, trace)

        self.hook = sys.excepthook = hook

    def can_undo(self) -> str | None:
        return None

    def undo(self) -> None:
        self.on = False
        if sys.excepthook is self.hook:  # else another hook was set since, which may call this one
            sys.excepthook = self.old


_dependency_failed = False


def selects_video3d(words: list[str]) -> bool:
    """Return whether a command line has `--model video3d`, or names a model of an add-on to it."""
    from video3d_plugin.model.registry import names

    values = [following for word, following in zip(words, words[1:], strict=False) if word == "--model"]
    values += [word.removeprefix("--model=") for word in words if word.startswith("--model=")]
    return any(name in names() for name in values)


def report_dependency(error: BaseException) -> bool:
    """Report a dependency that is missing or does not fit.

    Args:
        error: An exception that nothing has caught.

    Returns:
        Whether it was reported; False where no dependency is at fault, or another model runs.
    """
    global _dependency_failed
    if not selects_video3d(sys.argv):
        return False
    from video3d_plugin.dependencies import explain

    message = explain(error)
    if message is None:
        return False
    print(f"video3d: error: {message}", file=sys.stderr)
    _dependency_failed = True
    return True


def set_exit_status() -> None:
    """End the process with status 3 or 2 where lmms-eval's command left questions open or could not start."""
    if _dependency_failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)
    module = sys.modules.get("video3d_plugin.hosts.lmms_eval.state")
    status = module.STATE.exit_status if module is not None and module.STATE.from_command_line else 0
    if status:
        print(f"video3d: {module.STATE.summary_of_all()} (exit status {status})", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def changes(module: ModuleType) -> list[AtExit | ExceptHook]:
    return [AtExit(set_exit_status), ExceptHook(report_dependency)]


PATCH = Patch(
    name="lmms_eval_exit_code",
    target="lmms_eval",
    why="unanswered questions of --model video3d give exit status 3; lmms-eval always exits with 0",
    known={},
    changes=changes,
)
