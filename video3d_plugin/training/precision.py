"""Number formats of a training run.

Trainable weights are kept in float32, whatever format the checkpoint is stored in. Published checkpoints are bfloat16,
where neighbouring numbers above 0.005 differ by more than twice a step of 1e-5: every step of a fine-tuning run would
be rounded away. In float32 the steps add up, as in the float32 master weights of the reference implementation's
DeepSpeed. Autocast still computes products in bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn


def precision_arguments(precision: str) -> dict[str, Any]:
    """Return the arguments of `TrainingArguments` that select `precision`, and make sure that they decide.

    Removes the environment variable ACCELERATE_MIXED_PRECISION, which would override `bf16=False`: `accelerate launch`
    sets it, and transformers 4 leaves it set for the next run in the same process.

    Args:
        precision: "float32", "bfloat16" or "float16".

    Returns:
        The values of `bf16` and `fp16`.
    """
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    return {"bf16": precision == "bfloat16", "fp16": precision == "float16"}


@contextmanager
def float32_master_weights(model: nn.Module, *, frozen: bool) -> Iterator[None]:
    """Keep trainable parameters in float32 inside the block, and restore each parameter's format afterwards.

    Args:
        model: The model to convert in place.
        frozen: Convert frozen parameters too. Needed without autocast, where both operands of a product must have the
            same format.
    """
    stored = {p: p.dtype for p in model.parameters() if p.requires_grad or frozen}
    _convert(dict.fromkeys(stored, torch.float32))
    try:
        yield
    finally:
        _convert(stored)


def _convert(dtypes: dict[nn.Parameter, torch.dtype]) -> None:
    for parameter, dtype in dtypes.items():
        if parameter.dtype != dtype:
            parameter.grad = None
            parameter.data = parameter.data.to(dtype)
