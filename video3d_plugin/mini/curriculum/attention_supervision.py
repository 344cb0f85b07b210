"""Attention supervision: trains the layers of a language model from scratch to look things up in a scene.

Going from a point to the object there, or from a name to its objects, is a step of attention, and attention that has
not formed yet has hardly any gradient: a small model is stuck for thousands of steps at questions that need both. So
layers are told where certain tokens should attend, for many points and phrases of a scene at once, and what the states
after them should tell. docs/small_model.md has measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from video3d_plugin.errors import DataError
from video3d_plugin.mini.curriculum.attention_losses import LOG_ZERO, added, attention_loss, log_attention
from video3d_plugin.mini.curriculum.object_questions import ObjectNames
from video3d_plugin.mini.curriculum.vocabulary import Vocabulary
from video3d_plugin.model.attention.packed import attention_mask_for
from video3d_plugin.model.grounding import ground_loss, score_proposals
from video3d_plugin.model.scene_tokens import SceneTokens, encode_scene_tokens

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

# The layer of each step, counted from 0. The first layer is left alone: it joins the words of a name.
_LOOKUP_LAYER, _ANCHOR_LAYER, _TARGET_LAYER = 1, 2, 3
_ATTENTION_WEIGHT = 0.5
_ANCHOR_WEIGHT = _ASKED_WEIGHT = _SIDE_WEIGHT = 2.0
_SAME_VIEWPOINT_M = 0.75  # objects nearer to a viewpoint count as at the viewpoint
_AT_OBJECT_M, _SAME_POINT_M = 0.5, 0.2  # from a cell to an object's centre; between two cells
_REMEDY = "set lookup_steps and object_steps to 0"


@dataclass(frozen=True)
class SceneRow:
    """The token row of one scene.

    Attributes:
        segments: (L,) item of each token; 0 is the scene's prefix.
        rotation: Cosines and sines of the rotary embedding, (L, d) each.
    """

    segments: torch.Tensor
    rotation: Sequence[torch.Tensor]

    @property
    def first(self) -> int:
        """The column of the first token after the prefix."""
        return int((self.segments == 0).sum())


class AttentionSupervision(nn.Module):
    """The model, with losses on the attention and the hidden states of its layers.

    Layer 1 looks up: half of the heads attend from a point's token to the visual tokens at the point, the others from
    the last token of a name to those of its objects. The states after it are similar to the words for the object,
    select the named proposals and encode their place.

    Layer 2 identifies the anchor: the last token of a phrase attends to the name (or point) of the anchor and to that
    of the target, the last token of a situation to the object that the asker stands at and to those that they face. The
    states after it are similar to the words for the target and encode the anchor's place, or viewpoint and facing.
    Where the target is the farthest object, they encode the opposite of the place, and where it is only known what the
    target is not, the opposite of the word: a layer that selects by similarity then selects the farthest, and the
    others.

    Layer 3 selects the target: before it, visual tokens are similar to the words for what they show and encode where
    they are, and the layers before have added little to them, or that would be lost. The phrase's last token attends to
    the target, and to the end of its situation; its state encodes the target's place, viewpoint and facing, and on
    which side of the asker the target is.

    The last states select the target among the proposals, and for a question predict the label asked for, or the
    answer. Steps of layers that the model does not have are left out.

    Args:
        model: The model to train.
        vocabulary: Labels and attributes of the training set.
    """

    def __init__(self, model: Video3DForCausalLM, vocabulary: Vocabulary):
        super().__init__()
        self.model, self.vocabulary = model, vocabulary
        size = model.config.hidden_size
        self.place, self.stand, self.facing, self.side = (
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, outputs)) for outputs in (size, size, 2, 2)
        )
        for probe in (self.place, self.stand):  # attention finds a place by its encoding itself
            nn.init.eye_(probe[1].weight)
            nn.init.zeros_(probe[1].bias)

    @classmethod
    def of(
        cls, model: Video3DForCausalLM, processor: Video3DProcessor, names: Mapping[str, ObjectNames]
    ) -> AttentionSupervision:
        """Build the module for a training set.

        Args:
            model: The model to train.
            processor: Its processor.
            names: Attribute and label of the objects, by scene.

        Raises:
            DataError: If the model has one layer only, or there are no objects.
        """
        if len(model.get_model().layers) <= _LOOKUP_LAYER:
            raise DataError("attention supervision needs a second layer, the model has one", remedy=_REMEDY)
        if not any(names.values()):
            raise DataError("no annotated objects to look for", remedy=f"prepare scans with labels, or {_REMEDY}")
        return cls(model, Vocabulary.of(names.values(), processor.tokenizer))

    def forward(
        self, scenes: list[dict[str, torch.Tensor]], questions: dict[str, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the loss.

        Args:
            scenes: Supervision of each scene (`curriculum.scene_supervision`).
            questions: A batch of questions for the model, whose loss is added. Without them a model forgets what is not
                supervised.

        Returns:
            {"loss": scalar}
        """
        loss = self._supervision_loss(scenes)
        return {"loss": loss if questions is None else loss + self.model(**questions).loss}

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Called by the Trainer of transformers 4."""
        self.model.gradient_checkpointing_enable(**options)

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Called by the Trainer of transformers 5."""
        self.model.activation_checkpointing_enable(**options)

    def _supervision_loss(self, scenes) -> torch.Tensor:
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
        assert rows.segments is not None
        segments = rows.segments.to(rows.embeds.device)
        outputs = inner(
            inputs_embeds=rows.embeds,
            attention_mask=attention_mask_for(rows, model.config._attn_implementation, inner.packed_attention_enabled),
            position_ids=rows.position_ids,
            output_hidden_states=True,
            use_cache=False,
        )
        after_lookup = inner.norm(outputs.hidden_states[_LOOKUP_LAYER + 1])
        rotation = inner.rotary_emb(rows.embeds, rows.position_ids)
        losses = []
        for index, own in enumerate(scenes):
            row = SceneRow(segments[index], [part[min(index, len(part) - 1)] for part in rotation])
            states = [part[index] for part in outputs.hidden_states]
            losses.append(_ATTENTION_WEIGHT * self._lookup_attention_loss(states, row, own))
            losses.append(self._lookup_loss(after_lookup[index], outputs[0][index], row.first, own, tokens[index]))
            losses.append(self.relation_loss(states, row, own))
        return torch.stack(losses).sum() / len(scenes)

    def _lookup_attention_loss(self, states, row: SceneRow, own) -> torch.Tensor:
        """Attention of layer 1 from points and names to the right cells."""
        queries = row.first + torch.cat([own["point_columns"], own["name_columns"]])
        attention = self._attention(_LOOKUP_LAYER, states, row, queries)[..., own["cell_columns"]]
        heads, points = attention.shape[0] // 2, len(own["point_columns"])
        of_points = attention_loss(attention[:heads, :points], own["cells"][:points])
        return of_points + attention_loss(attention[heads:, points:], own["cells"][points:])

    def _attention(self, layer: int, states, row: SceneRow, queries: torch.Tensor) -> torch.Tensor:
        module = self.model.get_model().layers[layer]
        return log_attention(module, states[layer], *row.rotation, queries, row.segments)

    def relation_loss(self, states, row: SceneRow, own) -> torch.Tensor:
        """The steps between names and the target of a phrase: each alone is of no use, so each is supervised."""
        inner, ends = self.model.get_model(), row.first + own["end_columns"]
        situations = row.first + own["situation_columns"]
        total, last = states[0].sum() * 0, len(inner.layers) - 1
        if last >= _ANCHOR_LAYER:
            total = total + _ATTENTION_WEIGHT * self._anchor_attention_loss(states, row, ends, situations, own)
        if last > _ANCHOR_LAYER:  # the states after the last layer are normalised already
            after, words = inner.norm(states[_ANCHOR_LAYER + 1]), self.model.lm_head.weight
            total = total + _ANCHOR_WEIGHT * self.place_loss(after[ends], own["anchor"], own, own["is_farthest"])
            total = total + self.vocabulary.loss(after[ends], own["target_labels"], words)
            total = total + self.vocabulary.loss(-after[ends], own["anchor_labels"], words)
            total = total + self.viewpoint_loss(after[situations], own)
        if last >= _TARGET_LAYER:
            before = states[_TARGET_LAYER]
            total = total + self.visual_token_loss(inner.norm(before)[own["shown_columns"]], own)
            total = total + added(states[0][own["cell_columns"]], before[own["cell_columns"]])
            total = total + _ATTENTION_WEIGHT * self._target_attention_loss(states, row, ends, situations, own)
        if last > _TARGET_LAYER:
            after = inner.norm(states[_TARGET_LAYER + 1])
            situated = after[ends[own["situated"]]]
            total = total + self.place_loss(after[ends], own["target"], own)
            total = total + self.viewpoint_loss(situated, own) + self.side_loss(situated, own)
        return total

    def _anchor_attention_loss(self, states, row: SceneRow, ends, situations, own) -> torch.Tensor:
        """Attention of layer 2: from phrases' ends to the mention of the anchor (half of the heads) and of the target
        (the others); from situations' ends to what the asker stands at, and to what they face."""
        mentions = row.first + own["mention_columns"]
        attention = self._attention(_ANCHOR_LAYER, states, row, torch.cat([ends, situations]))[..., mentions]
        heads, of_ends, of_situations = attention.shape[0] // 2, attention[:, : len(ends)], attention[:, len(ends) :]
        total = attention_loss(of_ends[:heads], own["anchor_mentions"])
        total = total + attention_loss(of_ends[heads:], own["target_mentions"])
        total = total + attention_loss(of_situations[:heads], own["standing_at_mentions"])
        return total + attention_loss(of_situations[heads:], own["facing_mentions"])

    def _target_attention_loss(self, states, row: SceneRow, ends, situations, own) -> torch.Tensor:
        """Attention of layer 3 from phrases' ends to the target's cells; for phrases with a situation half of the heads
        attend to these, and the others to the situation's end."""
        attention = self._attention(_TARGET_LAYER, states, row, ends)
        heads, situated = attention.shape[0] // 2, own["situated"]
        is_plain = torch.ones(len(ends), dtype=torch.bool, device=ends.device)
        is_plain[situated] = False
        cells = attention[..., own["cell_columns"]]
        total = attention_loss(cells[:, is_plain], own["target_cells"][is_plain])
        total = total + attention_loss(cells[:heads, situated], own["target_cells"][situated])
        own_end = torch.eye(len(situations), dtype=torch.bool, device=ends.device)
        return total + attention_loss(attention[heads:, situated][..., situations], own_end)

    def visual_token_loss(self, states: torch.Tensor, own) -> torch.Tensor:
        """States (D, H) of visual tokens should tell which object they show, and where they are among each other."""
        points = own["shown_points"]
        is_same = torch.cdist(points, points) < _SAME_POINT_M
        return self.vocabulary.loss(states, own["shown_labels"], self.model.lm_head.weight) + self._encoding_loss(
            self.place, states, points, is_same
        )

    def _lookup_loss(self, states, last, first: int, own, tokens: SceneTokens) -> torch.Tensor:
        """What the states after layer 1 should tell of points and names, and the last states of phrases."""
        model, head = self.model, self.model.config.head
        queries = first + torch.cat([own["point_columns"], own["name_columns"]])
        total = self.vocabulary.loss(states[queries], own["labels"], model.lm_head.weight)
        at_name, at_end = states[first + own["name_columns"]], last[first + own["end_columns"]]
        total = total + _ASKED_WEIGHT * self.vocabulary.loss(at_end, own["asked_labels"], model.lm_head.weight)
        if len(own["answers"]):
            logits = model.lm_head(last[first + own["answer_columns"]])
            losses = F.cross_entropy(logits, own["answers"], reduction="none")
            total = total + (losses * own["answer_shares"]).sum() / own["answer_shares"].sum()
        if not len(at_end):
            return total
        scored = own["has_target"]
        selections = ((at_name, own["named"]), (at_end[scored], own["target"][scored])) if head is not None else ()
        for queries_of, targets in (pair for pair in selections if len(pair[1])):
            pairs = zip(score_proposals(model, head, queries_of, tokens.proposals), targets, strict=True)
            total = total + torch.stack([ground_loss(s, rows.nonzero()[:, 0], head) for s, rows in pairs]).mean()
        return total + self.place_loss(at_name, own["named"], own)

    def place_loss(
        self, states: torch.Tensor, targets: torch.Tensor, own, is_opposite: torch.Tensor | None = None
    ) -> torch.Tensor:
        """States (M, H) should encode the places of their `targets` (M, N) among all proposals and cells, or the
        opposite where `is_opposite` (M,). States without targets are left out."""
        has_targets = targets.any(1)
        opposite, targets = None if is_opposite is None else is_opposite[has_targets], targets[has_targets]
        centres, cells = own["scene"]["proposals"][:, :3].float(), own["shown_points"]
        target_cells = targets.float() @ (torch.cdist(centres, cells) < _AT_OBJECT_M).float() > 0
        points = torch.cat([centres, cells])
        return self._encoding_loss(
            self.place, states[has_targets], points, torch.cat([targets, target_cells], 1), opposite
        )

    def viewpoint_loss(self, states: torch.Tensor, own) -> torch.Tensor:
        """States (S, H) of situations should encode the viewpoint, among all viewpoints and the objects, at one height,
        and the direction (x, y) that the asker faces."""
        viewpoints = own["viewpoint"].float()
        if not len(viewpoints):
            return states.sum() * 0
        here = viewpoints[:, 0, :2]
        among = torch.cat([own["scene"]["proposals"][:, :2].float(), here])
        among = torch.cat([among, viewpoints[:1, 0, 2:].expand(len(among), 1)], 1)
        is_here = torch.cdist(here, among[:, :2]) < _SAME_VIEWPOINT_M
        place = self._encoding_loss(self.stand, states, among, is_here)
        return place + F.mse_loss(self.facing(states), _facing(viewpoints), reduction="sum") / len(viewpoints)

    def side_loss(self, states: torch.Tensor, own) -> torch.Tensor:
        """States (S, H) of situated phrases with one target should tell how much ahead of the asker and how much to
        their left its direction is."""
        one = own["target"][own["situated"]].sum(1) == 1
        if not bool(one.any()):
            return states.sum() * 0
        viewpoints, rows = own["viewpoint"].float()[one], own["target"][own["situated"]][one].int().argmax(1)
        away = F.normalize(own["scene"]["proposals"][rows, :2].float() - viewpoints[:, 0, :2], dim=-1)
        facing = _facing(viewpoints)
        left = torch.stack([-facing[:, 1], facing[:, 0]], -1)
        expected = torch.stack([(away * facing).sum(-1), (away * left).sum(-1)], -1)
        return _SIDE_WEIGHT * F.mse_loss(self.side(states[one]), expected, reduction="sum") / len(expected)

    def _encoding_loss(
        self,
        probe: nn.Module,
        states: torch.Tensor,
        points: torch.Tensor,
        targets: torch.Tensor,
        is_opposite: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`probe` of states (M, H) should be similar to the position encodings of their `targets` (M, N) among `points`
        (N, 3), or dissimilar where `is_opposite` (M,). 0 for a model without position encoding."""
        inner, position = self.model.get_model(), self.model.config.position
        if position is None or not len(states):
            return states.sum() * 0
        points = points.to(states.device).float()[:, None].expand(-1, position.points_per_token, -1)
        encodings = inner.world_position_embedding(points).to(states)
        encoded = probe(states)
        if is_opposite is not None:
            encoded = torch.where(is_opposite[:, None], -encoded, encoded)
        log_shares = (encoded @ encodings.T / 4).log_softmax(-1)
        return -log_shares.masked_fill(~targets, LOG_ZERO).logsumexp(-1).mean()


def _facing(viewpoints: torch.Tensor) -> torch.Tensor:
    """(S, 2): unit vectors from where somebody stands to the point ahead; `viewpoints` is (S, 2, 3)."""
    return F.normalize(viewpoints[:, 1, :2] - viewpoints[:, 0, :2], dim=-1)
