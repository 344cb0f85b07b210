"""Parameters under DeepSpeed ZeRO-3 are scattered over the ranks; to be written they must be gathered first."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch


def enabled() -> bool:
    """Whether this process trains under ZeRO-3 (as transformers' integration knows it)."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return bool(is_deepspeed_zero3_enabled())


def join_process_group() -> None:
    """Let DeepSpeed use the process group that torch has started (transformers does so for CPU runs, without telling
    DeepSpeed, which then takes itself to be alone)."""
    if enabled() and torch.distributed.is_initialized():
        from deepspeed import comm

        if not comm.is_initialized():
            comm.init_distributed(dist_backend=torch.distributed.get_backend(), verbose=False)


def scattered(model: torch.nn.Module) -> bool:
    """Whether the model's parameters are scattered: calling one of its modules then is a collective."""
    return hasattr(next(model.parameters()), "ds_id")


def whole_shape(parameter: torch.nn.Parameter) -> torch.Size:
    """The parameter's shape; a scattered one's own is that of nothing."""
    return getattr(parameter, "ds_shape", parameter.shape)


def gathered(parameters: Iterable[torch.nn.Parameter]) -> AbstractContextManager:
    """A context in which the parameters are whole; what rank 0 writes reaches all. Without ZeRO-3 it does nothing."""
    scattered_ones = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not scattered_ones:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(scattered_ones, modifier_rank=0)
