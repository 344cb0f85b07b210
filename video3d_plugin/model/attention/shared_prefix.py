"""Attention in two parts: over keys that all questions share, and over a question's own; joined by log-sum-exp.

Softmax over the union of two sets of keys is the mean of the softmaxes over each, weighted by their sums of
exponentials. So the queries of all questions attend to the prefix in one product, as the rows of one matrix, without
a copy of its keys for each question, and only the short rest is done question by question.

Cost for T queries of all questions, P keys of the prefix, d numbers a head: 4 T P d operations a head and one reading
of the P keys, where an expanded cache reads (and first writes) P keys for every question.

Source of the joining: Dao et al., FlashAttention (arXiv 2205.14135), section 3.1; of its use for shared prefixes:
Juravsky et al., Hydragen (arXiv 2402.05099). `attend_plain` is the readable twin of `attend`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_SCORES_AT_ONCE = 1 << 24  # numbers of one block of scores: 64 MB in float32


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """query (G, T, d), key and value (G, P, d) -> out (G, T, d), log of the sum of exponentials (G, T) float32.

    Every query sees every key; causal (T == P): the i-th sees the first i + 1. Scores are q . k / sqrt(d). On a CPU
    the fused kernel that `scaled_dot_product_attention` uses there, asked for its second result; else `attend_plain`.
    """
    kernel = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if query.device.type != "cpu" or kernel is None:
        return attend_plain(query, key, value, causal)
    out, lse = kernel(query[None], key[None], value[None], 0.0, causal)
    return out[0], lse[0].float()


def attend_plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attend` as two matrix products, some queries at a time: the scores of all would take G T P numbers.

    In half precision the scores are rounded before the softmax, as in transformers' eager attention.
    """
    outs, sums = [], []
    for start, part in _blocks(query, key):
        scores = _scores(part, key, start if causal else None)
        total = scores.logsumexp(-1)
        outs.append((scores - total[..., None]).exp().to(value.dtype) @ value)
        sums.append(total)
    return torch.cat(outs, 1), torch.cat(sums, 1)


def attend_backward(grad, query, key, value, out, lse, causal: bool = False) -> tuple[torch.Tensor, ...]:
    """Gradients for (query, key, value) of this part of an attention, shapes as in `attend`.

    `out` and `lse` are those of the *whole* attention: with them each part's share of the weights is
    exp(score - lse), and the parts' gradients add up (as in ring attention).
    """
    kernel = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)
    if query.device.type != "cpu" or kernel is None:
        return attend_backward_plain(grad, query, key, value, out, lse, causal)
    rows = lse[None].transpose(1, 2).contiguous().transpose(1, 2)  # the kernel's own order of axes in memory
    parts = kernel(grad[None], query[None], key[None], value[None], out[None], rows, 0.0, causal)
    return tuple(part[0] for part in parts)


def attend_backward_plain(grad, query, key, value, out, lse, causal: bool = False) -> tuple[torch.Tensor, ...]:
    """`attend_backward`, some queries at a time."""
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
    """[(out (..., d), lse (...)), ...] over disjoint sets of keys -> the same over their union; float32 inside."""
    sums = torch.stack([lse for _, lse in parts])
    total = sums.logsumexp(0)
    joined = sum(out.float() * (lse - total).exp()[..., None] for out, lse in parts)
    return joined.to(parts[0][0].dtype), total


def rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding, in Qwen2's order of halves: states (..., heads, d), cos and sin (..., d)."""
    first, second = states.chunk(2, -1)
    cos, sin = (t.to(states.device).unsqueeze(-2) for t in (cos, sin))
    return states * cos + torch.cat((-second, first), -1) * sin


@dataclass(frozen=True)
class Layout:
    """Where T queries of B questions lie, packed without padding.

    rows     (T,) whose question a token is of
    columns  (T,) its place in it, counted from the question's first token
    longest  queries of the question that has most
    first    (B,) column of each question's first query: 0, or the number of its tokens that came before
    """

    rows: torch.Tensor
    columns: torch.Tensor
    longest: int
    first: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Layout:
        """Questions of these lengths, whole."""
        counts = torch.tensor(lengths, device=device)
        rows = torch.arange(len(lengths), device=device).repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        columns = torch.arange(sum(lengths), device=device) - starts[rows]
        return cls(rows, columns, max(lengths), torch.zeros_like(counts))

    @classmethod
    def next_token(cls, lengths: torch.Tensor) -> Layout:
        """One more token after each of the questions' `lengths` (B,)."""
        return cls(torch.arange(len(lengths), device=lengths.device), lengths, 1, lengths)

    def to(self, device: torch.device) -> Layout:
        """Itself, or a copy on another device."""
        if self.rows.device == device:
            return self
        return Layout(self.rows.to(device), self.columns.to(device), self.longest, self.first.to(device))

    def spread(self, packed: torch.Tensor) -> torch.Tensor:
        """(T, ...) -> (B, longest, ...), zero where a question has no query."""
        result = packed.new_zeros(len(self.first), self.longest, *packed.shape[1:])
        result[self.rows, self.columns - self.first[self.rows]] = packed
        return result

    def pack(self, spread: torch.Tensor) -> torch.Tensor:
        """(B, longest, ...) -> (T, ...), the inverse."""
        return spread[self.rows, self.columns - self.first[self.rows]]

    def visible(self, keys: int) -> torch.Tensor:
        """(B, longest, keys) bool: a query sees its question's tokens up to its own."""
        own = self.first[:, None] + torch.arange(self.longest, device=self.first.device)
        return torch.arange(keys, device=own.device) <= own[..., None]


def attend_own(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention within the questions, a few at a time. Products of small matrices: questions are short.

    query (B, L, K, G, d): K key-value heads with G query heads each; key and value (B, S, K, d); visible (B, L, S)
    -> out (B, L, K, G, d), lse (B, L, K, G) float32.
    """
    outs, sums = [], []
    for rows in _row_blocks(query, key):
        scores = own_scores(query[rows], key[rows], visible[rows])
        total = scores.logsumexp(-1)
        weights = (scores - total[..., None]).exp().to(value.dtype)
        outs.append(torch.einsum("bkgls,bskd->blkgd", weights, value[rows]))
        sums.append(total.permute(0, 3, 1, 2))
    return torch.cat(outs), torch.cat(sums)


def own_scores(query: torch.Tensor, key: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """(B, K, G, L, S) float32, the lowest number where a key is not visible."""
    scores = torch.einsum("blkgd,bskd->bkgls", query.float(), key.float()).float() * query.shape[-1] ** -0.5
    return scores.masked_fill_(~visible[:, None, None], torch.finfo(torch.float32).min)


def _scores(query: torch.Tensor, key: torch.Tensor, first: int | None) -> torch.Tensor:
    """(G, T, P) float32; `first`: the queries are the first-th and the following, and see no later key."""
    scores = (query @ key.transpose(1, 2)).float() * query.shape[-1] ** -0.5
    if first is None:
        return scores
    own = torch.arange(first, first + query.shape[1], device=query.device)
    later = torch.arange(key.shape[1], device=query.device) > own[:, None]
    return scores.masked_fill_(later, torch.finfo(torch.float32).min)


def _slopes(weights, grad, value, out) -> torch.Tensor:
    """The gradient for the scores: weights * (grad . value - grad . out)."""
    inner = grad.float() @ value.float().transpose(1, 2)
    return weights * (inner - (grad.float() * out.float()).sum(-1, keepdim=True))


def _blocks(query: torch.Tensor, key: torch.Tensor):
    size = max(1, _SCORES_AT_ONCE // max(1, key.shape[0] * key.shape[1]))
    for start in range(0, query.shape[1], size):
        yield start, query[:, start : start + size]


def _row_blocks(query: torch.Tensor, key: torch.Tensor):
    of_one = query.shape[1] * query.shape[2] * query.shape[3] * key.shape[1]
    size = max(1, _SCORES_AT_ONCE // max(1, of_one))
    return [slice(start, start + size) for start in range(0, len(query), size)]
