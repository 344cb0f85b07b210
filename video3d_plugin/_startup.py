"""The start-up hook: applies the patches of `video3d_plugin.patches` when the host's modules are imported.

`video3d_plugin_hooks.pth` calls `install()` in every interpreter of the environment, so that `lmms-eval`,
`torchrun -m lmms_eval` and LLaVA-NeXT's own scripts find the add-on without being edited. It only registers an
import finder: under a millisecond, no host and no other part of this package is imported. VIDEO3D_HOOKS=0 turns
it off. `video3d doctor` shows what was applied.
"""

import os
import sys

# Host module -> the patches applied once it has been executed, in this order. `video3d_plugin.patches.registry`
# is the authority; a test holds the two together. Spelled out here because importing it would cost 20 ms.
AFTER_IMPORT: dict[str, tuple[str, ...]] = {
    "torchvision.extension": ("torchvision_operators",),
    "lmms_eval": ("lmms_eval_exit_code",),
    "lmms_eval.tasks": ("lmms_eval_task_folder",),
    "lmms_eval.api.task": ("lmms_eval_no_retry",),
    "lmms_eval.evaluator": ("lmms_eval_errors", "lmms_eval_file_locks"),
    "lmms_eval.caching.response_cache": ("lmms_eval_response_cache",),
    "llava.train.llava_trainer": ("llava_trainer_loop", "llava_cpu_runs", "llava_video3d"),
    "llava.model.builder": ("llava_video3d_loader",),
}
# Likewise, applied before the module is executed: repairs without which it cannot be imported.
BEFORE_IMPORT: dict[str, tuple[str, ...]] = {
    "llava": ("llava_transformers_names",),
}


def apply_quietly(patches: tuple[str, ...]) -> None:
    from video3d_plugin.patches import registry

    registry.apply_quietly(patches)


class HostFinder:
    """A `sys.meta_path` entry that finds nothing itself: it lets the others find a host module and hooks its end.

    after, before   module -> names of patches; `apply` is called with them when the module has been executed, or just
                    before it is
    """

    def __init__(self, after=AFTER_IMPORT, apply=apply_quietly, before=BEFORE_IMPORT) -> None:
        self.after, self.before, self.apply = after, before, apply
        self.asking = False  # another add-on's finder of this kind asks us while we ask it

    def find_spec(self, name, path=None, target=None):
        after, before = self.after.get(name, ()), self.before.get(name, ())
        if not (after or before) or self.asking:
            return None
        self.asking = True
        try:
            spec = _ask_the_others(self, name, path, target)
        finally:
            self.asking = False
        if spec is not None and hasattr(spec.loader, "exec_module"):
            _call_around(spec.loader, self.apply, before, after)
        return spec


def _ask_the_others(ours: HostFinder, name: str, path, target):
    for finder in sys.meta_path:
        if finder is not ours and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def _call_around(loader, apply, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Wrap one loader instance (each spec has its own), so that the patches surround the module's execution."""
    execute = loader.exec_module

    def exec_module(module) -> None:
        if before:
            apply(before)
        execute(module)
        if after:
            apply(after)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a loader without a __dict__ (frozen, built-in): no host is one
        return


class applying:
    """`with applying(hooks, apply):` a finder of our own, for imports inside the block, whether hooks are on or off."""

    def __init__(self, hooks, apply) -> None:
        self.finder = HostFinder(hooks, apply, before={})

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self.finder)

    def __exit__(self, *error) -> None:
        sys.meta_path.remove(self.finder)


def install() -> bool:
    """Register the finder, once; returns whether it is registered. VIDEO3D_HOOKS=0 turns it off."""
    if os.environ.get("VIDEO3D_HOOKS", "1") == "0":
        return False
    if not any(isinstance(finder, HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, HostFinder())
    return True


def uninstall() -> None:
    """Take the finder out again; patches that were applied stay until `patches.registry.undo`."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, HostFinder)]
