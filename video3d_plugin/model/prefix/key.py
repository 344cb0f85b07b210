"""What decides how a scene is encoded, as one short text: while it stays, a prefix made before fits.

Torch's version counter does not see every change of a weight: fused optimisers, `.data` and PEFT's merging write past
it. So the weights themselves are read, every time.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from video3d_plugin.model.registry import identity

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

# Of a module: whether dropout is on, and what PEFT's layers say of their adapters.
_SWITCHES = ("training", "_disable_adapters", "_active_adapter", "scaling")


def prefix_key(model: Video3DForCausalLM, processor: Video3DProcessor) -> str:
    """Changes with everything that a prefix is made with: the weights that it depends on (all but the output layer and
    the grounding head), adapters switched or scaled, dropout, what the data is asked for and how it is laid out, and
    the words before the question. Of an add-on's class all weights count, and which class it is.

    The weights' bits are summed as whole numbers: no change is too small to be seen, and nothing is rounded.
    That reads every weight once, as each generated token does: 0.4 to 0.8 of a token's time on one CPU core (5 MB and
    1.4 GB of weights). On a GPU (not measured) it waits once, for one number a weight. Not seen: numbers of one weight
    that change places, other changes that cancel in its sum, and weights that accelerate has put away (`meta`).
    """
    inner, config = model.get_model(), model.config
    switches = [[vars(module).get(name) for name in _SWITCHES] for module in inner.modules()]
    asked = (config.inputs_spec, config.layout, config.position, config.head is not None)
    kind = identity(type(model.get_base_model() if hasattr(model, "get_base_model") else model))
    # An add-on's class may read any of its weights before the question, and have switches anywhere.
    theirs = None if kind is None else (kind, _sums(model))
    made_with = (_sums(inner), switches, asked, processor.prefix_ids(), theirs)
    return hashlib.blake2b(repr(made_with).encode(), digest_size=16).hexdigest()


@torch.no_grad()
def _sums(module: torch.nn.Module) -> list[list[int]]:
    """For each device, `sum_of_bits` of the weights there."""
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for weight in module.parameters():
        if not weight.is_meta:
            by_device.setdefault(weight.device, []).append(sum_of_bits(weight.data))
    return [torch.stack(sums).tolist() for sums in by_device.values()]


def sum_of_bits(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's memory read as 64-bit numbers, their sum modulo 2^64: () int64, on its device. In place: a sum that
    converts its input would copy it first, and take thirty times as long on a CPU."""
    if hasattr(tensor, "__tensor_flatten__"):  # several tensors in one, as torchao's quantised weights are
        return sum(sum_of_bits(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    memory = tensor.contiguous().flatten().view(torch.uint8)
    whole = len(memory) - len(memory) % 8
    if memory.storage_offset() % 8:
        memory = memory.clone()
    total = memory[:whole].view(torch.int64).sum()
    return total if whole == len(memory) else total + memory[whole:].sum()
