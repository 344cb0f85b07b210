"""Parameters under DeepSpeed ZeRO-3 are scattered over the ranks; to be written they must be gathered first."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch


def enabled() -> bool:
    """Whether this process trains under ZeRO-3 (as transformers' integration knows it)."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return bool(is_deepspeed_zero3_enabled())


def scattered(model: torch.nn.Module) -> bool:
    """Whether the model's parameters are scattered: calling one of its modules then is a collective."""
    return hasattr(next(model.parameters()), "ds_id")


def whole_shape(parameter: torch.nn.Parameter) -> torch.Size:
    """The parameter's shape; a scattered one's own is that of nothing."""
    return getattr(parameter, "ds_shape", parameter.shape)


def gathered(parameters: Iterable[torch.nn.Parameter]) -> AbstractContextManager:
    """A context in which the parameters are whole; what rank 0 writes reaches all. Without ZeRO-3 it does nothing."""
    if not enabled():
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=0)
