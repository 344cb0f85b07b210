"""Makes lmms-eval's command report an error of this package in one line and exit with status 2.

lmms-eval prints a traceback and exits with 0. A dependency that is missing or does not fit is reported in the same way;
other errors of a `--model video3d` run keep their traceback and exit with status 1. Runs of other models are unchanged,
and programs that call `simple_evaluate` get the exceptions. Each evaluation starts with a new state: without the data
folder and the questions of the previous one. Options that have no effect on this model are refused first.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from video3d_plugin.patches.base import Patch, PatchMismatch, Replace

from video3d_plugin.dependencies import explain
from video3d_plugin.errors import Video3DError


def changes(module: ModuleType) -> list[Replace]:
    original = module.simple_evaluate
    if "cli_args" not in inspect.signature(original).parameters:
        raise PatchMismatch(
            "patch lmms_eval_errors: simple_evaluate has no `cli_args` (known to work: lmms-eval 0.7.3)"
        )

    @functools.wraps(original)
    def simple_evaluate(model, *args, **kwargs):
        command = kwargs.get("cli_args")
        with _evaluation_of(model):
            if command is None:
                _check(model, kwargs)
                return original(model, *args, **kwargs)
            with _errors_as_statuses(command):
                _check(model, kwargs)
                return original(model, *args, **kwargs)

    return [Replace(module, "simple_evaluate", simple_evaluate)]


def _check(model: Any, arguments: dict[str, Any]) -> None:
    """Refuse what has no effect on a model of this package, before anything is loaded."""
    from video3d_plugin.hosts.lmms_eval.generation import check_run
    from video3d_plugin.model.registry import names

    if hasattr(model, "fingerprint") or model in names():
        check_run(arguments)


@contextmanager
def _evaluation_of(model: Any) -> Iterator[None]:
    """Run one evaluation with a state of its own; a model object brings its data folder, a name sets it later."""
    from video3d_plugin.hosts.lmms_eval.state import STATE

    with STATE.evaluation(model.data if hasattr(model, "fingerprint") else None):
        yield


@contextmanager
def _errors_as_statuses(command: Any) -> Iterator[None]:
    from video3d_plugin.hosts.lmms_eval.state import STATE
    from video3d_plugin.model.registry import names

    STATE.from_command_line = True
    try:
        yield
    except Video3DError as error:
        STATE.note_failure()
        print(f"video3d: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        if getattr(command, "model", None) not in names():
            raise
        STATE.note_failure()
        message = explain(error)
        if message is not None:
            print(f"video3d: error: {message}", file=sys.stderr)
            raise SystemExit(2) from None
        traceback.print_exc()
        raise SystemExit(1) from None


PATCH = Patch(
    name="lmms_eval_errors",
    target="lmms_eval.evaluator",
    why="a failed evaluation of this package says why in one line and exits non-zero; each evaluation begins anew",
    known={},
    changes=changes,
)
