"""Repairs LLaVATrainer, whose training loop lacks imports, for current accelerate and transformers.

- Commit 45f2d92 pasted `_inner_training_loop` of another transformers into the class without its imports: every
  training ends in "NameError: name 'DebugOption' is not defined". The patch removes it; transformers' loop runs.
- `create_accelerator_and_postprocess` passes arguments that accelerate 1.0 removed. The patch removes the method;
  transformers' own has the same effect.
- `_save_checkpoint` passes `metrics` to a method that does not accept it since transformers 4.47.
- `get_train_dataloader` calls `seed_worker` with one argument; newer transformers require three.
"""

from __future__ import annotations

import functools
import inspect
from types import ModuleType

from video3d_plugin.patches.base import Patch, PatchMismatch, Remove, Replace

from video3d_plugin.hosts.source_check import source_digest

KNOWN_LOOPS = {"c78e65cae71106e6": "LLaVA-NeXT df17966"}


def changes(module: ModuleType) -> list[Replace]:
    trainer, steps = module.LLaVATrainer, []
    if _loop_lacks_imports(module):
        digest = source_digest(vars(trainer)["_inner_training_loop"])
        if digest not in KNOWN_LOOPS:
            raise PatchMismatch(
                f"patch llava_trainer_loop: LLaVATrainer._inner_training_loop lacks its imports and is not code seen "
                f"before, digest {digest} (known: {', '.join(KNOWN_LOOPS.values())}; b42941c has no such loop)"
            )
        steps.append(Remove(trainer, "_inner_training_loop"))
    if _accelerate_refuses(module):
        steps.append(Remove(trainer, "create_accelerator_and_postprocess"))
    if _metrics_refused():
        steps.append(Replace(_transformers_trainer(), "_save_checkpoint", _save_checkpoint()))
    if _workers_unseeded(module):
        steps.append(Replace(module, "seed_worker", seed_worker))
    return steps


def seed_worker(worker_id: int) -> None:
    """Seed a DataLoader worker from torch's seed, as transformers' function did before it took three arguments."""
    import torch
    from transformers import set_seed

    set_seed(torch.initial_seed() % 2**32)


def _workers_unseeded(module: ModuleType) -> bool:
    return len(inspect.signature(module.seed_worker).parameters) > 1


def _loop_lacks_imports(module: ModuleType) -> bool:
    return "_inner_training_loop" in vars(module.LLaVATrainer) and not hasattr(module, "DebugOption")


def _accelerate_refuses(module: ModuleType) -> bool:
    from accelerate import Accelerator

    defines = "create_accelerator_and_postprocess" in vars(module.LLaVATrainer)
    return defines and "dispatch_batches" not in inspect.signature(Accelerator.__init__).parameters


def _metrics_refused() -> bool:
    return "metrics" not in inspect.signature(_transformers_trainer()._save_checkpoint).parameters


def _transformers_trainer() -> type:
    from transformers.trainer import Trainer

    return Trainer


def _save_checkpoint():
    original = _transformers_trainer()._save_checkpoint

    @functools.wraps(original)
    def _save_checkpoint(self, model, trial, metrics=None):
        return original(self, model, trial)

    del _save_checkpoint.__wrapped__  # inspect.signature must see `metrics`, or the patch would look undone
    return _save_checkpoint


def not_needed(module: ModuleType) -> str | None:
    broken = _loop_lacks_imports(module) or _accelerate_refuses(module) or _metrics_refused()
    if broken or _workers_unseeded(module):
        return None
    return "this LLaVATrainer fits the installed accelerate and transformers"


PATCH = Patch(
    name="llava_trainer_loop",
    target="llava.train.llava_trainer",
    why="LLaVATrainer's pasted training loop lacks its imports, or does not fit this accelerate or transformers",
    known={},
    changes=changes,
    not_needed=not_needed,
)
