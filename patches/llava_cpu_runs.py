"""Lets LLaVA-NeXT save a model without CUDA: it calls `torch.cuda.synchronize()` first, which raises there."""

from __future__ import annotations

from types import ModuleType

from video3d_plugin.patches.base import Patch, Replace


def synchronize_without_cuda(device=None) -> None:
    """Do nothing, in place of torch.cuda.synchronize."""


def changes(module: ModuleType) -> list[Replace]:
    import torch

    return [Replace(torch.cuda, "synchronize", synchronize_without_cuda)]


def not_needed(module: ModuleType) -> str | None:
    import torch

    return "there is a GPU" if torch.cuda.is_available() else None


PATCH = Patch(
    name="llava_cpu_runs",
    target="llava.train.llava_trainer",
    why="LLaVA-NeXT waits for the GPU before it saves, also where there is none",
    known={},
    changes=changes,
    not_needed=not_needed,
)
