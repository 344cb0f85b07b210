"""Differences between the supported versions of transformers (4.45 to 5.x) and torch (2.2 and later), in one place.

Other modules use the names below and contain no version checks of their own. What distinguishes the *files* that each
version of transformers writes is in `model.checkpoint.tokenizer` and `model.checkpoint.export`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import Any

import torch
import transformers
from transformers import Qwen2Config
from transformers.modeling_outputs import CausalLMOutputWithPast

TRANSFORMERS_VERSION: tuple[int, int] = tuple(int(part) for part in transformers.__version__.split(".")[:2])  # type: ignore[assignment]

# The name under which transformers passes the cache of keys and values: `cache` from 5.24, `past_key_values` before.
# The old name is a deprecated alias in arguments, and none in the outputs of models outside transformers.
CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"

# Length of the tuple that an attention module returns: it includes the cache before transformers 4.48.
ATTENTION_OUTPUTS = 3 if TRANSFORMERS_VERSION < (4, 48) else 2


def cache_tensors(cache: Any) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Return the keys and values that a DynamicCache holds; transformers 4.54 moved them into `layers`.

    Args:
        cache: A DynamicCache.

    Returns:
        Keys and values, each a tuple with one tensor (batch, key-value heads, length, head size) for every layer.
    """
    if hasattr(cache, "layers"):
        return tuple(layer.keys for layer in cache.layers), tuple(layer.values for layer in cache.layers)
    return tuple(cache.key_cache), tuple(cache.value_cache)


def loading_arguments(arguments: Mapping[str, Any], low_memory: bool) -> dict[str, Any]:
    """Adapt keyword arguments of `from_pretrained` to the installed transformers.

    Args:
        arguments: The arguments. Both `dtype` and its name before transformers 4.56, `torch_dtype`, are accepted.
        low_memory: Load without a second copy of the weights, which transformers 4 otherwise makes. DeepSpeed ZeRO-3
            does not support it.

    Returns:
        A changed copy.
    """
    adapted = dict(arguments)
    old, new = ("dtype", "torch_dtype") if TRANSFORMERS_VERSION < (4, 56) else ("torch_dtype", "dtype")
    if old in adapted:
        adapted.setdefault(new, adapted.pop(old))
    if TRANSFORMERS_VERSION < (5, 0) and low_memory:
        adapted.setdefault("low_cpu_mem_usage", True)
    return adapted


def rope_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Adapt the rotary embedding's settings among the arguments of Qwen2Config to the installed transformers.

    Args:
        arguments: Fields of a config.json: `rope_parameters` as transformers 5 writes them, `rope_theta` and
            `rope_scaling` as 4 does, or both.

    Returns:
        A copy in which only the fields that the installed version reads are left.
    """
    adapted = dict(arguments)
    rope = adapted.get("rope_parameters")
    if "rope_parameters" in getattr(Qwen2Config, "__dataclass_fields__", {}):
        if rope:
            adapted.pop("rope_theta", None)
    elif rope:
        adapted.pop("rope_parameters")
        adapted["rope_theta"] = rope.get("rope_theta", adapted.get("rope_theta", 10000.0))
        if rope.get("rope_type", "default") != "default":
            adapted["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return adapted


def numpy_random_state_allowed() -> AbstractContextManager[Any]:
    """Let torch's safe loader read the NumPy random state of a Trainer checkpoint, inside the returned context.

    torch 2.6 and later refuse NumPy's types by default and transformers before 4.46 does not allow them, so no run
    could resume. Only the types of a random state are allowed.
    """
    if not hasattr(torch.serialization, "safe_globals"):  # torch before 2.5 loads it without permission
        return nullcontext()
    return torch.serialization.safe_globals(_random_state_types())


def allow_numpy_random_state() -> None:
    """Do for the rest of the process what `numpy_random_state_allowed` does: for a Trainer that a host runs."""
    import transformers.trainer

    if not hasattr(transformers.trainer, "safe_globals") and hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals(_random_state_types())


def _random_state_types() -> list[Any]:
    import numpy as np

    core = np._core if hasattr(np, "_core") else np.core
    return [core.multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
