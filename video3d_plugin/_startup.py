"""The start-up hook: applies the patches of `video3d_plugin.patches` when the host's modules are imported.

`video3d_plugin_hooks.pth` calls `install()` in every interpreter of the environment, so that `lmms-eval`,
`torchrun -m lmms_eval` and LLaVA-NeXT's own scripts find the add-on without being edited. It only registers an
import finder, which takes less than a millisecond and imports no host and no other part of this package.
VIDEO3D_HOOKS=0 turns it off. `video3d doctor` shows which patches apply.
"""

import os
import sys

# Host module -> patches that are applied once it has been executed, in this order. They are listed here as well as in
# `video3d_plugin.patches.registry`, because importing that takes 20 ms; a test compares the two.
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
# The same for patches that are applied before the module is executed, as it cannot be imported without them.
BEFORE_IMPORT: dict[str, tuple[str, ...]] = {
    "llava": ("llava_transformers_names",),
}


def apply_quietly(patches: tuple[str, ...]) -> None:
    """Apply patches; one that cannot be applied is a warning."""
    from video3d_plugin.patches import registry

    registry.apply_quietly(patches)


class HostFinder:
    """An entry of `sys.meta_path` that lets the other finders find a host module and applies patches around its import.

    Args:
        after: Module -> names of patches that are applied when it has been executed.
        apply: Called with the names of patches.
        before: Module -> names of patches that are applied just before it is executed.
    """

    def __init__(self, after=AFTER_IMPORT, apply=apply_quietly, before=BEFORE_IMPORT) -> None:
        self.after, self.before, self.apply = after, before, apply
        self.asking = False  # guards against recursion: another package's finder of this kind may call this one

    def find_spec(self, name, path=None, target=None):
        """Return the spec that another finder has for a host module; None for other modules."""
        after, before = self.after.get(name, ()), self.before.get(name, ())
        if not (after or before) or self.asking:
            return None
        self.asking = True
        try:
            spec = _spec_of_others(self, name, path, target)
        finally:
            self.asking = False
        if spec is not None and hasattr(spec.loader, "exec_module"):
            _call_around(spec.loader, self.apply, before, after)
        return spec


def _spec_of_others(ours: HostFinder, name: str, path, target):
    for finder in sys.meta_path:
        if finder is not ours and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def _call_around(loader, apply, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Wrap `exec_module` of one loader (each spec has its own), so that patches are applied around it."""
    execute = loader.exec_module

    def exec_module(module) -> None:
        if before:
            apply(before)
        execute(module)
        if after:
            apply(after)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a loader without a __dict__ (frozen, built-in): hosts have none of these
        return


class applying:
    """Context in which imports apply patches, whether the start-up hook is on or off.

    Args:
        hooks: Module -> names of patches that are applied when it has been executed.
        apply: Called with the names of patches.
    """

    def __init__(self, hooks, apply) -> None:
        self.finder = HostFinder(hooks, apply, before={})

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self.finder)

    def __exit__(self, *error) -> None:
        sys.meta_path.remove(self.finder)


def install() -> bool:
    """Register the finder, unless it is registered already.

    Returns:
        Whether it is registered; False where VIDEO3D_HOOKS=0 turns it off.
    """
    if os.environ.get("VIDEO3D_HOOKS", "1") == "0":
        return False
    if not any(isinstance(finder, HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, HostFinder())
    return True


def uninstall() -> None:
    """Remove the finder. Patches that were applied stay until `patches.registry.undo`."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, HostFinder)]
