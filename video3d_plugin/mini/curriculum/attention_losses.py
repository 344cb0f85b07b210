"""Attention of a decoder layer in logs, and losses on it."""

from __future__ import annotations

import torch
from torch import nn

from video3d_plugin.model.attention.shared_prefix import rotated

LOG_ZERO = -1e4  # in the place of log 0, which has no gradient


def added(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return the mean square of what layers added to tokens, relative to the variance of the tokens.

    Args:
        before: (C, H) states that entered the layers; no gradient flows into them.
        after: (C, H) states that left them.
    """
    before = before.detach()
    return (after - before).square().mean() / (before - before.mean(0)).square().mean()


def attention_loss(log_shares: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the negative log of the attention that falls on the targets, summed over the heads.

    Args:
        log_shares: (heads, Q, C) log of the attention of each query.
        targets: (Q, C) bool, the columns to attend to. Queries without any are left out.

    Returns:
        The mean over queries; 0, with a gradient, if no query has a target.
    """
    has_targets = targets.any(1)
    if not bool(has_targets.any()):
        return log_shares.sum() * 0
    on_targets = log_shares[:, has_targets].masked_fill(~targets[has_targets], LOG_ZERO).logsumexp(-1)
    return -on_targets.logsumexp(0).mean()


def log_attention(
    layer: nn.Module,
    states: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    queries: torch.Tensor,
    segments: torch.Tensor,
) -> torch.Tensor:
    """Return the log of a layer's attention from some tokens to all tokens of a row.

    Args:
        layer: A decoder layer.
        states: (L, H) states that enter the layer.
        cos: (L, d) cosines of the rotary embedding.
        sin: (L, d) sines.
        queries: (Q,) columns of the tokens that attend.
        segments: (L,) items of the tokens. A token sees the prefix (0) and the tokens before it in its own item.

    Returns:
        (heads, Q, L); -inf for tokens that are not seen.
    """
    attention = layer.self_attn
    size = attention.head_dim
    states = layer.input_layernorm(states)
    query, key = (
        rotated(project(states).unflatten(-1, (-1, size)), cos, sin) for project in (attention.q_proj, attention.k_proj)
    )
    query, key = query[queries], key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    is_seen = (segments == 0) | (segments == segments[queries][:, None])
    is_seen = is_seen & (torch.arange(len(segments), device=queries.device) <= queries[:, None])
    scores = torch.einsum("qhd,khd->hqk", query, key) / size**0.5
    return scores.masked_fill(~is_seen, -torch.inf).log_softmax(-1)
