"""Weights of 8 and 4 bits: `load_in_8bit` and `load_in_4bit`, as in LLaVA-NeXT, by bitsandbytes or torchao.

The first library of a row that is installed is used:

| argument       | device | library and method                                                                       |
|----------------|--------|------------------------------------------------------------------------------------------|
| `load_in_8bit` | CUDA   | bitsandbytes, LLM.int8(); torchao, int8 weights                                          |
| `load_in_8bit` | others | torchao, int8 weights; bitsandbytes, LLM.int8()                                          |
| `load_in_4bit` | CUDA   | bitsandbytes, NF4 in blocks of 64; torchao, int4 in groups of 128                        |
| `load_in_4bit` | others | bitsandbytes, NF4 in blocks of 64                                                        |

On CUDA bitsandbytes is what LLaVA-NeXT loads with. Elsewhere torchao's int8 weights are as exact, and a decoded token
takes a third of the time (2048 x 2048 in bfloat16 on one CPU thread: 1.3 against 4.9 ms). Its int4 for the CPU is a
prototype, whose name changes between releases and whose float32 product of 512 tokens takes 70 times as long (3.7 s).

The linear layers of the language model are quantised; tower, projector, embeddings and heads keep their format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import torch

from video3d_plugin.compat import TRANSFORMERS_VERSION
from video3d_plugin.errors import MissingError

_BITS = ("load_in_4bit", "load_in_8bit")
_LOWEST = {"bitsandbytes": "0.46.1", "torchao": "0.15"}  # the first ones for the CPU, and with the classes used here
# Small, new, or read by their weights' number format.
_LEFT_OUT = ["lm_head", "vision_tower", "mm_projector", "world_position_embedding"]
_LEFT_OUT += ["ground_head", "ground_head_obj", "ground_head_query", "ground_head_score"]


def with_quantisation(kwargs: dict[str, Any], new_parts: Iterable[str]) -> dict[str, Any]:
    """Replace `load_in_4bit` and `load_in_8bit` by a `quantization_config` of transformers.

    Args:
        kwargs: Arguments of `from_pretrained`. A `quantization_config` among them is kept.
        new_parts: Parts of the model that are not quantised, beside those that every model has.

    Returns:
        A changed copy.

    Raises:
        MissingError: No library for it is installed, or only versions that do not serve.
    """
    kwargs = dict(kwargs)
    asked = [name for name in _BITS if kwargs.pop(name, False)]
    if not asked or kwargs.get("quantization_config") is not None:
        return kwargs
    bits, on_cuda = asked[0], goes_to_cuda(kwargs.get("device_map"))
    left_out = [*_LEFT_OUT, *(part.strip(".") for part in new_parts)]
    dtype = kwargs.get("dtype") or kwargs.get("torch_dtype") or torch.bfloat16
    kwargs["quantization_config"] = _MAKERS[library_for(bits, on_cuda)](bits, dtype, left_out)
    return kwargs


def library_for(bits: str, on_cuda: bool) -> str:
    """Choose "bitsandbytes" or "torchao" by the table above.

    Args:
        bits: "load_in_4bit" or "load_in_8bit".
        on_cuda: Whether the weights go to a CUDA device.

    Raises:
        MissingError: None of the row is installed in a version that serves.
    """
    row = ["bitsandbytes", "torchao"]
    if not on_cuda:
        row = row[::-1] if bits == "load_in_8bit" else row[:1]
    faults = [(name, _fault(name)) for name in row]
    for name, fault in faults:
        if fault is None:
            return name
    what = f"{bits} on {'CUDA' if on_cuda else 'this device'} needs {' or '.join(row)}"
    raise MissingError(
        f"{what}: {', '.join(f'{name} {fault}' for name, fault in faults)}",
        remedy=f"pip install '{row[0]}>={_LOWEST[row[0]]}', or video3d-plugin[quantised] for both",
    )


@torch.no_grad()
def lay_out(model: Any) -> None:
    """Let bitsandbytes bring its weights into the order that its CPU kernels read, in place.

    It does so in its first forward pass, which would then count as a change of weights (`prefix.weight_sums`).

    Args:
        model: The model, in evaluation mode.
    """
    for module in model.modules():
        if type(module).__module__.startswith("bitsandbytes.") and module.weight.device.type == "cpu":
            module(torch.zeros(1, module.in_features, dtype=model.dtype))


def _fault(library: str) -> str | None:
    """Say why a library does not serve, or return None."""
    if library == "torchao" and TRANSFORMERS_VERSION < (5, 0):
        return "needs transformers 5"
    try:
        version = metadata.version(library)
    except metadata.PackageNotFoundError:
        return "is not installed"
    return None if _numbers(version) >= _numbers(_LOWEST[library]) else f"{version} is older than {_LOWEST[library]}"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def goes_to_cuda(device_map: Any) -> bool:
    """Return whether weights go to a CUDA device, for a `device_map` of transformers."""
    places = device_map.values() if isinstance(device_map, dict) else [device_map]
    named = [place for place in places if not isinstance(place, str) or place.partition(":")[0] in ("cpu", "cuda")]
    if named and named != [None]:
        return any(isinstance(place, int) or torch.device(place).type == "cuda" for place in named)
    return torch.cuda.is_available()  # None, "auto", "balanced", ...


def _of_bitsandbytes(bits: str, dtype: torch.dtype, left_out: list[str]) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        **{bits: True}, llm_int8_skip_modules=left_out, bnb_4bit_compute_dtype=dtype, bnb_4bit_quant_type="nf4"
    )


def _of_torchao(bits: str, dtype: torch.dtype, left_out: list[str]) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    # The packed form is that of the kernel in torch itself; the default one needs a further library.
    kind = Int8WeightOnlyConfig() if bits == "load_in_8bit" else Int4WeightOnlyConfig(
        group_size=128, int4_packing_format="tile_packed_to_4d"
    )  # fmt: skip
    return TorchAoConfig(kind, modules_to_not_convert=left_out)


_MAKERS: dict[str, Callable[[str, torch.dtype, list[str]], Any]] = {
    "bitsandbytes": _of_bitsandbytes, "torchao": _of_torchao,
}  # fmt: skip
