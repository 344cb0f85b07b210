"""A language model from scratch learns to look: from a point to what lies there, from a name to where it is.

Both are attention, and attention that has not formed yet gives hardly any gradient: a small model is stuck for
thousands of steps at answers that need neither. So one layer is told where to look, on many points and names of a scene
at once, and the states behind it what is to be found there. Measured in docs/small_model.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
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

# What each layer learns, counted from 0. One before the first, for a name to become one of several words.
_NAMES, _BESIDE, _MEANT = 1, 2, 3
_ATTENTION_WEIGHT = 0.5
_BESIDE_WEIGHT = _ASKED_WEIGHT = _SIDE_WEIGHT = 2.0
_NOWHERE = -1e4
_STANDS_M = 0.75  # what is nearer than that to where somebody stands is there as well
_THERE_M, _SAME_M = 0.5, 0.2  # so is a cell to the centre of what it may belong to, and to another cell
_INSTEAD = "set lookup_steps and object_steps to 0"


@dataclass(frozen=True)
class _Row:
    """A scene's row: its tokens' segments (L,), 0 for the scene's, and their rotations: cosines and sines (L, d)."""

    segments: torch.Tensor
    rotation: Sequence[torch.Tensor]

    @property
    def first(self) -> int:
        """The column of the first item."""
        return int((self.segments == 0).sum())


class LookupLesson(nn.Module):
    """The model, and how well its layers look where they should, one step of a thought after the other.

    Layer 1: at half of the heads a point's token is to attend to the visual tokens in the box that the point is taken
    from, at the others the last token of a name to those of what it names. The states after it are to be like the
    words for what is at the point (`Naming`, in the output head's terms), to choose the named proposals, and to tell
    their place. Layer 2: the end of a phrase attends to the name (or point) of the other thing in it and to that of
    what is meant, that of a situation to what somebody stands by and to what they face; after it, these ends are like
    the words for what is meant and tell the place of the other thing, or where somebody stands and which way they
    look. What is far from a thing is meant by the opposite of its place, what is no lamp by the opposite of the word:
    a layer that finds by likeness finds the farthest and the others by unlikeness, and the nearest sooner
    (docs/small_model.md). Before layer 3 the visual tokens themselves are to be like the words for what they show and
    to tell where they are, and little is to have been added to them: else the layers before wear that off. Layer 3: the
    phrase's end attends to what is meant, and to its situation's end; after it, it tells that place, what the
    situation's end told, and on which side of somebody there it is. At last it chooses what is meant among the
    proposals, and where the phrase is a question, is like the word for what is asked, or says the answer. A layer that
    is not there is not taught.
    """

    def __init__(self, model: Video3DForCausalLM, naming: Naming):
        super().__init__()
        self.model, self.naming = model, naming
        size = model.config.hidden_size
        self.place, self.stand, self.facing, self.side = (
            nn.Sequential(nn.LayerNorm(size), nn.Linear(size, told)) for told in (size, size, 2, 2)
        )
        for says in (self.place, self.stand):  # a place told as it is encoded is where attention finds it
            nn.init.eye_(says[1].weight)
            nn.init.zeros_(says[1].bias)

    @classmethod
    def of(cls, model: Video3DForCausalLM, processor: Video3DProcessor, named: Mapping[str, Named]) -> LookupLesson:
        """The lesson about the objects `named` by scene. DataError for a model of one layer, or without objects."""
        if len(model.get_model().layers) <= _NAMES:
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
        seen = inner.norm(outputs.hidden_states[_NAMES + 1])
        rotation = inner.rotary_emb(rows.embeds, rows.position_ids)
        losses = []
        for row, own in enumerate(scenes):
            here = _Row(rows.segments[row], [part[min(row, len(part) - 1)] for part in rotation])
            states = [part[row] for part in outputs.hidden_states]
            losses.append(_ATTENTION_WEIGHT * self._looking(states, here, own))
            losses.append(self._found(seen[row], outputs[0][row], here.first, own, tokens[row]))
            losses.append(self._knows_which(states, here, own))
        return torch.stack(losses).sum() / len(scenes)

    def _looking(self, states, row: _Row, own) -> torch.Tensor:
        """-log of the share of attention that falls on the right cells, over points and over names."""
        looks = row.first + torch.cat([own["point_columns"], own["name_columns"]])
        shares = self._shares(_NAMES, states, row, looks)[..., own["columns"]]
        heads, points = shares.shape[0] // 2, len(own["point_columns"])
        of_points = missed(shares[:heads, :points], own["cells"][:points])
        return of_points + missed(shares[heads:, points:], own["cells"][points:])

    def _shares(self, layer: int, states, row: _Row, looks: torch.Tensor) -> torch.Tensor:
        return attention_shares(self.model.get_model().layers[layer], states[layer], *row.rotation, looks, row.segments)

    def _knows_which(self, states, row: _Row, own) -> torch.Tensor:
        """The steps between names and what a phrase means, of no use without each other, each taught alone."""
        inner, ends = self.model.get_model(), row.first + own["end_columns"]
        situations = row.first + own["situation_columns"]
        total, last = states[0].sum() * 0, len(inner.layers) - 1
        if last >= _BESIDE:
            total = total + _ATTENTION_WEIGHT * self._reads(states, row, ends, situations, own)
        if last > _BESIDE:  # the states after the last layer are normalised already
            told, words = inner.norm(states[_BESIDE + 1]), self.model.lm_head.weight
            total = total + _BESIDE_WEIGHT * self._places(told[ends], own["beside"], own, own["away"])
            total = total + self.naming.loss(told[ends], own["called"], words)
            total = total + self.naming.loss(-told[ends], own["unlike"], words)
            total = total + self._stands(told[situations], own)
        if last >= _MEANT:
            total = total + self._keeps(inner.norm(states[_MEANT])[own["shown_columns"]], own)
            total = total + added(states[0][own["columns"]], states[_MEANT][own["columns"]])
            total = total + _ATTENTION_WEIGHT * self._finds(states, row, ends, situations, own)
        if last > _MEANT:
            told = inner.norm(states[_MEANT + 1])
            situated = told[ends[own["situated"]]]
            total = total + self._places(told[ends], own["meant"], own)
            total = total + self._stands(situated, own) + self._sides(situated, own)
        return total

    def _reads(self, states, row: _Row, ends, situations, own) -> torch.Tensor:
        """-log of the share of attention that falls, from phrases' ends, at half of the heads on the name (or point) of
        the thing beside, at the others on that of what is meant; from situations', on what one stands by, and faces."""
        mentions = row.first + own["mention_columns"]
        shares = self._shares(_BESIDE, states, row, torch.cat([ends, situations]))[..., mentions]
        heads, of_ends, of_situations = shares.shape[0] // 2, shares[:, : len(ends)], shares[:, len(ends) :]
        total = missed(of_ends[:heads], own["tells_beside"]) + missed(of_ends[heads:], own["tells_meant"])
        total = total + missed(of_situations[:heads], own["tells_by"])
        return total + missed(of_situations[heads:], own["tells_faced"])

    def _finds(self, states, row: _Row, ends, situations, own) -> torch.Tensor:
        """-log of the share of attention that falls, from phrases' ends, on what is meant; where there is a situation,
        at half of the heads, and at the others on its end."""
        shares = self._shares(_MEANT, states, row, ends)
        heads, situated = shares.shape[0] // 2, own["situated"]
        plain = torch.ones(len(ends), dtype=torch.bool, device=ends.device)
        plain[situated] = False
        cells = shares[..., own["columns"]]
        total = missed(cells[:, plain], own["meant_cells"][plain])
        total = total + missed(cells[:heads, situated], own["meant_cells"][situated])
        own_end = torch.eye(len(situations), dtype=torch.bool, device=ends.device)
        return total + missed(shares[heads:, situated][..., situations], own_end)

    def _keeps(self, shown: torch.Tensor, own) -> torch.Tensor:
        """How badly the states (D, H) of visual tokens tell what they show, and where they are among each other."""
        points = own["shown_points"]
        same = torch.cdist(points, points) < _SAME_M
        return self.naming.loss(shown, own["shown_wanted"], self.model.lm_head.weight) + self._told(
            self.place, shown, points, same
        )

    def _found(self, seen, last, first: int, own, tokens: SceneTokens) -> torch.Tensor:
        model, head = self.model, self.model.config.head
        looks = first + torch.cat([own["point_columns"], own["name_columns"]])
        total = self.naming.loss(seen[looks], own["wanted"], model.lm_head.weight)
        at_name, at_end = seen[first + own["name_columns"]], last[first + own["end_columns"]]
        total = total + _ASKED_WEIGHT * self.naming.loss(at_end, own["asked"], model.lm_head.weight)
        if len(own["answers"]):
            said = F.cross_entropy(model.lm_head(last[first + own["answer_columns"]]), own["answers"], reduction="none")
            total = total + (said * own["answer_shares"]).sum() / own["answer_shares"].sum()
        if not len(at_end):
            return total
        scored = own["scored"]
        chosen = ((at_name, own["named"]), (at_end[scored], own["meant"][scored])) if head is not None else ()
        for states, wanted in (pair for pair in chosen if len(pair[1])):
            pairs = zip(score_proposals(model, head, states, tokens.proposals), wanted, strict=True)
            total = total + torch.stack([ground_loss(s, rows.nonzero()[:, 0], head) for s, rows in pairs]).mean()
        return total + self._places(at_name, own["named"], own)

    def _places(
        self, states: torch.Tensor, wanted: torch.Tensor, own, away: torch.Tensor | None = None
    ) -> torch.Tensor:
        """How badly `states` (M, H) tell the places of the `wanted` (M, N) proposals, among all and the cells, of those
        that have some, or the opposite where it is `away` (M,); 0 without positions."""
        told = wanted.any(1)
        opposite, wanted = None if away is None else away[told], wanted[told]
        centres, cells = own["scene"]["proposals"][:, :3].float(), own["shown_points"]
        there = wanted.float() @ (torch.cdist(centres, cells) < _THERE_M).float() > 0
        points = torch.cat([centres, cells])
        return self._told(self.place, states[told], points, torch.cat([wanted, there], 1), opposite)

    def _stands(self, states: torch.Tensor, own) -> torch.Tensor:
        """How badly `states` (S, H) tell where their situations are, among all of these and the objects, at one height,
        and which way somebody looks there (x, y)."""
        spots = own["stands"].float()
        if not len(spots):
            return states.sum() * 0
        here = spots[:, 0, :2]
        among = torch.cat([own["scene"]["proposals"][:, :2].float(), here])
        among = torch.cat([among, spots[:1, 0, 2:].expand(len(among), 1)], 1)
        place = self._told(self.stand, states, among, torch.cdist(here, among[:, :2]) < _STANDS_M)
        return place + F.mse_loss(self.facing(states), _facing(spots), reduction="sum") / len(spots)

    def _sides(self, states: torch.Tensor, own) -> torch.Tensor:
        """How badly `states` (S, H) tell where the one thing that is meant is to somebody in the situation: how much
        ahead, and how much to the left, of a direction."""
        one = own["meant"][own["situated"]].sum(1) == 1
        if not bool(one.any()):
            return states.sum() * 0
        spots, rows = own["stands"].float()[one], own["meant"][own["situated"]][one].int().argmax(1)
        away = F.normalize(own["scene"]["proposals"][rows, :2].float() - spots[:, 0, :2], dim=-1)
        facing = _facing(spots)
        left = torch.stack([-facing[:, 1], facing[:, 0]], -1)
        wanted = torch.stack([(away * facing).sum(-1), (away * left).sum(-1)], -1)
        return _SIDE_WEIGHT * F.mse_loss(self.side(states[one]), wanted, reduction="sum") / len(wanted)

    def _told(
        self,
        says: nn.Module,
        states: torch.Tensor,
        points: torch.Tensor,
        wanted: torch.Tensor,
        opposite: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """How badly `says` of `states` (M, H) is like the encodings of the `wanted` (M, N) ones of `points` (N, 3), or
        unlike them where that is wanted, `opposite` (M,) bool."""
        inner, position = self.model.get_model(), self.model.config.position
        if position is None or not len(states):
            return states.sum() * 0
        points = points.to(states.device).float()[:, None].expand(-1, position.points_per_token, -1)
        there = inner.world_position_embedding(points).to(states)
        said = says(states)
        if opposite is not None:
            said = torch.where(opposite[:, None], -said, said)
        shares = (said @ there.T / 4).log_softmax(-1)
        return -shares.masked_fill(~wanted, _NOWHERE).logsumexp(-1).mean()


def _facing(spots: torch.Tensor) -> torch.Tensor:
    """(S, 2): the unit vectors of `spots` (S, 2, 3), from where somebody stands to what is ahead."""
    return F.normalize(spots[:, 1, :2] - spots[:, 0, :2], dim=-1)


def added(came: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """How much layers added to the tokens (C, H) that came, as a share of how these vary: their squares."""
    came = came.detach()
    return (kept - came).square().mean() / (came - came.mean(0)).square().mean()


def missed(shares: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """-log of the share that falls where it should, of the heads together. shares (heads, Q, C) logs, wanted (Q, C)
    bool; 0 where nothing is wanted."""
    shown = wanted.any(1)
    if not bool(shown.any()):
        return shares.sum() * 0
    right = shares[:, shown].masked_fill(~wanted[shown], _NOWHERE).logsumexp(-1)
    return -right.logsumexp(0).mean()


def attention_shares(
    layer: nn.Module,
    states: torch.Tensor,  # (L, H) that enter the layer
    cos: torch.Tensor,  # (L, d)
    sin: torch.Tensor,
    looks: torch.Tensor,  # (Q,) columns of the tokens that look
    segments: torch.Tensor,  # (L,): they see the prefix (0) and what comes before them in their own
) -> torch.Tensor:
    """(heads, Q, L): log of the attention of each looking token to all tokens, -inf to those that it does not see."""
    attention = layer.self_attn
    size = attention.head_dim
    states = layer.input_layernorm(states)
    query, key = (
        rotated(project(states).unflatten(-1, (-1, size)), cos, sin) for project in (attention.q_proj, attention.k_proj)
    )
    query, key = query[looks], key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    seen = (segments == 0) | (segments == segments[looks][:, None])
    seen = seen & (torch.arange(len(segments), device=looks.device) <= looks[:, None])
    scores = torch.einsum("qhd,khd->hqk", query, key) / size**0.5
    return scores.masked_fill(~seen, -torch.inf).log_softmax(-1)
