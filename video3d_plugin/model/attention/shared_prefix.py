"""Attention in two parts, over the prefix that all questions share and over each question's own tokens.

Softmax over the union of two sets of keys is the mean of the softmaxes over each set, weighted by their sums of
exponentials. So the queries of all questions attend to the prefix in one matrix product, without a copy of its keys for
each question. Only the short rest is computed question by question, and both parts are joined by log-sum-exp.

For T queries of all questions, P keys of the prefix and head size d, this takes 4 T P d operations a head and reads P
keys once; an expanded cache writes and reads P keys for every question.

Sources: Dao et al., FlashAttention (arXiv 2205.14135), section 3.1, for joining; Juravsky et al., Hydragen
(arXiv 2402.05099), for shared prefixes. `attention.kernels` has the fused kernels, whose reference implementation is
`attend_plain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

_SCORES_AT_ONCE = 1 << 24  # numbers of one block of scores: 64 MB in float32


def attend_plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend by two matrix products, for blocks of queries, so that the scores stay small.

    Scores are float32, whatever the format of the queries; the weights have the format of the values.

    Args:
        query: (G, T, d).
        key: (G, P, d).
        value: (G, P, d).
        causal: With T == P: query i attends to the keys up to i. Else every query attends to every key.

    Returns:
        Output (G, T, d); log-sum-exp (G, T) float32.
    """
    outs, sums = [], []
    for start, part in _blocks(query, key):
        scores = _scores(part, key, start if causal else None)
        total = scores.logsumexp(-1)
        outs.append((scores - total[..., None]).exp().to(value.dtype) @ value)
        sums.append(total)
    return _whole(outs, 1), _whole(sums, 1)


def attend_backward_plain(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the gradients of one part of an attention by matrix products, for blocks of queries.

    `out` and `lse` are those of the *whole* attention. With them the weights of each part are exp(score - lse), and the
    gradients of the parts add up, as in ring attention.

    Args:
        grad: (G, T, d) gradient of the whole attention's output.
        query: (G, T, d).
        key: (G, P, d) of this part.
        value: (G, P, d) of this part.
        out: (G, T, d) output of the whole attention.
        lse: (G, T) float32 log-sum-exp of the whole attention.
        causal: As in `attend_plain`.

    Returns:
        Gradients of query, key and value.
    """
    scale = query.shape[-1] ** -0.5
    of_query, of_key, of_value = [], torch.zeros_like(key.float()), torch.zeros_like(value.float())
    for start, part in _blocks(query, key):
        rows = slice(start, start + part.shape[1])
        weights = (_scores(part, key, start if causal else None) - lse[:, rows, None]).exp()
        slopes = _slopes(weights, grad[:, rows], value, out[:, rows]) * scale
        of_query.append(slopes.to(key.dtype) @ key)
        of_key += (slopes.to(part.dtype).transpose(1, 2) @ part).float()
        of_value += (weights.to(grad.dtype).transpose(1, 2) @ grad[:, rows]).float()
    return torch.cat(of_query, 1), of_key.to(key.dtype), of_value.to(value.dtype)


def join(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Join attention over disjoint sets of keys, in float32.

    Args:
        parts: For each set the output (..., d) and log-sum-exp (...).

    Returns:
        Output and log-sum-exp over the union.
    """
    (out, lse), *others = parts
    joined = out.float()
    for other, of_other in others:
        weight = (of_other - lse).sigmoid()  # exp(of_other) / (exp(lse) + exp(of_other))
        joined, lse = joined.lerp(other.float(), weight[..., None]), torch.logaddexp(lse, of_other)
    return joined.to(out.dtype), lse


def rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply Qwen2's rotary embedding to states (..., heads, d), given cos and sin (..., d)."""
    first, second = states.chunk(2, -1)
    cos, sin = (t.to(states.device).unsqueeze(-2) for t in (cos, sin))
    return states * cos + torch.cat((-second, first), -1) * sin


@dataclass(frozen=True)
class Layout:
    """Places of T queries of B questions that are packed without padding.

    Attributes:
        rows: (T,) the question of each query.
        columns: (T,) its position in the question.
        longest: Queries of the question that has most.
        first: (B,) position of each question's first query: 0, or the number of its earlier tokens.
        ends: (B + 1,) int32, 0 and the number of queries up to the end of each question, as kernels read them.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    longest: int
    first: torch.Tensor
    ends: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Layout:
        """Return the layout of whole questions of these lengths, made on the CPU: a GPU need not be waited for."""
        counts, total = torch.tensor(lengths), sum(lengths)
        rows = torch.arange(len(lengths)).repeat_interleave(counts, output_size=total)
        starts = counts.cumsum(0) - counts
        columns = torch.arange(total) - starts[rows]
        ends = F.pad(counts.cumsum(0), (1, 0)).int()
        return cls(rows, columns, max(lengths), torch.zeros_like(counts), ends).to(device)

    @classmethod
    def next_token(cls, lengths: torch.Tensor) -> Layout:
        """Return the layout of one more token for each question of `lengths` (B,)."""
        count = torch.arange(len(lengths) + 1, device=lengths.device)
        return cls(count[:-1], lengths, 1, lengths, count.int())

    def to(self, device: torch.device) -> Layout:
        """Return the layout on a device."""
        if self.rows.device == device:
            return self
        rows, columns, first, ends = (t.to(device) for t in (self.rows, self.columns, self.first, self.ends))
        return Layout(rows, columns, self.longest, first, ends)

    @property
    def _one_each(self) -> bool:
        """Whether each question has one query, so that nothing has to be moved."""
        return self.longest == 1 and len(self.rows) == len(self.first)

    def spread(self, packed: torch.Tensor) -> torch.Tensor:
        """Unpack (T, ...) -> (B, longest, ...), with zeros where a question has no query."""
        if self._one_each:
            return packed[:, None]
        result = packed.new_zeros(len(self.first), self.longest, *packed.shape[1:])
        result[self.rows, self.columns - self.first[self.rows]] = packed
        return result

    def pack(self, spread: torch.Tensor) -> torch.Tensor:
        """Pack (B, longest, ...) -> (T, ...), the inverse of `spread`."""
        if self._one_each:
            return spread[:, 0]
        return spread[self.rows, self.columns - self.first[self.rows]]

    def visible(self, keys: int) -> torch.Tensor:
        """Return (B, longest, keys) bool: a query attends to its question's tokens up to itself."""
        own = self.first[:, None] + torch.arange(self.longest, device=self.first.device)
        return torch.arange(keys, device=own.device) <= own[..., None]


def attend_own(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend within each question, for blocks of questions.

    Args:
        query: (B, L, K, G, d), K key-value heads with G query heads each.
        key: (B, S, K, d).
        value: (B, S, K, d).
        visible: (B, L, S) bool, True where a query attends to a key.

    Returns:
        Output (B, L, K, G, d); log-sum-exp (B, L, K, G) float32.
    """
    outs, sums = [], []
    for rows in _row_blocks(query, key):
        scores = own_scores(query[rows], key[rows], visible[rows])
        total = scores.logsumexp(-1)
        weights = (scores - total[..., None]).exp().to(value.dtype)
        outs.append(torch.einsum("bkgls,bskd->blkgd", weights, value[rows]))
        sums.append(total.permute(0, 3, 1, 2))
    return _whole(outs), _whole(sums)


def own_scores(query: torch.Tensor, key: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Return scores (B, K, G, L, S) float32, the lowest number where a key is not visible."""
    scores = torch.einsum("blkgd,bskd->bkgls", query.float(), key.float()).float() * query.shape[-1] ** -0.5
    return scores.masked_fill_(~visible[:, None, None], torch.finfo(torch.float32).min)


def _scores(query: torch.Tensor, key: torch.Tensor, first: int | None) -> torch.Tensor:
    """Return scores (G, T, P) float32; with `first`, the position of the first query, later keys are masked."""
    scores = product32(query, key.transpose(1, 2)) * query.shape[-1] ** -0.5
    if first is None:
        return scores
    own = torch.arange(first, first + query.shape[1], device=query.device)
    later = torch.arange(key.shape[1], device=query.device) > own[:, None]
    return scores.masked_fill_(later, torch.finfo(torch.float32).min)


def product32(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the product (G, T, P) float32 of (G, T, d) and (G, d, P): in half precision it is not rounded to that."""
    if one.dtype == torch.float32:
        return one @ other
    if one.device.type == "cuda" and hasattr(torch.ops.aten.bmm, "dtype"):  # from torch 2.8
        return torch.ops.aten.bmm.dtype(one, other, torch.float32)
    return one.float() @ other.float()


def _slopes(weights: torch.Tensor, grad: torch.Tensor, value: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the scores: weights * (grad . value - grad . out)."""
    inner = product32(grad, value.transpose(1, 2))
    return weights * (inner - (grad.float() * out.float()).sum(-1, keepdim=True))


def _whole(blocks: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim)


def _blocks(query: torch.Tensor, key: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    size = max(1, _SCORES_AT_ONCE // max(1, key.shape[0] * key.shape[1]))
    for start in range(0, query.shape[1], size):
        yield start, query[:, start : start + size]


def _row_blocks(query: torch.Tensor, key: torch.Tensor) -> list[slice]:
    of_one = query.shape[1] * query.shape[2] * query.shape[3] * key.shape[1]
    size = max(1, _SCORES_AT_ONCE // max(1, of_one))
    return [slice(start, start + size) for start in range(0, len(query), size)]
