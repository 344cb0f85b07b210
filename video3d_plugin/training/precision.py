"""Number formats: what is trained is float32, whatever the checkpoint is stored in.

Published checkpoints are bfloat16. From 0.005 on, two such numbers are farther apart than twice a step of 1e-5, so
that each step of a fine-tuning would be rounded away. In float32 steps add up (under autocast the products are
bfloat16 all the same), as in the float32 masters of the reference implementation's DeepSpeed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


def arguments_of(precision: str) -> dict[str, bool]:
    """The arguments of TrainingArguments for "float32", "bfloat16" or "float16"; nothing else decides after this.

    accelerate's environment variable would outvote `bf16=False`: its launcher sets it, and transformers 4 leaves it
    behind for the next run of the process.
    """
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    return {"bf16": precision == "bfloat16", "fp16": precision == "float16"}


@contextmanager
def in_float32(model: nn.Module, *, frozen: bool) -> Iterator[None]:
    """Inside, all parameters that train are float32; afterwards each is what it was.

    frozen   the others too: without autocast all that meets must be of one format
    """
    stored = {p: p.dtype for p in model.parameters() if p.requires_grad or frozen}
    _convert(dict.fromkeys(stored, torch.float32))
    try:
        yield
    finally:
        _convert(stored)


def _convert(wanted: dict[nn.Parameter, torch.dtype]) -> None:
    for parameter, dtype in wanted.items():
        if parameter.dtype != dtype:
            parameter.grad = None
            parameter.data = parameter.data.to(dtype)
