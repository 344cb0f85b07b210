"""Run in a process of its own by test_contract.py: takes every patch through one story and prints what it saw.

Not a test module: hosts stay patched in the process that imports them.
"""

from __future__ import annotations

import json
import sys
import types
from importlib import import_module

from video3d_plugin.patches import registry
from video3d_plugin.patches.base import PatchMismatch, resolve

from video3d_plugin._startup import install

NEEDED_TO_IMPORT = ("torchvision_operators", "llava_transformers_names")  # without them, some hosts cannot be


def snapshot(patch) -> dict:
    """Identities of everything the patch may replace, read from its own list of changes."""
    module = sys.modules[patch.target]
    changes = [c for c in patch.changes(module) if hasattr(c, "owner")] if patch.not_needed(module) is None else []
    return {f"{c.owner}.{c.name}": vars(c.owner).get(c.name) for c in changes}


def story(order: str) -> dict[str, list[str]]:
    """Apply, apply again, undo, undo again; the host imported before the hook was installed, or after."""
    seen: dict[str, list[str]] = {}
    if order == "hook first":
        install()
    else:
        for name in NEEDED_TO_IMPORT:
            registry.apply(name)
    for name in registry.NAMES:
        patch = registry.get(name)
        try:
            import_module(patch.before or patch.target)
        except ModuleNotFoundError as error:  # LLaVA-NeXT is not on any registry: most environments lack it
            seen[name] = [f"absent: {error.name}"]
    for name in registry.NAMES:
        patch, steps = registry.get(name), []
        if name in seen:
            continue
        steps.append(registry.state(name).status)
        pristine = snapshot_of_host(patch) if steps[0] == "waiting" else None
        steps.append(registry.apply(name).status)
        patched = snapshot_of_host(patch)
        steps.append(
            "same" if registry.apply(name).status == steps[-1] and snapshot_of_host(patch) == patched else "changed"
        )
        steps.append(registry.undo(name).status)
        original = snapshot_of_host(patch)
        restored = original == pristine if pristine is not None else original != patched or not original
        steps.append("restored" if restored else "not restored")
        steps.append("same" if registry.undo(name) and snapshot_of_host(patch) == original else "changed")
        steps.append(registry.apply(name).status)
        registry.undo(name)
        seen[name] = steps
    return seen


def snapshot_of_host(patch) -> dict:
    return {key: id(value) for key, value in snapshot(patch).items()}


def altered_hosts() -> dict[str, dict[str, str]]:
    """For every function a patch was checked against: alter it, try, and look whether anything else was touched."""
    for name in NEEDED_TO_IMPORT:
        registry.apply(name)
    seen: dict[str, dict[str, str]] = {}
    for name in registry.NAMES:
        patch = registry.get(name)
        if not patch.known:
            continue
        try:
            module = import_module(patch.target)
        except ModuleNotFoundError as error:  # as above
            seen[name] = {"absent": str(error.name)}
            continue
        registry.undo(name)
        for dotted in patch.known:
            *path, last = dotted.split(".")
            owner = resolve(module, ".".join(path)) if path else module
            kept = vars(owner)[last]
            alter(owner, last, kept)
            before = snapshot_of_host(patch)
            try:
                registry.apply(name)
                seen.setdefault(name, {})[dotted] = "applied"
            except PatchMismatch as error:
                same = snapshot_of_host(patch) == before
                seen.setdefault(name, {})[dotted] = str(error) if same else "changed in part"
            setattr(owner, last, kept)
    return seen


def alter(owner, name: str, kept) -> None:
    """Put a function with other source, and the same signature as far as callers see, in its place."""

    def altered(*args, **kwargs):
        return None

    function = types.FunctionType(altered.__code__, globals(), name)
    setattr(owner, name, classmethod(function) if isinstance(kept, classmethod) else function)


if __name__ == "__main__":
    print("RESULT " + json.dumps(story(sys.argv[1]) if sys.argv[1] != "altered" else altered_hosts()))
