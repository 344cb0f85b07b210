"""The list of all patches, and functions that apply and undo them. A patch is applied in full or not at all."""

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

# In the order in which they are applied. Each is a module of this folder that declares a PATCH.
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
    """State of a patch in this process.

    Attributes:
        name: Name of the patch.
        status: "waiting" until the target has been imported.
        reason: Why it has this status.
    """

    name: str
    status: Literal["applied", "not needed", "mismatch", "failed", "undone", "waiting"]
    reason: str = ""


_applied: dict[str, list[Change]] = {}
_states: dict[str, State] = {}
_lock = threading.RLock()


def get(name: str) -> Patch:
    """Return the patch of this name.

    Raises:
        Video3DError: If there is none.
    """
    if name not in NAMES:
        raise Video3DError(f"no patch {name!r} (known: {', '.join(NAMES)})")
    return import_module(f"video3d_plugin.patches.{name}").PATCH


def apply(name: str) -> State:
    """Import the patch's target and apply the patch, unless it is applied already.

    Args:
        name: Name of the patch.

    Returns:
        Its state: "applied" or "not needed".

    Raises:
        PatchMismatch: If the host's code is not known; nothing is changed then.
        ImportError: If the host is not installed.
    """
    patch = get(name)
    if patch.target not in sys.modules:  # torchvision cannot be imported without its patch: apply it during the import
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
    """Apply patches for the start-up hook; one that cannot be applied is a warning, as the host must be imported."""
    for name in names:
        try:
            apply(name)
        except Exception as error:  # a patch that fails must not keep the host from being imported
            if not isinstance(error, PatchMismatch):
                _note(name, "failed", f"{type(error).__name__}: {error}")
            warnings.warn(f"video3d-plugin: {error}", RuntimeWarning, stacklevel=2)


def undo(name: str) -> State:
    """Undo a patch; nothing happens where it is not applied.

    Args:
        name: Name of the patch.

    Returns:
        Its state.

    Raises:
        PatchMismatch: If a change cannot be undone; none is undone then.
    """
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
    """Return the state of a patch; "waiting" where its target has not been imported."""
    return _states.get(name) or State(name, "waiting", f"{get(name).target} was not imported")


def states() -> list[State]:
    """Return the states of all patches."""
    return [state(name) for name in NAMES]


def require(*names: str) -> None:
    """Apply patches that the hook did not apply (it is off, or the host was imported earlier).

    Args:
        *names: Names of patches; those whose target has not been imported are skipped.

    Raises:
        PatchMismatch: If the host's code is not known.
    """
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
