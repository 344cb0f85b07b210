"""From lmms-eval's command line, an error of this package is one line and status 2, not a traceback and status 0.

Other errors of a `--model video3d` run keep their traceback and end with status 1. Programs that call
`simple_evaluate` themselves see the exceptions as they are, and runs of other models behave as before.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from types import ModuleType

from video3d_plugin.patches.base import Patch, PatchMismatch, Replace

from video3d_plugin.errors import Video3DError


def changes(module: ModuleType) -> list[Replace]:
    original = module.simple_evaluate
    if "cli_args" not in inspect.signature(original).parameters:
        raise PatchMismatch(
            "patch lmms_eval_errors: simple_evaluate has no `cli_args` (known to work: lmms-eval 0.7.3)"
        )

    @functools.wraps(original)
    def simple_evaluate(*args, **kwargs):
        command = kwargs.get("cli_args")
        if command is None:
            return original(*args, **kwargs)
        from video3d_plugin.hosts import outcome

        outcome.ran_from_command_line()
        try:
            return original(*args, **kwargs)
        except Video3DError as error:
            print(f"video3d: error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except Exception:
            if getattr(command, "model", None) != "video3d":
                raise
            traceback.print_exc()
            raise SystemExit(1) from None

    return [Replace(module, "simple_evaluate", simple_evaluate)]


PATCH = Patch(
    name="lmms_eval_errors",
    target="lmms_eval.evaluator",
    why="a failed evaluation of this package's tasks or model says why in one line and exits non-zero",
    known={},
    changes=changes,
)
