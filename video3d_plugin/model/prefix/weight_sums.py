"""Sums of a model's weights, which change when a weight does, without reading every weight each time.

The bits of the weights are summed as integers, so that no change is too small to count. Reading all of them takes as
long as generating a token does, so it is done only when something says that they may have changed:

| change                                                | seen by                                                   |
|-------------------------------------------------------|-----------------------------------------------------------|
| operations of torch in place, `load_state_dict`       | version counter of the tensor                             |
| a step of any `torch.optim.Optimizer`, also a fused   | count of all steps: fused kernels advance no version      |
| one, or one that writes through `.data`               |                                                           |
| another tensor, device or number format               | identity, address and format of the tensor                |
| PEFT's adapters merged, switched or scaled            | the caller's `switches`: merging writes through `.data`   |
| a write through `.data`, NumPy or a custom kernel     | the sample                                                |

No trace is left by the writes of the last row. For these each call also sums a sample: of every weight a window of 1/64
or 256 KiB, whichever is more, the next one at each call. Weights of up to 256 KiB are therefore compared whole, a
change of all of a weight's numbers is seen at once, and one of few numbers after 64 calls at most; `full` sees both at
once.

Missed are changes that leave the sum of a window the same, such as numbers that swap places within it, and weights that
accelerate has offloaded (`meta`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

_WINDOWS = 64
SMALLEST_WINDOW = 1 << 18  # bytes of a window; summing fewer takes no less time


@dataclass
class _Sums:
    """The sums of a module's weights, as they were when `trace` was what is left of changes.

    Attributes:
        trace: See `_trace_of`.
        windows: For each tensor the sums of its windows.
        calls: How often a sample was compared; chooses the next windows.
    """

    trace: Any
    windows: list[list[int]]
    calls: int = 0


_known: WeakKeyDictionary[torch.nn.Module, _Sums] = WeakKeyDictionary()
_steps = 0  # of all optimizers of this process, since the first sums


@torch.no_grad()
def weight_sums(module: torch.nn.Module, switches: str, full: bool = False) -> list[int]:
    """Return a sum of the bits of each weight, modulo 2^64: read anew, or as known if nothing says that one changed.

    Args:
        module: The module.
        switches: State of the module that goes with changes of weights: they are read anew where it differs.
        full: Read all weights.
    """
    _count_steps()
    tensors = [tensor for weight in module.parameters() if not weight.is_meta for tensor in _tensors_of(weight)]
    trace, known = (_trace_of(tensors), switches, _steps), _known.get(module)
    if full or known is None or known.trace != trace or not _sample_agrees(tensors, known):
        windows = _read([windows_of(_memory_of(tensor)) for tensor in tensors])
        known = _known[module] = _Sums(trace, windows, known.calls if known else 0)
    return [sum(of_tensor) % (1 << 64) for of_tensor in known.windows]


@functools.cache
def _count_steps() -> None:
    def count(*_: Any) -> None:
        global _steps
        _steps += 1

    register_optimizer_step_post_hook(count)


def _trace_of(tensors: list[torch.Tensor]) -> list[tuple[Any, ...]]:
    """Return what an operation of torch that changes a tensor, or puts another in its place, also changes."""
    return [
        (id(t), t.data_ptr(), t.dtype, t.device, None if t.is_inference() else t._version)  # which counts no versions
        for t in tensors
    ]


def _sample_agrees(tensors: list[torch.Tensor], known: _Sums) -> bool:
    """Compare the sum of one window of each tensor with the known one."""
    chosen = [known.calls % len(sums) for sums in known.windows]
    known.calls += 1
    parts = []
    for tensor, sums, index in zip(tensors, known.windows, chosen, strict=True):
        memory = _memory_of(tensor)
        step = _step_of(len(memory))
        parts.append(sum_of_bits(memory[index * step : (index + 1) * step] if len(sums) > 1 else memory)[None])
    return [sums[0] for sums in _read(parts)] == [s[i] for s, i in zip(known.windows, chosen, strict=True)]


def windows_of(memory: torch.Tensor) -> torch.Tensor:
    """Return the sums (W,) of the windows of a tensor's memory (N,), W >= 1."""
    step = _step_of(len(memory))
    whole = len(memory) // step * step
    if not whole:
        return sum_of_bits(memory)[None]
    sums = memory[:whole].view(torch.int64).unflatten(0, (-1, step // 8)).sum(1)
    return sums if whole == len(memory) else torch.cat([sums, sum_of_bits(memory[whole:])[None]])


def _step_of(count: int) -> int:
    """Return the bytes of a window of a tensor of `count` bytes, a multiple of 8."""
    return max(SMALLEST_WINDOW, -(-count // _WINDOWS // 8) * 8)


def _tensors_of(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a weight, or the tensors that it consists of, as those of torchao do."""
    if not hasattr(weight, "__tensor_flatten__"):
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield from _tensors_of(getattr(weight, name))


def _read(sums: list[torch.Tensor]) -> list[list[int]]:
    """Read sums (W,) of tensors, in one transfer from each device."""
    found: list[list[int]] = [[] for _ in sums]
    for device in {part.device for part in sums}:
        places = [index for index, part in enumerate(sums) if part.device == device]
        numbers = iter(torch.cat([sums[index] for index in places]).tolist())
        for index in places:
            found[index] = [next(numbers) for _ in range(len(sums[index]))]
    return found


def _memory_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's memory (N,) as bytes.

    It is reinterpreted, not converted: a conversion copies it and takes thirty times as long on a CPU.
    """
    memory = tensor.detach().contiguous().flatten().view(torch.uint8)
    return memory.clone() if memory.storage_offset() % 8 else memory


def sum_of_bits(memory: torch.Tensor) -> torch.Tensor:
    """Sum memory (N,) uint8 at a multiple of 8 bytes as 64-bit integers, modulo 2^64; () int64 on its device."""
    whole = len(memory) - len(memory) % 8
    total = memory[:whole].view(torch.int64).sum()
    return total if whole == len(memory) else total + memory[whole:].sum()
