"""A language model from scratch learns to look: from a point to what lies there, from a name to where it is.

Both are attention, and attention that has not formed yet gives hardly any gradient: a small model is stuck for
thousands of steps at answers that need neither. So one layer is told where to look, on many points and names of a scene
at once, and the states behind it what is to be found there. Measured in docs/training.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from video3d_plugin.errors import DataError
from video3d_plugin.model.cascade import rotated
from video3d_plugin.model.grounding import ground_loss, score_proposals
from video3d_plugin.model.scene_tokens import SceneTokens, encode_scene_tokens
from video3d_plugin.model.shared_rows import mask_of
from video3d_plugin.training.naming import Naming
from video3d_plugin.training.objects import Named

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

_LAYER = 1  # the layer that looks: one before it, for a name to become one of several words
_ATTENTION_WEIGHT = 0.5
_BESIDE_WEIGHT = 2.0
_NOWHERE = -1e4
_INSTEAD = "set lookup_steps and object_steps to 0"


class LookupLesson(nn.Module):
    """The model, and how well its second layer looks where it should.

    At half of that layer's heads a point's token is to attend to the visual tokens in the box that the point is taken
    from, at the others the last token of a name to those of what it names. The states after it are to be like the
    words for what is at the point (`Naming`, in the output head's terms), to choose the named proposals, and to tell
    their place. At the end of a phrase the states before the last layer are to tell the place of the other thing in it,
    and the last layer's to choose what the phrase denotes, such as the nearest to that.
    """

    def __init__(self, model: Video3DForCausalLM, naming: Naming):
        super().__init__()
        self.model, self.naming = model, naming
        size = model.config.hidden_size
        self.place = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, size))

    @classmethod
    def of(cls, model: Video3DForCausalLM, processor: Video3DProcessor, named: Mapping[str, Named]) -> LookupLesson:
        """The lesson about the objects `named` by scene. DataError for a model of one layer, or without objects."""
        if len(model.get_model().layers) <= _LAYER:
            raise DataError("the layer that learns to look is the second, the model has one", remedy=_INSTEAD)
        if not any(named.values()):
            raise DataError("no annotated objects to look for", remedy=f"prepare scans with labels, or {_INSTEAD}")
        return cls(model, Naming.of(named.values(), processor.tokenizer))

    def forward(
        self, scenes: list[dict[str, torch.Tensor]], questions: dict[str, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """scenes: what `training.lessons` asks of them.

        questions: a batch of the processor's, whose loss is added: what is not used while it is learnt is forgotten.
        """
        loss = self._looks_and_finds(scenes)
        return {"loss": loss if questions is None else loss + self.model(**questions).loss}

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """What the Trainer asks of its model, under transformers 4."""
        self.model.gradient_checkpointing_enable(**options)

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """The same, under transformers 5."""
        self.model.activation_checkpointing_enable(**options)

    def _looks_and_finds(self, scenes) -> torch.Tensor:
        model = self.model
        tokens = [encode_scene_tokens(model, own["scene"], model.config.head is not None) for own in scenes]
        ids, segments = (
            nn.utils.rnn.pad_sequence([own[name] for own in scenes], batch_first=True, padding_value=fill)
            for name, fill in (("ids", 0), ("segments", -1))
        )
        coords = torch.cat([own["points"] for own in scenes])
        rows, _ = model.assemble(
            ids, tokens, attention_mask=(segments >= 0).long(), coords=coords, segments=segments, left=False
        )
        inner = model.get_model()
        outputs = inner(
            inputs_embeds=rows.embeds,
            attention_mask=mask_of(rows, model.config._attn_implementation, inner.reads_marks),
            position_ids=rows.position_ids,
            output_hidden_states=True,
            use_cache=False,
        )
        seen = inner.norm(outputs.hidden_states[_LAYER + 1])
        rotation = inner.rotary_emb(rows.embeds, rows.position_ids)
        losses = []
        for row, own in enumerate(scenes):
            first = int((rows.segments[row] == 0).sum())  # column of the first item
            looks = first + torch.cat([own["point_columns"], own["name_columns"]])
            losses.append(self._looking(outputs.hidden_states[_LAYER], rotation, row, first, looks, own))
            losses.append(self._found(seen[row], outputs[0][row], first, own, tokens[row]))
            losses.append(self._knows_beside(outputs.hidden_states[-2][row], first, own))
        return torch.stack(losses).sum() / len(scenes)

    def _looking(self, states, rotation, row: int, first: int, looks: torch.Tensor, own) -> torch.Tensor:
        """-log of the share of attention that falls on the right cells, over points and over names."""
        layer = self.model.get_model().layers[_LAYER]
        cos, sin = (part[min(row, len(part) - 1)] for part in rotation)
        shares = attention_shares(layer, states[row], cos, sin, looks, first)
        heads, points = shares.shape[0] // 2, len(own["point_columns"])
        cells = own["columns"]
        total = shares.sum() * 0
        for chosen, part in ((slice(None, heads), slice(None, points)), (slice(heads, None), slice(points, None))):
            wanted = own["cells"][part]
            shown = wanted.any(1)
            if bool(shown.any()):
                right = shares[chosen, part][:, shown][..., cells].masked_fill(~wanted[shown], _NOWHERE)
                total = total - right.logsumexp(-1).logsumexp(0).mean()
        return _ATTENTION_WEIGHT * total

    def _found(self, seen, last, first: int, own, tokens: SceneTokens) -> torch.Tensor:
        model, head = self.model, self.model.config.head
        looks = first + torch.cat([own["point_columns"], own["name_columns"]])
        total = self.naming.loss(seen[looks], own["wanted"], model.lm_head.weight)
        at_name, at_end = seen[first + own["name_columns"]], last[first + own["end_columns"]]
        if not len(at_name):
            return total
        for states, wanted in ((at_name, own["named"]), (at_end, own["meant"])) if head is not None else ():
            pairs = zip(score_proposals(model, head, states, tokens.proposals), wanted, strict=True)
            total = total + torch.stack([ground_loss(s, rows.nonzero()[:, 0], head) for s, rows in pairs]).mean()
        return total + self._places(at_name, own["named"], own)

    def _knows_beside(self, states: torch.Tensor, first: int, own) -> torch.Tensor:
        """Before the last layer, the state at a phrase's end tells the place of what the last layer is to compare with:
        of two steps that are of no use without each other, the one that can be taught alone."""
        inner = self.model.get_model()
        return _BESIDE_WEIGHT * self._places(inner.norm(states[first + own["end_columns"]]), own["beside"], own)

    def _places(self, states: torch.Tensor, wanted: torch.Tensor, own) -> torch.Tensor:
        """How badly `states` (M, H) tell the places of the `wanted` (M, N) proposals; 0 without positions."""
        inner, position = self.model.get_model(), self.model.config.position
        if position is None or not len(states):
            return states.sum() * 0
        centres = own["scene"]["proposals"].to(states.device).float()[:, None, :3]
        there = inner.world_position_embedding(centres.expand(-1, position.points_per_token, -1)).to(states)
        shares = (self.place(states) @ there.T / 4).log_softmax(-1)
        return -shares.masked_fill(~wanted, _NOWHERE).logsumexp(-1).mean()


def attention_shares(
    layer: nn.Module,
    states: torch.Tensor,  # (L, H) that enter the layer
    cos: torch.Tensor,  # (L, d)
    sin: torch.Tensor,
    looks: torch.Tensor,  # (Q,) columns of the tokens that look
    prefix: int,  # they see this many tokens of the prefix, and themselves
) -> torch.Tensor:
    """(heads, Q, prefix): log of the attention of each looking token to the prefix's tokens."""
    attention = layer.self_attn
    size = attention.head_dim
    states = layer.input_layernorm(states)
    query, key = (
        rotated(project(states).unflatten(-1, (-1, size)), cos, sin) for project in (attention.q_proj, attention.k_proj)
    )
    query, key = query[looks], key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    to_prefix = torch.einsum("qhd,khd->hqk", query, key[:prefix])
    to_itself = (query * key[looks]).sum(-1).T[..., None]
    scores = torch.cat([to_prefix, to_itself], -1) / size**0.5
    return scores.log_softmax(-1)[..., :prefix]
