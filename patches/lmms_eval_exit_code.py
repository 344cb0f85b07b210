"""lmms-eval exits with 0 whatever happened; with `--model video3d`, unanswered questions make the status 3.

The results are written after the model has returned, by code that runs as `__main__` and cannot be hooked, so the
status is set last of all: an exit handler, registered when `lmms_eval` itself is imported, before torch and the rest
register theirs; handlers run in reverse order, so this one ends the process when all others are through.

With `--model video3d`, a dependency that is missing or does not fit ends lmms-eval's import in one line and status 2.
"""

from __future__ import annotations

import atexit
import os
import sys
from types import ModuleType

from video3d_plugin.patches.base import Patch


class AtExit:
    """Register a function for the end of the process, reversibly."""

    def __init__(self, function) -> None:
        self.function = function

    def do(self) -> None:
        atexit.register(self.function)

    def can_undo(self) -> str | None:
        return None

    def undo(self) -> None:
        atexit.unregister(self.function)


class ExceptHook:
    """Put a function before `sys.excepthook`, reversibly. The function says whether it has dealt with an exception."""

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
        if sys.excepthook is self.hook:  # else somebody has put theirs before it, which may go on to call it
            sys.excepthook = self.old


_dependency_failed = False


def asks_for_this_model(words: list[str]) -> bool:
    """Whether the command line has `--model video3d`, or names a model of an add-on to it."""
    from video3d_plugin.model.registry import names

    asked = [following for word, following in zip(words, words[1:], strict=False) if word == "--model"]
    asked += [word.removeprefix("--model=") for word in words if word.startswith("--model=")]
    return any(name in names() for name in asked)


def say_what_does_not_fit(error: BaseException) -> bool:
    """Print what is wrong with a dependency in one line; False where none is at fault, or the run is not ours."""
    global _dependency_failed
    if not asks_for_this_model(sys.argv):
        return False
    from video3d_plugin.dependencies import explain

    said = explain(error)
    if said is None:
        return False
    print(f"video3d: error: {said}", file=sys.stderr)
    _dependency_failed = True
    return True


def end_with_the_right_status() -> None:
    """Runs last. Touches nothing unless lmms-eval's own command ran this package's model and left questions open, or
    could not start for it."""
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
    return [AtExit(end_with_the_right_status), ExceptHook(say_what_does_not_fit)]


PATCH = Patch(
    name="lmms_eval_exit_code",
    target="lmms_eval",
    why="unanswered questions of --model video3d give exit status 3; lmms-eval always exits with 0",
    known={},
    changes=changes,
)
