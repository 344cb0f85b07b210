"""All patches, and applying them: explicit, source-checked, idempotent, reversible, all or nothing."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from video3d_plugin.patches.base import Change, Patch, PatchMismatch

from video3d_plugin._startup import applying
from video3d_plugin.errors import Video3DError

# In the order in which they are applied; each module of this folder named here declares one PATCH.
NAMES = (
    "torchvision_operators",
    "lmms_eval_exit_code",
    "lmms_eval_task_folder",
    "lmms_eval_no_retry",
    "lmms_eval_errors",
    "lmms_eval_file_locks",
    "lmms_eval_response_cache",
    "llava_transformers_names",
    "llava_trainer_loop",
    "llava_cpu_runs",
    "llava_video3d",
    "llava_video3d_loader",
)


@dataclass(frozen=True)
class State:
    """What became of a patch in this process, and why."""

    name: str
    status: Literal["applied", "not needed", "mismatch", "failed", "undone", "waiting"]
    reason: str = ""


_applied: dict[str, list[Change]] = {}
_states: dict[str, State] = {}
_lock = threading.RLock()


def get(name: str) -> Patch:
    if name not in NAMES:
        raise Video3DError(f"no patch {name!r} (known: {', '.join(NAMES)})")
    return import_module(f"video3d_plugin.patches.{name}").PATCH


def apply(name: str) -> State:
    """Import the patch's target and apply the patch; a second time changes nothing.

    Raises PatchMismatch, having changed nothing, where the host's code is not known, and
    ImportError where there is no host.
    """
    patch = get(name)
    if patch.target not in sys.modules:  # torchvision's own import fails without the patch: apply it in the midst
        with applying({patch.target: (name,)}, lambda names: _apply_to_loaded(patch)):
            import_module(patch.target)
    return _apply_to_loaded(patch)


def _apply_to_loaded(patch: Patch) -> State:
    name, module = patch.name, sys.modules[patch.target]
    with _lock:
        if name in _applied:
            return _states[name]
        try:
            reason = patch.not_needed(module)
            if reason is not None:
                return _note(name, "not needed", reason)
            patch.check_sources(module)
            _applied[name] = _do_all(patch.changes(module))
        except PatchMismatch as error:
            _note(name, "mismatch", str(error))
            raise
        return _note(name, "applied", patch.why)


def apply_quietly(names: Iterable[str]) -> None:
    """For the start-up hook: a patch that cannot be applied is a warning, so that the host still imports."""
    for name in names:
        try:
            apply(name)
        except Exception as error:  # the host must import, whatever is wrong with a patch
            if not isinstance(error, PatchMismatch):
                _note(name, "failed", f"{type(error).__name__}: {error}")
            warnings.warn(f"video3d-plugin: {error}", RuntimeWarning, stacklevel=2)


def undo(name: str) -> State:
    """Take a patch back; one that is not applied is left alone. All of it or, with PatchMismatch, none of it."""
    with _lock:
        changes = _applied.get(name)
        if changes is None:
            return state(name)
        for change in changes:
            reason = change.can_undo()
            if reason is not None:
                raise PatchMismatch(f"patch {name} cannot be undone: {reason}")
        for change in reversed(changes):
            change.undo()
        del _applied[name]
        return _note(name, "undone", "")


def state(name: str) -> State:
    """What became of a patch so far; `waiting` where its target was not imported yet."""
    return _states.get(name) or State(name, "waiting", f"{get(name).target} was not imported")


def states() -> list[State]:
    return [state(name) for name in NAMES]


def require(*names: str) -> None:
    """Apply the named patches where the hook did not (hooks off, host imported earlier); raises on a mismatch."""
    for name in names:
        if get(name).target in sys.modules:
            apply(name)


def _do_all(changes: Iterable[Change]) -> list[Change]:
    done: list[Change] = []
    try:
        for change in changes:
            change.do()
            done.append(change)
    except BaseException:
        for change in reversed(done):
            change.undo()
        raise
    return done


def _note(name: str, status: str, reason: str) -> State:
    _states[name] = State(name, status, reason)
    return _states[name]
