"""Attention over packed rows (a scene's prefix and several questions), forward and backward, without an (L, L) mask.

The prefix attends to itself; the questions attend to the prefix, all in one product, and each to itself (see
`model.attention.shared_prefix`). With P tokens of the prefix and T of the questions this computes P^2 / 2 + P T pairs
instead of (P + T)^2, and needs no mask of (P + T)^2 numbers. The reference implementation is such a mask, passed to the
usual attention (`sequence.additive_mask`); the tests compare the two.

`enable_packed_attention` extends Qwen2's attention modules. They compute as before unless the attention mask is a
*segment mask*, a small integer tensor that assigns each token to its question. It works wherever the layers are called
from: gradient checkpointing, DDP, transformers 4.45 to 5.

Shapes: R rows of length L, hidden size H, heads of size d, K key-value heads with G query heads each.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from video3d_plugin.compat import ATTENTION_OUTPUTS
from video3d_plugin.errors import DataError
from video3d_plugin.model.attention.kernels import Attended, Gradients, Kernel, Seeds, kernel_for
from video3d_plugin.model.attention.shared_prefix import Layout, join, rotated
from video3d_plugin.model.sequence import PackedBatch, additive_mask, flex_mask

PADDING = -(1 << 30)
_GROUPED = "enable_gqa" in (F.scaled_dot_product_attention.__doc__ or "")  # from torch 2.5
_PLACES = "_video3d_places"  # attribute of a segment mask: what its rows hold, read once a forward pass


def attention_mask_for(batch: PackedBatch, attention: str, packed: bool) -> Any:
    """Choose the attention mask of a batch.

    Args:
        batch: The rows.
        attention: The language model's attention implementation, as transformers names it.
        packed: Whether the layers read segment masks.

    Returns:
        (R, L) the padding mask where each row holds one item. Else a segment mask where `packed` and the rows allow it,
        a BlockMask for "flex_attention", or a mask of all pairs (R, 1, L, L).

    Raises:
        DataError: Rows hold several items, and this attention takes none of these masks.
    """
    device = batch.embeds.device
    if batch.segments is None:
        return batch.mask.to(device)
    if attention == "flex_attention":
        return flex_mask(batch.segments.to(device))
    mask = segment_mask(batch.segments) if packed else None
    if mask is not None:
        row_places(mask, device)  # read before the layers run: a compiled layer could not
        return mask
    if attention not in ("sdpa", "eager"):
        raise DataError(
            f"rows of several items do not work with {attention}",
            remedy="load with attn_implementation='sdpa' or 'flex_attention', or pass one item a row",
        )
    return additive_mask(batch.segments.to(device), batch.embeds.dtype)


def segment_mask(segments: torch.Tensor) -> torch.Tensor | None:
    """Encode segments as an attention mask that transformers passes to the layers unchanged.

    Every supported version leaves a 4D mask without positive numbers as it is. The mask stays on the CPU, where lengths
    are read from it: once for all layers, see `row_places`.

    Args:
        segments: (R, L) 0 in the prefix, k = 1, 2, ... in the k-th question, -1 on padding.

    Returns:
        (R, 1, 1, L) int64 on the CPU: 0 in the prefix, -k in the k-th question, a large negative number on padding.
        None if a row is not a prefix followed by questions in order, with padding around them.
    """
    segments = segments.cpu()
    for row in segments:
        tokens = row[row >= 0]
        first = int((row >= 0).nonzero()[0, 0]) if len(tokens) else 0
        in_order = bool((tokens.diff() >= 0).all()) and bool((row[first : first + len(tokens)] >= 0).all())
        if not len(tokens) or tokens[0] != 0 or tokens[-1] == 0 or not in_order:
            return None
    return torch.where(segments < 0, PADDING, -segments)[:, None, None]


def is_segment_mask(mask: object) -> bool:
    """Return whether an attention mask is one that `segment_mask` made."""
    return isinstance(mask, torch.Tensor) and mask.ndim == 4 and mask.dtype == torch.int64


def enable_packed_attention(layers: nn.ModuleList) -> bool:
    """Let the attention modules of Qwen2's layers read segment masks.

    Returns:
        False, with the layers unchanged, for attention with dropout or a sliding window.
    """
    for layer in layers:
        attention: Any = layer.self_attn
        if float(attention.attention_dropout) > 0 or bool(getattr(attention.config, "use_sliding_window", False)):
            return False
    for layer in layers:
        attention = layer.self_attn
        attention.__class__ = _extended(attention.__class__)
    return True


@functools.cache
def _extended(kind: type[nn.Module]) -> type[nn.Module]:
    """Subclass an attention class with a second path for segment masks; name and parameters stay the same."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        mask = kwargs.get("attention_mask")
        if mask is None or not is_segment_mask(mask):
            return kind.forward(self, hidden_states, *args, **kwargs)
        mixed = _attend_rows(self, hidden_states, mask, kwargs["position_embeddings"])
        output: Any = self.o_proj
        return (output(mixed), None, None)[:ATTENTION_OUTPUTS]

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__})


def _attend_rows(
    attention: Any, hidden: torch.Tensor, mask: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """(R, L, H) -> (R, L, heads * d), the input of the output projection; zero on padding."""
    size = attention.head_dim
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (project(hidden).unflatten(-1, (-1, size)) for project in projections)
    # Under autocast the projections are in its format and the rotation is not.
    query, key = rotated(query, *rotation).to(value.dtype), rotated(key, *rotation).to(value.dtype)
    with torch.autocast(value.device.type, enabled=False):
        rows = [attend_row(*parts) for parts in zip(query, key, value, row_places(mask, value.device), strict=True)]
    return torch.stack(rows).flatten(2)


@dataclass(frozen=True)
class RowPlaces:
    """What a packed row holds, from left to right: padding, the prefix, the questions, padding.

    Attributes:
        first: Index of the prefix's first token.
        prefix: Index after its last token.
        end: Index after the last question.
        length: Tokens of the row, padding included.
        layout: Places of the questions' tokens.
    """

    first: int
    prefix: int
    end: int
    length: int
    layout: Layout

    @classmethod
    def of(cls, mask: torch.Tensor, device: torch.device) -> RowPlaces:
        """Read a row (L,) of a segment mask."""
        tokens = mask > PADDING
        items = mask[tokens].neg()
        first = int(tokens.nonzero()[0, 0])
        lengths = [n for n in items.bincount()[1:].tolist() if n]
        layout = Layout.of(lengths, device)
        return cls(first, first + int((items == 0).sum()), first + len(items), len(mask), layout)


def row_places(mask: torch.Tensor, device: torch.device) -> list[RowPlaces]:
    """Read the rows of a segment mask, for layers on `device`; the result is kept with the mask for the next layer."""
    by_device: dict[torch.device, list[RowPlaces]] | None = getattr(mask, _PLACES, None)
    if by_device is None:
        by_device = {}
        setattr(mask, _PLACES, by_device)
    if device not in by_device:
        by_device[device] = [RowPlaces.of(row, device) for row in mask[:, 0, 0].cpu()]
    return by_device[device]


def attend_row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, places: RowPlaces) -> torch.Tensor:
    """query (L, heads, d), key and value (L, K, d) -> (L, heads, d), zero on padding."""
    prefix, end = places.prefix, places.end
    groups, shared = query.shape[1] // key.shape[1], slice(places.first, prefix)
    q, k, v = (t[shared].transpose(0, 1)[None] for t in (query, key, value))  # (1, heads or K, P, d)
    if _GROUPED and q.device.type == "cpu":  # on CUDA not all kernels take groups: without, torch may make a mask
        of_prefix = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    else:
        k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
        of_prefix = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    of_prefix = of_prefix[0].transpose(0, 1)
    of_items = ItemAttention.apply(
        query[prefix:end].unflatten(1, (-1, groups)),
        key[shared],
        value[shared],
        key[prefix:end],
        value[prefix:end],
        places.layout,
    )
    padding = (0, 0, 0, 0, places.first, places.length - end)
    return F.pad(torch.cat([of_prefix, of_items.flatten(1, 2)]), padding)


class ItemAttention(torch.autograd.Function):
    """Attention of the items' queries to the prefix and to their own item.

    Queries (T, K, G, d), keys and values of the prefix (P, K, d) and of the items (T, K, d) -> (T, K, G, d). Saved for
    the backward pass: the inputs, the output, and one number for each query and head.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        prefix_key: torch.Tensor,
        prefix_value: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: Layout,
    ) -> torch.Tensor:
        kernel = kernel_for(query)
        *shared, seeds = kernel.forward(_fold(query), _heads_first(prefix_key), _heads_first(prefix_value))
        own_out, own_lse, own_seeds = _attend_own(kernel, query, key, value, layout)
        out, lse = join([(_unfold(shared[0], query), _unfold(shared[1], query)), (own_out, own_lse)])
        ctx.layout, ctx.kernel, ctx.seeds = layout, kernel, len(seeds)
        ctx.save_for_backward(query, prefix_key, prefix_value, key, value, out, lse, *seeds, *own_seeds)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, prefix_key, prefix_value, key, value, out, lse, *seeds = ctx.saved_tensors
        seeds, own_seeds = seeds[: ctx.seeds], seeds[ctx.seeds :]
        kernel, layout, grad = ctx.kernel, ctx.layout, grad.to(query.dtype)
        folded = [_fold(t) for t in (grad, query)], [_fold(t) for t in (out, lse[..., None])]
        (g, q), (o, total) = folded
        of_query, of_prefix_key, of_prefix_value = kernel.backward(
            g, q, _heads_first(prefix_key), _heads_first(prefix_value), o, total[..., 0], seeds
        )
        own = _attend_own_backward(kernel, grad, query, key, value, out, lse, own_seeds, layout)
        own_query, own_key, own_value = own
        of_query = _unfold(of_query, query) + own_query
        return of_query, of_prefix_key.transpose(0, 1), of_prefix_value.transpose(0, 1), own_key, own_value, None


def _attend_own(
    kernel: Kernel, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout
) -> Attended:
    """Attend within each question: query (T, K, G, d) -> output (T, K, G, d), log-sum-exp (T, K, G), seeds."""
    if kernel.forward_packed is not None:
        out, lse, seeds = kernel.forward_packed(query.flatten(1, 2), key, value, layout)
        return out.view_as(query), lse.unflatten(1, query.shape[1:3]), seeds
    out, lse, seeds = kernel.forward(*_unpacked(layout, query, key, value), causal=True)
    return _packed(layout, out, query), _packed(layout, lse, query), seeds


def _attend_own_backward(
    kernel: Kernel, grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor, seeds: Seeds, layout: Layout,
) -> Gradients:  # fmt: skip
    """Compute the gradients of `_attend_own`, given output and log-sum-exp of the whole attention."""
    if kernel.backward_packed is not None:
        grad, of_query, out, lse = (t.flatten(1, 2) for t in (grad, query, out, lse))
        parts = kernel.backward_packed(grad, of_query, key, value, out, lse, seeds, layout)
        return parts[0].view_as(query), parts[1], parts[2]
    g, o, total = _unpacked(layout, grad, out, lse[..., None])
    q, k, v = _unpacked(layout, query, key, value)
    of_query, of_key, of_value = kernel.backward(g, q, k, v, o, total[..., 0], seeds, causal=True)
    of_query, of_key, of_value = (_packed(layout, part, query) for part in (of_query, of_key, of_value))
    return of_query, of_key.sum(2), of_value.sum(2)  # over the query heads that share them


def _unpacked(layout: Layout, *packed: torch.Tensor) -> list[torch.Tensor]:
    """Unpack to one sequence for each question and query head, padded at the end, where causal attention ignores it.

    Tensors (T, K, G, ...), or (T, K, ...) for keys and values after a query -> (B K G, longest, ...).
    """
    groups = packed[0].shape[2]
    whole = (t if t.ndim == packed[0].ndim else t[:, :, None].expand(-1, -1, groups, -1) for t in packed)
    return [layout.spread(t).permute(0, 2, 3, 1, 4).flatten(0, 2).contiguous() for t in whole]


def _packed(layout: Layout, unpacked: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Inverse of `_unpacked`: (B K G, longest, ...) -> (T, K, G, ...), with K and G of `query`."""
    return layout.pack(unpacked.unflatten(0, (-1, *query.shape[1:3])).movedim(3, 1))


def _fold(packed: torch.Tensor) -> torch.Tensor:
    """(T, K, G, ...) -> (K, T * G, ...): treat the query heads of a key-value head as further queries."""
    return packed.transpose(0, 1).flatten(1, 2).contiguous()


def _unfold(folded: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Inverse of `_fold`: (K, T * G, ...) -> (T, K, G, ...), with T and G of `query`."""
    return folded.unflatten(1, (query.shape[0], query.shape[2])).transpose(0, 1)


def _heads_first(states: torch.Tensor) -> torch.Tensor:
    """(P, K, d) -> (K, P, d)."""
    return states.transpose(0, 1).contiguous()
