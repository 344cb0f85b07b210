"""A key of everything that determines how a scene is encoded. A prefix may be reused while its key stays the same.

The key is computed from the weights each time, because torch's version counter misses changes: fused optimisers, writes
through `.data` and PEFT's merging do not advance it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import torch

from video3d_plugin.model.registry import identity

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

# Attributes of a module: whether dropout is on, and the state of PEFT's adapters.
_SWITCHES = ("training", "_disable_adapters", "_active_adapter", "scaling")


def prefix_key(model: Video3DForCausalLM, processor: Video3DProcessor) -> str:
    """Return the key of the prefixes that a model and a processor make now.

    It covers the weights that a prefix depends on (all but the output layer and the grounding head), active and scaled
    adapters, dropout, the inputs' specification, the token layout, and the text before the question. For an add-on's
    class it covers all weights, and the class.

    The bits of the weights are summed as integers, so that no change is too small to count. This reads every weight
    once, as generating a token does: 0.4 to 0.8 of a token's time on one CPU core (5 MB and 1.4 GB of weights). Changes
    that leave a weight's sum the same, such as a permutation of its numbers, are missed, and so are weights that
    accelerate has offloaded (`meta`).

    Args:
        model: The model.
        processor: Its processor.

    Returns:
        32 hexadecimal digits.
    """
    inner, config, wrapper = model.get_model(), model.config, cast(Any, model)
    switches = [[vars(module).get(name) for name in _SWITCHES] for module in inner.modules()]
    asked = (config.inputs_spec, config.layout, config.position, config.head is not None)
    kind = identity(type(wrapper.get_base_model() if hasattr(model, "get_base_model") else model))
    # An add-on's class may read any of its weights before the question, and have switches anywhere.
    theirs = None if kind is None else (kind, _sums(model))
    made_with = (_sums(inner), switches, asked, processor.prefix_ids(), theirs)
    return hashlib.blake2b(repr(made_with).encode(), digest_size=16).hexdigest()


@torch.no_grad()
def _sums(module: torch.nn.Module) -> list[list[int]]:
    """Return `sum_of_bits` of each weight, device by device."""
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for weight in module.parameters():
        if not weight.is_meta:
            by_device.setdefault(weight.device, []).append(sum_of_bits(weight.data))
    return [torch.stack(sums).tolist() for sums in by_device.values()]


def sum_of_bits(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor's memory as 64-bit integers, modulo 2^64.

    The memory is reinterpreted, not converted: a conversion copies it and takes thirty times as long on a CPU.

    Args:
        tensor: A tensor of any shape and number format.

    Returns:
        () int64, on the tensor's device.
    """
    if hasattr(tensor, "__tensor_flatten__"):  # several tensors in one, as torchao's quantised weights are
        parts: Any = tensor
        return torch.stack([sum_of_bits(getattr(tensor, name)) for name in parts.__tensor_flatten__()[0]]).sum()
    memory = tensor.contiguous().flatten().view(torch.uint8)
    whole = len(memory) - len(memory) % 8
    if memory.storage_offset() % 8:
        memory = memory.clone()
    total = memory[:whole].view(torch.int64).sum()
    return total if whole == len(memory) else total + memory[whole:].sum()
