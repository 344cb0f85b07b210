"""bfloat16 on CPUs without instructions for it: linear layers compute in float32, a block of weights at a time.

Without such instructions torch computes a product in bfloat16 at a fraction of the speed in float32. Here the weights
stay in bfloat16 in memory; a block of at most 64 MB is converted, multiplied and dropped. Sums are float32 either way,
and results are rounded to bfloat16 once.
"""

from __future__ import annotations

import functools
import logging
import platform

import torch
import torch.nn.functional as F
from torch import nn

log = logging.getLogger(__name__)

_BLOCK = 1 << 24  # weights of a block: 64 MB in float32
_FEWEST_ROWS = 64  # below, converting the weights takes longer than the slow product


def has_bfloat16_instructions() -> bool:
    """Return whether the CPU multiplies bfloat16 numbers itself. True for other than x86."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    known = [getattr(torch.cpu, name) for name in tests if hasattr(torch.cpu, name)]
    return not known or any(test() for test in known)


class Linear(nn.Linear):
    """A linear layer whose product of bfloat16 tensors is computed in float32 on a CPU, without a gradient."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight, rows = self.weight, input.numel() // max(1, input.shape[-1])
        half = input.dtype == weight.dtype == torch.bfloat16 and input.device.type == "cpu"
        if not half or rows < _FEWEST_ROWS or torch.is_grad_enabled():
            return super().forward(input)
        exact = input.float()
        step = max(1, _BLOCK // weight.shape[1])
        biases = [None] * -(-len(weight) // step) if self.bias is None else [b.float() for b in self.bias.split(step)]
        parts = zip(weight.split(step), biases, strict=True)
        return torch.cat([F.linear(exact, part.float(), bias).bfloat16() for part, bias in parts], -1)


def use_float32_products(model: nn.Module) -> int:
    """Replace the linear layers of a bfloat16 model on a CPU without instructions for it by `Linear`; say so once.

    Args:
        model: The model, changed in place. Names and parameters stay the same, subclasses of nn.Linear as they are.

    Returns:
        How many layers were replaced: 0 on other devices and CPUs, and in other number formats.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear and module.weight.dtype == torch.bfloat16 and module.weight.device.type == "cpu"
    ]
    if not layers or has_bfloat16_instructions():
        return 0
    for layer in layers:
        layer.__class__ = Linear
    say_once()
    return len(layers)


@functools.cache
def say_once() -> None:
    log.warning("this CPU has no instructions for bfloat16: linear layers compute in float32, block by block")
