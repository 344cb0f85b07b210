"""Decodes questions against an encoded scene.

Two classes with the same interface hold the state of a batch. `Cascade` packs the questions' tokens in one row without
padding, and attends to the prefix once for all of them (`model.attention.shared_prefix`). `Expanded` is the reference
implementation: the forward pass of transformers with a cache that starts with a copy of the prefix for every question.

Shapes: B questions, T tokens of all questions, P tokens of the prefix, hidden size H, K key-value heads with G query
heads each, head size d.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from transformers import DynamicCache

from video3d_plugin.compat import CACHE
from video3d_plugin.errors import DataError
from video3d_plugin.model.attention.kernels import attend
from video3d_plugin.model.attention.shared_prefix import Layout, attend_own, join, rotated
from video3d_plugin.model.prefix.scene_prefix import ScenePrefix
from video3d_plugin.model.sequence import IMAGE_ID

PrefixAttention = Literal["cascade", "expanded"]
Rotation = tuple[torch.Tensor, torch.Tensor]  # cosines and sines (T, d)
_ROOM = 32  # tokens by which the cache of the questions grows
_TOKENS_AT_ONCE = 1024  # of an MLP on a CPU


def start(
    model: Any, prefix: ScenePrefix, suffixes: list[list[int]], points: torch.Tensor | None, how: PrefixAttention
) -> Cascade | Expanded:
    """Run the questions' tokens through the language model.

    Args:
        model: A Video3DForCausalLM, whose module imports this one.
        prefix: The encoded scene.
        suffixes: For each question the token ids after the prefix.
        points: (C, 3) points of all <coord> tokens in order, world frame, metres, or None.
        how: "cascade" or "expanded". Models that do not run layer by layer use "expanded" in either case.

    Returns:
        The state: `hidden` (B, H) is the last hidden state of each question, `advance(ids)` appends one token to each.

    Raises:
        DataError: `how` is unknown, a question is too long or contains <image>.
    """
    if how not in ("cascade", "expanded"):
        raise DataError(f"prefix_attention {how!r} is unknown", remedy="known: cascade, expanded")
    if not prefix.has_cache:
        raise DataError(
            "holds embeddings alone", where=prefix.scene_id, remedy="run model.prefix.inference.with_cache on it"
        )
    check_suffixes(model, prefix, suffixes)
    cascade = how == "cascade" and runs_by_layer(model.model)
    return (Cascade if cascade else Expanded)(model, prefix, suffixes, points)


def check_suffixes(model: Any, prefix: ScenePrefix, suffixes: list[list[int]]) -> None:
    """Raise DataError if prefix and question take more positions than the model has, or a question shows the scene."""
    longest, limit = max(map(len, suffixes)), model.config.longest_sequence
    if len(prefix) + longest > limit:
        raise DataError(
            f"prefix and question take {len(prefix) + longest} positions, the model was made for {limit}",
            where=prefix.scene_id,
            remedy="use fewer frames or a shorter prompt",
        )
    if any(IMAGE_ID in suffix for suffix in suffixes):
        raise DataError("a question shows the scene again", remedy="put <image> once in its prompt")


def runs_by_layer(inner: Any) -> bool:
    """Return whether the layers may run one by one: full attention everywhere, and no weights offloaded."""
    sliding = bool(getattr(inner.config, "use_sliding_window", False))
    return not sliding and not any(p.is_meta for p in inner.layers.parameters())


def encode_by_layer(inner: Any, embeds: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Compute the cache of a prefix.

    The result is that of transformers' forward pass. Attention and MLP of the last layer are skipped, because only its
    keys and values are read.

    Args:
        inner: The Video3DModel.
        embeds: (P, H) input embeddings.

    Returns:
        For each layer keys (1, K, P, d), rotated to their positions; for each layer values (1, K, P, d).
    """
    rotation = _rotation(inner, embeds, torch.arange(len(embeds), device=embeds.device))
    keys, values, hidden = [], [], embeds
    for layer in inner.layers:
        hidden = hidden.to(_device_of(layer))
        last = layer is inner.layers[-1]
        mixed, key, value = _attended_causally(layer, hidden, rotation, last)
        keys.append(key)
        values.append(value)
        hidden = hidden if mixed is None else _rest_of_layer(layer, hidden, mixed)
    return tuple(keys), tuple(values)


def _attended_causally(
    layer: Any, hidden: torch.Tensor, rotation: Rotation, only_keys: bool
) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """Return outputs of the heads (T, heads, d), or None with `only_keys`; keys (1, K, T, d); values (1, K, T, d)."""
    query, key, value = _projected(layer, hidden, rotation)
    key, value = (t.transpose(0, 1)[None].contiguous() for t in (key, value))
    if only_keys:
        return None, key, value
    keys, values = (t.repeat_interleave(query.shape[2], 1) for t in (key, value))
    mixed = F.scaled_dot_product_attention(query.flatten(1, 2).transpose(0, 1)[None], keys, values, is_causal=True)
    return mixed[0].transpose(0, 1), key, value


class Cascade:
    """State of a batch whose questions are packed in one row and share the prefix.

    Memory beyond the prefix: keys and values of the questions, and activations (T, H) of their tokens.
    """

    def __init__(self, model: Any, prefix: ScenePrefix, suffixes: list[list[int]], points: torch.Tensor | None):
        self._inner, self._start = model.model, len(prefix)
        self._shared = _placed(prefix, self._inner)
        ids = torch.tensor([[token for suffix in suffixes for token in suffix]])
        embeds = model.embed_text(ids, torch.ones_like(ids, dtype=torch.bool), points)[0]
        layout = Layout.of([len(suffix) for suffix in suffixes], embeds.device)
        self._lengths = torch.tensor([len(suffix) for suffix in suffixes]).to(embeds.device)
        self._longest = layout.longest
        self._own: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.hidden = self._run(embeds, layout)[self._lengths.cumsum(0) - 1]

    def advance(self, ids: torch.Tensor) -> None:
        """Append one token (B,) to each question."""
        layout = Layout.next_token(self._lengths)
        self._lengths, self._longest = self._lengths + 1, self._longest + 1
        self.hidden = self._run(self._inner.embed_tokens(ids), layout)

    def keep(self, kept: torch.Tensor) -> None:
        """Continue with the questions at the indices `kept` only."""
        self._lengths, self.hidden = self._lengths[kept.to(self._lengths.device)], self.hidden[kept]
        self._own = [(key[kept.to(key.device)], value[kept.to(value.device)]) for key, value in self._own]

    def _run(self, hidden: torch.Tensor, layout: Layout) -> torch.Tensor:
        rotation = _rotation(self._inner, hidden, self._start + layout.columns)
        visible = layout.visible(self._longest)  # the same for all layers
        for index, layer in enumerate(self._inner.layers):
            hidden = hidden.to(_device_of(layer))
            query, key, value = _projected(layer, hidden, rotation)
            places = layout.to(hidden.device)
            mixed = self._attend(index, query, key, value, places, visible.to(hidden.device))
            hidden = _rest_of_layer(layer, hidden, mixed)
        return self._inner.norm(hidden)

    def _attend(
        self, index: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        layout: Layout, visible: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """query (T, K, G, d), key and value (T, K, d), visible (B, longest, S) -> (T, K * G, d)."""
        tokens, heads, groups, size = query.shape
        keys, values = self._grown(index, key, value, layout)
        key, value = (part[0].to(query.dtype) for part in self._shared[index])  # (K, P, d)
        out, lse = attend(query.permute(1, 0, 2, 3).reshape(heads, tokens * groups, size), key, value)
        out, lse = (t.unflatten(1, (tokens, groups)).transpose(0, 1) for t in (out, lse))
        own_out, own_lse = attend_own(layout.spread(query), keys, values, visible)
        return join([(out, lse), (layout.pack(own_out), layout.pack(own_lse))])[0].flatten(1, 2)

    def _grown(
        self, index: int, key: torch.Tensor, value: torch.Tensor, layout: Layout
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values of the new tokens, and return all of the questions' (B, S, K, d), S the longest."""
        if index == len(self._own):
            rows, columns = len(self._lengths), self._longest + _ROOM
            self._own.append((_empty(rows, columns, like=key), _empty(rows, columns, like=value)))
        keys, values = self._own[index]
        if keys.shape[1] < self._longest:
            keys, values = (F.pad(t, (0, 0, 0, 0, 0, _ROOM)) for t in (keys, values))
            self._own[index] = keys, values
        keys[layout.rows, layout.columns] = key
        values[layout.rows, layout.columns] = value
        return keys[:, : self._longest], values[:, : self._longest]


class Expanded:
    """State of a batch with one row a question, each with a copy of the prefix.

    Rows are aligned at their ends, so that padding lies between prefix and question.
    """

    def __init__(self, model: Any, prefix: ScenePrefix, suffixes: list[list[int]], points: torch.Tensor | None):
        self._inner, longest = model.model, max(map(len, suffixes))
        ids = torch.tensor([[0] * (longest - len(suffix)) + suffix for suffix in suffixes])
        mask = torch.tensor([[0] * (longest - len(suffix)) + [1] * len(suffix) for suffix in suffixes])
        embeds = model.embed_text(ids, mask.bool(), points)
        mask = mask.to(embeds.device)
        self._cache = _cache(prefix, len(suffixes), self._inner)
        self._mask = torch.cat([mask.new_ones(len(ids), len(prefix)), mask], 1)
        self._next = len(prefix) + mask.sum(1)  # the position of the token after
        self._run(embeds, (len(prefix) + mask.cumsum(1) - 1).clamp(min=0))

    def advance(self, ids: torch.Tensor) -> None:
        """Append one token (B,) to each question."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], 1)
        self._run(self._inner.embed_tokens(ids[:, None]), self._next[:, None])
        self._next = self._next + 1

    def _run(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> None:
        output = self._inner(
            inputs_embeds=embeds,
            attention_mask=self._mask,
            position_ids=position_ids,
            use_cache=True,
            return_dict=True,
            **{CACHE: self._cache},
        )
        self._cache, self.hidden = output[CACHE], output[0][:, -1]


def _cache(prefix: ScenePrefix, rows: int, inner: Any) -> DynamicCache:
    """Make a cache that starts with the prefix in every row. It grows by concatenation; the prefix is not changed."""
    cache = DynamicCache()
    for index, (key, value) in enumerate(_placed(prefix, inner)):
        cache.update(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1), index)
    return cache


def _placed(prefix: ScenePrefix, inner: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the prefix's keys and values (1, K, P, d) by layer, on the layer's device and in the model's format."""
    dtype, layers = inner.embed_tokens.weight.dtype, []
    for layer, key, value in zip(inner.layers, prefix.keys, prefix.values, strict=True):
        device = _device_of(layer)
        layers.append((key.to(device=device, dtype=dtype), value.to(device=device, dtype=dtype)))
    return layers


# -- the steps of a Qwen2 layer, whose modules are the same in transformers 4.45 to 5 ---------------------------------


def _rotation(inner: Any, like: torch.Tensor, positions: torch.Tensor) -> Rotation:
    """Return cos and sin (T, d) of the rotary embedding at positions (T,)."""
    cos, sin = inner.rotary_emb(like[None], positions[None])
    return cos[0], sin[0]


def _projected(layer: Any, hidden: torch.Tensor, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(T, H) -> query (T, K, G, d), key and value (T, K, d); query and key rotated."""
    normed, attention = layer.input_layernorm(hidden), layer.self_attn
    size = attention.head_dim
    query, key, value = (
        project(normed).unflatten(-1, (-1, size)) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    # Under autocast the projections are in its format and the rotation is not.
    query, key = rotated(query, *rotation).to(value.dtype), rotated(key, *rotation).to(value.dtype)
    return query.unflatten(1, (key.shape[1], -1)), key, value


def _rest_of_layer(layer: Any, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """Output projection, residual and MLP: outputs of the heads (T, heads, d) -> output of the layer (T, H).

    On a CPU in blocks of tokens: fresh memory for the MLP's large intermediate results would take a fifth of its time.
    """
    step = _TOKENS_AT_ONCE if hidden.device.type == "cpu" else len(hidden)
    blocks = []
    for part, heads in zip(hidden.split(step), mixed.flatten(1).split(step), strict=True):
        part = part + layer.self_attn.o_proj(heads)
        blocks.append(part + layer.mlp(layer.post_attention_layernorm(part)))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _device_of(layer: Any) -> torch.device:
    return next(layer.parameters()).device


def _empty(rows: int, columns: int, like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros(rows, columns, *like.shape[1:])
