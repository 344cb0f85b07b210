"""LLaVA-NeXT saves its model after `torch.cuda.synchronize()`, which raises on a machine without CUDA."""

from __future__ import annotations

from types import ModuleType

from video3d_plugin.patches.base import Patch, Replace


def nothing_to_wait_for(device=None) -> None:
    """In the place of torch.cuda.synchronize where there is no CUDA."""


def changes(module: ModuleType) -> list[Replace]:
    import torch

    return [Replace(torch.cuda, "synchronize", nothing_to_wait_for)]


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
