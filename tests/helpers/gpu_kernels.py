"""What the attention kernels of a GPU compute, by definition in float64 on the CPU, with their shapes and formats."""

from __future__ import annotations

from typing import Any

import torch

LSE_ROWS = 32  # the efficient kernel pads its log-sum-exp to a multiple of this, with infinity


def _scores(query: torch.Tensor, key: torch.Tensor, causal: bool) -> torch.Tensor:
    scores = query.double() @ key.double().transpose(-1, -2) / query.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:]).tril().bool(), -torch.inf)
    return scores


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., T, d), (..., P, d), (..., P, d) -> output in the format of the query, log-sum-exp float32."""
    scores = _scores(query, key, causal)
    return (scores.softmax(-1) @ value.double()).to(query.dtype), scores.logsumexp(-1).float()


def gradients(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, causal: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Of query, key and value, with weights exp(score - lse)."""
    weights = (_scores(query, key, causal) - lse.double()[..., None]).exp()
    inner = grad.double() @ value.double().transpose(-1, -2) - (grad.double() * out.double()).sum(-1, keepdim=True)
    slopes = weights * inner / query.shape[-1] ** 0.5
    of_query, of_key = slopes @ key.double(), slopes.transpose(-1, -2) @ query.double()
    return of_query.to(query.dtype), of_key.to(key.dtype), (weights.transpose(-1, -2) @ grad.double()).to(value.dtype)


def _check_half(*tensors: torch.Tensor) -> None:
    for tensor in tensors:
        assert tensor.dtype in (torch.bfloat16, torch.float16), f"FlashAttention got {tensor.dtype}"
        assert tensor.shape[-1] % 8 == 0 and tensor.stride(-1) == 1, f"{tensor.shape} {tensor.stride()}"


def _seeds() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(2, dtype=torch.uint64), torch.zeros((), dtype=torch.uint64)


def flash(q: Any, k: Any, v: Any, dropout: float = 0.0, causal: bool = False) -> Any:
    _check_half(q, k, v)
    return (*attention(q, k, v, causal), None, None, q.shape[2], k.shape[2], *_seeds(), q.new_empty(0))


def flash_backward(
    grad: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, ends_q: Any, ends_k: Any,
    longest_q: int, longest_k: int, dropout: float, causal: bool, *seeds: Any,
) -> Any:  # fmt: skip
    _check_half(grad, q, k, v, out)
    assert lse.shape == q.shape[:3] and lse.dtype == torch.float32 and lse.is_contiguous() and len(seeds) == 2
    return gradients(grad, q, k, v, out, lse, causal)


def _questions(ends: torch.Tensor, *packed: torch.Tensor) -> Any:
    """For each question its tensors (heads, tokens, d), with as many heads as the first."""
    assert ends.dtype == torch.int32
    for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        parts = [t[first:last].transpose(0, 1) for t in packed]
        yield [t.repeat_interleave(len(parts[0]) // len(t), 0) for t in parts]


def flash_packed(
    q: Any, k: Any, v: Any, ends_q: Any, ends_k: Any, longest_q: int, longest_k: int,
    dropout: float, causal: bool, debug: bool,
) -> Any:  # fmt: skip
    _check_half(q, k, v)
    assert torch.equal(ends_q, ends_k) and int(ends_q[-1]) == len(q) == len(k) and longest_q == int(ends_q.diff().max())
    parts = [attention(*of, causal) for of in _questions(ends_q, q, k, v)]
    out, lse = torch.cat([o.transpose(0, 1) for o, _ in parts]), torch.cat([s for _, s in parts], 1)
    return out.contiguous(), lse, *_seeds(), q.new_empty(0)


def flash_packed_backward(
    grad: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, ends_q: Any, ends_k: Any,
    longest_q: int, longest_k: int, dropout: float, causal: bool, *seeds: Any,
) -> Any:  # fmt: skip
    _check_half(grad, q, k, v, out)
    assert lse.shape == (q.shape[1], len(q)) and lse.is_contiguous() and len(seeds) == 2
    rows = lse.transpose(0, 1)[..., None]
    parts = [gradients(g, *of, o, s[..., 0], causal) for g, *of, o, s in _questions(ends_q, grad, q, k, v, out, rows)]
    of_query, of_key, of_value = (torch.cat([part[i].transpose(0, 1) for part in parts]) for i in range(3))
    return of_query, *(t.unflatten(1, (k.shape[1], -1)).sum(2) for t in (of_key, of_value))


def efficient(q: Any, k: Any, v: Any, bias: Any, with_lse: bool, dropout: float = 0.0, causal: bool = False) -> Any:
    out, lse = attention(q, k, v, causal)
    rows = torch.full((*lse.shape[:2], -(-lse.shape[2] // LSE_ROWS) * LSE_ROWS), torch.inf)
    rows[..., : lse.shape[2]] = lse
    return out, rows, torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)


def efficient_backward(
    grad: Any, q: Any, k: Any, v: Any, bias: Any, out: Any, lse: Any, seed: Any, offset: Any,
    dropout: float, wanted: Any, causal: bool = False,
) -> Any:  # fmt: skip
    assert lse.shape[2] % LSE_ROWS == 0 and lse.is_contiguous()
    return (*gradients(grad, q, k, v, out, lse[..., : q.shape[2]], causal), None)


KERNELS = {
    "_scaled_dot_product_flash_attention": flash,
    "_scaled_dot_product_flash_attention_backward": flash_backward,
    "_flash_attention_forward": flash_packed,
    "_flash_attention_backward": flash_packed_backward,
    "_scaled_dot_product_efficient_attention": efficient,
    "_scaled_dot_product_efficient_attention_backward": efficient_backward,
}


def product_in(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`bmm` with a format of the result, which torch has for CUDA only."""
    return one.to(dtype) @ other.to(dtype)
