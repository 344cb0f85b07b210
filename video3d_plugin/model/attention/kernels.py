"""Attention kernels that return the log-sum-exp, chosen by device and number format.

| device                  | formats           | kernel      | operator of torch, with its `_backward`          |
|-------------------------|-------------------|-------------|--------------------------------------------------|
| CPU                     | all               | `CPU_FLASH` | `_scaled_dot_product_flash_attention_for_cpu`    |
| CUDA, capability >= 8.0 | bfloat16, float16 | `FLASH`     | `_scaled_dot_product_flash_attention`; of packed |
|                         |                   |             | questions `_flash_attention_forward`             |
| CUDA                    | float32           | `EFFICIENT` | `_scaled_dot_product_efficient_attention`        |
| all others              | all               | `PLAIN`     | matrix products with scores in float32           |

The kernels of CUDA take head sizes that are multiples of 8 up to 128; other sizes take `PLAIN`. All compute scores and
their softmax in float32, whatever the format of the queries. `PLAIN` is the reference implementation of each row.

Shapes: G heads, T queries, P keys, head size d; in packed questions T queries of K * G heads and T keys of K heads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from video3d_plugin.model.attention.shared_prefix import Layout, attend_backward_plain, attend_plain

_LARGEST_HEAD = 128  # of the models supported; above, the backward pass needs particular GPUs
_LSE_ROWS = 32  # `_scaled_dot_product_efficient_attention` pads its log-sum-exp to a multiple of this

Seeds = tuple[torch.Tensor, ...]  # states of random numbers; unused without dropout, but arguments of a backward pass
Attended = tuple[torch.Tensor, torch.Tensor, Seeds]  # output (G, T, d); log-sum-exp (G, T) float32
Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # of query, key and value
aten: Any = torch.ops.aten


@dataclass(frozen=True)
class Kernel:
    """One row of the table.

    Attributes:
        name: Its name in the table.
        forward: (query (G, T, d), key (G, P, d), value (G, P, d), causal) -> Attended.
        backward: (grad, query, key, value, out, lse, seeds, causal) -> Gradients, see `attend_backward`.
        forward_packed: (query (T, K * G, d), key (T, K, d), value, layout) -> output (T, K * G, d), log-sum-exp
            (T, K * G), seeds: causal attention within each question. None: questions are padded, and `forward` is used.
        backward_packed: Its gradients, with the arguments (grad, query, key, value, out, lse, seeds, layout).
    """

    name: str
    forward: Callable[..., Attended]
    backward: Callable[..., Gradients]
    forward_packed: Callable[..., Attended] | None = None
    backward_packed: Callable[..., Gradients] | None = None


def kernel_for(query: torch.Tensor) -> Kernel:
    """Choose the kernel for queries (..., d) by the table above."""
    if query.device.type == "cpu":
        return CPU_FLASH if hasattr(aten, "_scaled_dot_product_flash_attention_for_cpu") else PLAIN
    size = query.shape[-1]
    if query.device.type != "cuda" or torch.version.hip or size % 8 or size > _LARGEST_HEAD:
        return PLAIN
    if query.dtype == torch.float32:
        return EFFICIENT
    half = query.dtype in (torch.bfloat16, torch.float16)
    return FLASH if half and _capability(query.device.index or 0) >= (8, 0) else PLAIN


@functools.cache
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend, and return the log-sum-exp of the scores q . k / sqrt(d) too.

    Args:
        query: (G, T, d).
        key: (G, P, d).
        value: (G, P, d).
        causal: With T == P: query i attends to the keys up to i. Else every query attends to every key.

    Returns:
        Output (G, T, d); log-sum-exp (G, T) float32.
    """
    return kernel_for(query).forward(query, key, value, causal)[:2]


# -- CPU --------------------------------------------------------------------------------------------------------------


def _cpu_forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False) -> Attended:
    kernel = aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = kernel(query[None], key[None], value[None], 0.0, causal)
    return out[0], lse[0].float(), ()


def _cpu_backward(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, seeds: Seeds = (), causal: bool = False,
) -> Gradients:  # fmt: skip
    rows = lse[None].transpose(1, 2).contiguous().transpose(1, 2)  # the kernel's own order of axes in memory
    batch = (grad[None], query[None], key[None], value[None], out[None])
    parts = aten._scaled_dot_product_flash_attention_for_cpu_backward(*batch, rows, 0.0, causal)
    return parts[0][0], parts[1][0], parts[2][0]


# -- FlashAttention on CUDA -------------------------------------------------------------------------------------------


def _flash_forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False) -> Attended:
    result = aten._scaled_dot_product_flash_attention(query[None], key[None], value[None], 0.0, causal)
    return result[0][0], result[1][0], (result[6], result[7])


def _flash_backward(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, seeds: Seeds, causal: bool = False,
) -> Gradients:  # fmt: skip
    batch = (grad[None], query[None], key[None], value[None], out[None], lse[None].contiguous())
    lengths = (None, None, query.shape[1], key.shape[1])
    parts = aten._scaled_dot_product_flash_attention_backward(*batch, *lengths, 0.0, causal, *seeds)
    return parts[0][0], parts[1][0], parts[2][0]


def _flash_forward_packed(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout) -> Attended:
    ends, longest = layout.ends, layout.longest
    result = aten._flash_attention_forward(query, key, value, ends, ends, longest, longest, 0.0, True, False)
    return result[0], result[1].transpose(0, 1), (result[2], result[3])


def _flash_backward_packed(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, seeds: Seeds, layout: Layout,
) -> Gradients:  # fmt: skip
    ends, longest = layout.ends, layout.longest
    rows = lse.transpose(0, 1).contiguous()
    return aten._flash_attention_backward(
        grad, query, key, value, out, rows, ends, ends, longest, longest, 0.0, True, *seeds
    )


# -- memory-efficient attention on CUDA -------------------------------------------------------------------------------


def _efficient_forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False) -> Attended:
    kernel = aten._scaled_dot_product_efficient_attention
    out, lse, seed, offset = kernel(query[None], key[None], value[None], None, True, 0.0, causal)
    return out[0], lse[0, :, : query.shape[1]], (seed, offset)


def _efficient_backward(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, seeds: Seeds, causal: bool = False,
) -> Gradients:  # fmt: skip
    # The rows that are added weigh exp(score - inf) = 0.
    rows = torch.nn.functional.pad(lse, (0, -lse.shape[1] % _LSE_ROWS), value=float("inf"))
    batch = (grad[None], query[None], key[None], value[None], None, out[None], rows[None])
    wanted = [True, True, True, False]
    parts = aten._scaled_dot_product_efficient_attention_backward(*batch, *seeds, 0.0, wanted, causal)
    return parts[0][0], parts[1][0], parts[2][0]


# -- everywhere -------------------------------------------------------------------------------------------------------


def _plain_forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False) -> Attended:
    return (*attend_plain(query, key, value, causal), ())


def _plain_backward(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, seeds: Seeds = (), causal: bool = False,
) -> Gradients:  # fmt: skip
    return attend_backward_plain(grad, query, key, value, out, lse, causal)


CPU_FLASH = Kernel("CPU_FLASH", _cpu_forward, _cpu_backward)
FLASH = Kernel("FLASH", _flash_forward, _flash_backward, _flash_forward_packed, _flash_backward_packed)
EFFICIENT = Kernel("EFFICIENT", _efficient_forward, _efficient_backward)
PLAIN = Kernel("PLAIN", _plain_forward, _plain_backward)
KERNELS = (CPU_FLASH, FLASH, EFFICIENT, PLAIN)
