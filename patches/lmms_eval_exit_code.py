"""lmms-eval exits with 0 whatever happened; with `--model video3d`, unanswered questions make the status 3.

The results are written after the model has returned, by code that runs as `__main__` and cannot be hooked, so the
status is set last of all: an exit handler, registered when `lmms_eval` itself is imported, before torch and the rest
register theirs; handlers run in reverse order, so this one ends the process when all others are through.
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


def end_with_the_right_status() -> None:
    """Runs last. Touches nothing unless lmms-eval's own command ran this package's model and left questions open."""
    outcome = sys.modules.get("video3d_plugin.hosts.outcome")
    status = outcome.exit_status() if outcome is not None and outcome.from_command_line() else 0
    if status:
        print(f"video3d: {outcome.summary_of_all()} (exit status {status})", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def changes(module: ModuleType) -> list[AtExit]:
    return [AtExit(end_with_the_right_status)]


PATCH = Patch(
    name="lmms_eval_exit_code",
    target="lmms_eval",
    why="unanswered questions of --model video3d give exit status 3; lmms-eval always exits with 0",
    known={},
    changes=changes,
)
