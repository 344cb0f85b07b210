"""Attention over rows that hold a scene's prefix and several questions, forwards and backwards, without an (L, L) mask.

The prefix attends to itself, the questions to the prefix (all in one product) and each to itself (see
`model.attention.shared_prefix`). The plain twin is a mask of all pairs, given to the usual attention
(`sequence.additive_mask`). With P tokens of the prefix and T of the questions, P^2 / 2 + P T pairs are computed instead
of (P + T)^2, and the mask's (P + T)^2 numbers are never made.

Qwen2's attention modules learn it by `extend`: they compute as before unless the attention mask is a *mark*, a small
integer tensor that says which token is of which question. So it works wherever the layers are called from: gradient
checkpointing, DDP, transformers from 4.45 to 5.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import nn

from video3d_plugin.compat import ATTENTION_OUTPUTS
from video3d_plugin.errors import DataError
from video3d_plugin.model.attention.shared_prefix import (
    Layout,
    attend,
    attend_backward,
    join,
    rotated,
)
from video3d_plugin.model.sequence import Rows, additive_mask, flex_mask

_PADDING = -(1 << 30)


def mask_of(rows: Rows, kind: str, marks: bool):
    """The attention mask of rows: (R, L) of rows of one item; of several items a mark, if `marks` are read, or a mask
    of all pairs for attention of this `kind`."""
    if rows.segments is None:
        return rows.mask
    if kind == "flex_attention":
        return flex_mask(rows.segments)
    mark = mark_of(rows.segments) if marks else None
    if mark is not None:
        return mark
    if kind not in ("sdpa", "eager"):
        raise DataError(
            f"rows of several items do not work with {kind}",
            remedy="load with attn_implementation='sdpa' or 'flex_attention', or pass one item a row",
        )
    return additive_mask(rows.segments, rows.embeds.dtype)


def mark_of(segments: torch.Tensor) -> torch.Tensor | None:
    """(R, L) segments -> (R, 1, 1, L) int64 on the CPU: 0 in the prefix, -k in the k-th question.

    A 4D mask with no number above 0 is what every transformers hands to the attention modules as it is. On the CPU,
    because each layer reads lengths from it. None where a row is not prefix, questions in order, and padding around.
    """
    mark = segments.cpu()
    for row in mark:
        own = row[row >= 0]
        first = int((row >= 0).nonzero()[0, 0]) if len(own) else 0
        in_order = bool((own.diff() >= 0).all()) and bool((row[first : first + len(own)] >= 0).all())
        if not len(own) or own[0] != 0 or own[-1] == 0 or not in_order:
            return None
    return torch.where(mark < 0, _PADDING, -mark)[:, None, None]


def extend(layers: nn.ModuleList) -> bool:
    """Teach the layers' attention modules to read marks; False, changing nothing, for attention that differs."""
    for layer in layers:
        attention = layer.self_attn
        if float(attention.attention_dropout) > 0 or bool(getattr(attention.config, "use_sliding_window", False)):
            return False
    for layer in layers:
        layer.self_attn.__class__ = _extended(type(layer.self_attn))
    return True


@functools.cache
def _extended(kind: type[nn.Module]) -> type[nn.Module]:
    """`kind` with another way for marks; parameters, name and everything else stay."""

    def forward(self, hidden_states, *args, **kwargs):
        mark = kwargs.get("attention_mask")
        if not is_mark(mark):
            return kind.forward(self, hidden_states, *args, **kwargs)
        mixed = _attend_rows(self, hidden_states, mark, kwargs["position_embeddings"])
        return (self.o_proj(mixed), None, None)[:ATTENTION_OUTPUTS]

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__})


def is_mark(mask: object) -> bool:
    return isinstance(mask, torch.Tensor) and mask.ndim == 4 and mask.dtype == torch.int64


def _attend_rows(attention: nn.Module, hidden: torch.Tensor, mark: torch.Tensor, rotation) -> torch.Tensor:
    """(R, L, H) -> (R, L, heads * d): what enters the output projection; zero on padding."""
    size = attention.head_dim
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (project(hidden).unflatten(-1, (-1, size)) for project in projections)
    # Under autocast the projections are in its format and the rotation is not.
    query, key = rotated(query, *rotation).to(value.dtype), rotated(key, *rotation).to(value.dtype)
    with torch.autocast(value.device.type, enabled=False):
        rows = [_attend_row(*parts) for parts in zip(query, key, value, mark[:, 0, 0], strict=True)]
    return torch.stack(rows).flatten(2)


def _attend_row(query, key, value, mark: torch.Tensor) -> torch.Tensor:
    """query (L, heads, d), key and value (L, K, d), mark (L,) -> (L, heads, d)."""
    items = mark[mark > _PADDING].neg()
    before = int((mark > _PADDING).nonzero()[0, 0])
    prefix = before + int((items == 0).sum())
    lengths = items.bincount()[1:].tolist()
    after = len(mark) - before - len(items)
    end = len(mark) - after
    groups, shared = query.shape[1] // key.shape[1], slice(before, prefix)
    # (1, heads, P, d); transformers repeats key-value heads for its kernels as well
    every = [
        t[shared].repeat_interleave(n, 1).transpose(0, 1)[None] for t, n in ((query, 1), (key, groups), (value, groups))
    ]
    of_prefix = F.scaled_dot_product_attention(*every, is_causal=True)[0].transpose(0, 1)
    layout = Layout.of([n for n in lengths if n], query.device)
    of_items = _OfItems.apply(
        query[prefix:end].unflatten(1, (-1, groups)),
        key[shared],
        value[shared],
        key[prefix:end],
        value[prefix:end],
        layout,
    )
    return F.pad(torch.cat([of_prefix, of_items.flatten(1, 2)]), (0, 0, 0, 0, before, after))


class _OfItems(torch.autograd.Function):
    """Attention of the items' queries (T, K, G, d) to a prefix's keys and values (P, K, d) and to the item's own
    (T, K, d) -> (T, K, G, d). Kept for backward: inputs, output and one number a query and head."""

    @staticmethod
    def forward(ctx, query, prefix_key, prefix_value, key, value, layout: Layout):
        shared = attend(_fold(query), _heads_first(prefix_key), _heads_first(prefix_value))
        own = attend(*_each_alone(layout, query, key, value), causal=True)
        parts = [tuple(_unfold(part, query) for part in shared), tuple(_packed(layout, part, query) for part in own)]
        out, lse = join(parts)
        ctx.layout = layout
        ctx.save_for_backward(query, prefix_key, prefix_value, key, value, out, lse)
        return out

    @staticmethod
    def backward(ctx, grad):
        query, prefix_key, prefix_value, key, value, out, lse = ctx.saved_tensors
        layout, grad = ctx.layout, grad.to(query.dtype)
        folded = [_fold(t) for t in (grad, query)], [_fold(t) for t in (out, lse[..., None])]
        (g, q), (o, total) = folded
        of_query, of_prefix_key, of_prefix_value = attend_backward(
            g, q, _heads_first(prefix_key), _heads_first(prefix_value), o, total[..., 0]
        )
        grads, whole = _each_alone(layout, grad, out, lse[..., None]), _each_alone(layout, query, key, value)
        own = attend_backward(grads[0], *whole, grads[1], grads[2][..., 0], causal=True)
        own_query, own_key, own_value = (_packed(layout, part, query) for part in own)
        of_query = _unfold(of_query, query) + own_query
        own_key, own_value = own_key.sum(2), own_value.sum(2)  # over the query heads that share them
        return of_query, of_prefix_key.transpose(0, 1), of_prefix_value.transpose(0, 1), own_key, own_value, None


def _each_alone(layout: Layout, *packed: torch.Tensor) -> list[torch.Tensor]:
    """Of (T, K, G, ...), or (T, K, ...) for keys and values after a query: (B K G, longest, ...), a question and query
    head after the other, padded at their ends, which no earlier token of a causal attention sees."""
    groups = packed[0].shape[2]
    whole = (t if t.ndim == packed[0].ndim else t[:, :, None].expand(-1, -1, groups, -1) for t in packed)
    return [layout.spread(t).permute(0, 2, 3, 1, 4).flatten(0, 2).contiguous() for t in whole]


def _packed(layout: Layout, alone: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """(B K G, longest, ...) -> (T, K, G, ...), K and G those of `query`."""
    return layout.pack(alone.unflatten(0, (-1, *query.shape[1:3])).movedim(3, 1))


def _fold(packed: torch.Tensor) -> torch.Tensor:
    """(T, K, G, ...) -> (K, T * G, ...): the query heads of a key-value head become more queries."""
    return packed.transpose(0, 1).flatten(1, 2).contiguous()


def _unfold(folded: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """(K, T * G, ...) -> (T, K, G, ...), T and G those of `query`."""
    return folded.unflatten(1, (query.shape[0], query.shape[2])).transpose(0, 1)


def _heads_first(states: torch.Tensor) -> torch.Tensor:
    return states.transpose(0, 1).contiguous()
