"""Parameters under DeepSpeed ZeRO-3 are scattered over the ranks; to be written they must be gathered first."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch


def enabled() -> bool:
    """Whether this process trains under ZeRO-3 (as transformers' integration knows it)."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return bool(is_deepspeed_zero3_enabled())


def gathered(parameters: Iterable[torch.nn.Parameter]) -> AbstractContextManager:
    """A context in which the parameters are whole; what rank 0 writes reaches all. Without ZeRO-3 it does nothing."""
    if not enabled():
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=0)
