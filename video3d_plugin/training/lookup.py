"""A language model from scratch learns to look: from a point to what lies there, from a name to where it is.

Both are attention, and attention that has not formed yet gives hardly any gradient: a small model is stuck for
thousands of steps at answers that need neither. So one layer is told where to look, on many points and names of a scene
at once, and the states behind it what is to be found there. Measured in docs/training.md.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from video3d_plugin.errors import DataError
from video3d_plugin.model.cascade import rotated
from video3d_plugin.model.grounding import ground_loss, score_proposals
from video3d_plugin.model.scene_tokens import SceneTokens, encode_scene_tokens
from video3d_plugin.model.sequence import IMAGE_ID
from video3d_plugin.model.shared_rows import mask_of
from video3d_plugin.model.vision import lay_out
from video3d_plugin.scene import SceneInputs
from video3d_plugin.training.dataset import Group, GroupCollator, SceneGroups
from video3d_plugin.training.moving import moved
from video3d_plugin.training.naming import NONE, Naming
from video3d_plugin.training.objects import Named, Phrase, phrases
from video3d_plugin.training.optimizer import build_optimizer
from video3d_plugin.training.stage import run_stage

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.training.run import TrainSettings

POINTS, PHRASES = 112, 40  # of a scene
_LAYER = 1  # the layer that looks: one before it, for a name to become one of several words
_MARGIN_M = 0.1  # around a box: a token's point is the mean of what its cell shows
_JITTER_M = 0.03
_ON_SURFACE = 0.6  # share of the points; the others are centres of boxes, as Scan2Cap asks
_ATTENTION_WEIGHT = 0.5
_NOWHERE = -1e4


class LookupLesson(nn.Module):
    """The model, and how well its second layer looks where it should.

    At half of that layer's heads a point's token is to attend to the visual tokens in the box that the point is taken
    from, at the others the last token of a name to those of what it names. The states after it are to be like the
    words for what is at the point (`Naming`, in the output head's terms), to choose the named proposals, and to tell
    their place; the last layer's at the end of the phrase to choose them as well.
    """

    def __init__(self, model: Video3DForCausalLM, naming: Naming):
        super().__init__()
        self.model, self._naming = model, naming
        size = model.config.hidden_size
        self.place = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, size))

    def forward(
        self, scenes: list[dict[str, torch.Tensor]], questions: dict[str, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """scenes: what `scene_lesson` makes, with the scene's tensors as "scene".

        questions: a batch of the processor's, whose loss is added: what is not used while it is learnt is forgotten.
        """
        loss = self._looks_and_finds(scenes)
        return {"loss": loss if questions is None else loss + self.model(**questions).loss}

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
        total = self._naming.loss(seen[looks], own["wanted"], model.lm_head.weight)
        at_name, at_end = seen[first + own["name_columns"]], last[first + own["end_columns"]]
        if not len(at_name):
            return total
        for states in (at_name, at_end) if head is not None else ():
            pairs = zip(score_proposals(model, head, states, tokens.proposals), own["named"], strict=True)
            total = total + torch.stack([ground_loss(s, named.nonzero()[:, 0], head) for s, named in pairs]).mean()
        if model.config.position is None:
            return total
        centres = own["scene"]["proposals"].to(at_name.device).float()[:, None, :3]
        centres = centres.expand(-1, model.config.position.points_per_token, -1)
        there = model.get_model().world_position_embedding(centres).to(at_name)
        shares = (self.place(at_name) @ there.T / 4).log_softmax(-1)
        return total - shares.masked_fill(~own["named"], _NOWHERE).logsumexp(-1).mean()


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


def scene_lesson(
    inputs: SceneInputs,
    objects: Named,
    naming: Naming,
    processor: Video3DProcessor,
    rng: random.Random,
) -> dict[str, Any]:
    """What the lesson asks of one scene: POINTS points in boxes, and PHRASES phrases, as items of one row.

    ids, segments (L,)         as the processor makes them for several questions of a scene
    points (K, 3)              world, metres
    wanted (K + M, 2)          numbers of what is there, see `Naming`; of a name only the attribute of what it names
    named (M, N) bool          proposals that each phrase names
    cells (K + M, C) bool      which of the scene's cells each point, then each name, is to look at
    columns (C,)               the cells' columns in a row
    point_columns, name_columns, end_columns: of the items' tokens, from the first item on
    """
    boxes, ids = inputs.proposals, inputs.proposal_ids.tolist()
    row_of = {object_id: row for row, object_id in enumerate(ids) if object_id in objects}
    cells = inputs.token_points.float().mean(-2).reshape(-1, 3)
    inside = ((cells[None] - boxes[:, None, :3]).abs() <= boxes[:, None, 3:] / 2 + _MARGIN_M).all(-1)  # (N, C)
    points, owners = _points(boxes, cells, inside, sorted(row_of.values()), rng)
    said = phrases(objects, sorted(row_of), PHRASES, rng)
    named = torch.zeros(len(said), len(boxes), dtype=torch.bool)
    for number, phrase in enumerate(said):
        named[number, [row_of[i] for i in phrase.object_ids]] = True
    found = [naming.numbers(objects, ids[owner]) for owner in owners]
    found += [(NONE, _shared(naming.numbers(objects, i)[1] for i in phrase.object_ids)) for phrase in said]
    looked = torch.stack([inside[owner] for owner in owners] + [inside[own].any(0) for own in named])
    return {
        "scene": inputs.tensors(),
        "points": points,
        "wanted": torch.tensor(found).reshape(-1, 2),
        "named": named,
        "cells": looked,
        "columns": _cell_columns(inputs, processor),
        **_items(len(points), said, processor),
    }


def _shared(numbers: Iterable[int]) -> int:
    """The one number of all, or NONE."""
    different = set(numbers)
    return different.pop() if len(different) == 1 else NONE


def _points(boxes, cells, inside, rows: Sequence[int], rng: random.Random) -> tuple[torch.Tensor, list[int]]:
    """Points of the objects that some cell shows, as many of each: on its surface, or its centre; and whose each is."""
    shown = [row for row in rows if bool(inside[row].any())]
    owners = [row for row in shown for _ in range(max(1, POINTS // len(shown)))]
    points = []
    for row in owners:
        there = inside[row].nonzero()[:, 0].tolist()
        point = cells[rng.choice(there)] if rng.random() < _ON_SURFACE else boxes[row, :3]
        points.append([float(v) + rng.gauss(0, _JITTER_M) for v in point])
    return torch.tensor(points).reshape(-1, 3), owners


def _cell_columns(inputs: SceneInputs, processor: Video3DProcessor) -> torch.Tensor:
    """(C,) the column of each cell of the grids (frames, rows, columns) in the sequence that the model makes."""
    frames, side = inputs.token_points.shape[:2]
    numbers = torch.arange(float(frames * side * side)).reshape(frames, side, side, 1)
    order = lay_out(numbers, torch.tensor([-1.0]), processor.config.layout)[:, 0]
    columns = (order >= 0).nonzero()[:, 0]
    return columns[order[columns].argsort()] + processor.prefix_ids().index(IMAGE_ID)


def _items(points: int, said: Sequence[Phrase], processor: Video3DProcessor) -> dict[str, torch.Tensor]:
    prefix = processor.prefix_ids()
    ids, segments = [*prefix], [0] * len(prefix)
    ids += [processor.config.coord_token_id] * points
    segments += range(1, points + 1)
    names, ends = [], []
    for number, phrase in enumerate(said, points + 1):
        before, after = (
            processor.tokenizer(text, add_special_tokens=False).input_ids if text else []
            for text in (phrase.text[: phrase.name_end], phrase.text[phrase.name_end :])
        )
        start = len(ids) - len(prefix)
        names.append(start + len(before) - 1)
        ends.append(start + len(before) + len(after) - 1)
        ids += [*before, *after]
        segments += [number] * (len(before) + len(after))
    columns = {"point_columns": list(range(points)), "name_columns": names, "end_columns": ends}
    return {name: torch.tensor(part) for name, part in {"ids": ids, "segments": segments, **columns}.items()}


class _Scenes(torch.utils.data.Dataset):
    """A lesson a scene, with other points, phrases and another place in the world each time it is seen; and, where
    there are some, a group of questions with it, of that scene or another."""

    def __init__(self, folder, named: Mapping[str, Named], naming, processor, settings: TrainSettings, groups):
        self._folder, self._named, self._naming, self._processor = folder, named, naming, processor
        self._inputs = {"sampler": settings.sampler, "max_frames": settings.max_frames, "proposals": "gt"}
        self._ids, self._seed = sorted(i for i, own in named.items() if own), settings.seed
        self._groups = groups
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if self._groups is not None:
            self._groups.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._ids if self._groups is None else self._groups)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], Group | None]:
        scene_id = self._ids[index % len(self._ids)]
        rng = random.Random(f"{self._seed}/{self._epoch}/{index}")
        inputs = self._folder.inputs(scene_id, self._processor.config.inputs_spec, **self._inputs)
        inputs, _ = moved(inputs, [], rng, scene_id)
        lesson = scene_lesson(inputs, self._named[scene_id], self._naming, self._processor, rng)
        return lesson, None if self._groups is None else self._groups[index]


def teach_lookup(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    folder: DataFolder,
    named: Mapping[str, Named],
    output: str | Path,
    settings: TrainSettings,
    *,
    steps: int,
    groups: SceneGroups | None = None,
) -> float:
    """Train the model in place; returns the last logged loss. With `groups`, on their questions as well.

    Raises DataError for a model of one layer, and where no scene has annotated objects.
    """
    if len(model.get_model().layers) <= _LAYER:
        raise DataError("the layer that learns to look is the second, the model has one", remedy="set lookup_steps 0")
    if not any(named.values()):
        raise DataError("no annotated objects to look for", remedy="prepare scans with labels, or set lookup_steps 0")
    naming = Naming.of(named.values(), processor.tokenizer)
    lesson = LookupLesson(model, naming)
    scenes = _Scenes(folder, named, naming, processor, settings, groups)
    collate_groups = GroupCollator(processor)

    def collate(items) -> dict[str, Any]:
        asked = [group for _, group in items if group is not None]
        return {"scenes": [own for own, _ in items], "questions": collate_groups(asked) if asked else None}

    what = "learning to look" if groups is None else "looking and answering"
    return run_stage(lesson, scenes, collate, build_optimizer(lesson, settings), steps, output, settings, what)
