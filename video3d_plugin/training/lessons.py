"""What a scene's lesson in looking asks: points with what lies there, names with what they name, and where to look."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.model.sequence import IMAGE_ID
from video3d_plugin.model.vision import lay_out
from video3d_plugin.scene import SceneInputs
from video3d_plugin.training.dataset import Group, GroupCollator, SceneGroups
from video3d_plugin.training.moving import moved
from video3d_plugin.training.naming import NONE, Naming
from video3d_plugin.training.objects import Named
from video3d_plugin.training.phrases import Phrase, phrases

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.training.run import TrainSettings

POINTS, PHRASES = 112, 40  # of a scene
_MARGIN_M = 0.1  # around a box: a token's point is the mean of what its cell shows
_JITTER_M = 0.03
_ON_SURFACE = 0.6  # share of the points; the others are centres of boxes, as Scan2Cap asks


class SceneLessons(torch.utils.data.Dataset):
    """A lesson a scene, with other points, phrases and another place in the world each time it is seen; and, where
    there are some, a group of questions with it, of that scene or another."""

    def __init__(
        self,
        folder: DataFolder,
        named: Mapping[str, Named],
        naming: Naming,
        processor: Video3DProcessor,
        settings: TrainSettings,
        groups: SceneGroups | None = None,
    ):
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
        rng = random.Random(f"{self._seed}/{self._epoch}/{index}")
        scene_id = self._ids[index] if self._groups is None else rng.choice(self._ids)
        inputs = self._folder.inputs(scene_id, self._processor.config.inputs_spec, **self._inputs)
        inputs, _ = moved(inputs, [], rng, scene_id)
        lesson = scene_lesson(inputs, self._named[scene_id], self._naming, self._processor, rng)
        return lesson, None if self._groups is None else self._groups[index]


class LessonCollator:
    """A batch of the lesson's. Beside questions one scene a step is enough to keep what was learnt."""

    def __init__(self, processor: Video3DProcessor):
        self._collate = GroupCollator(processor)

    def __call__(self, items: Sequence[tuple[dict[str, Any], Group | None]]) -> dict[str, Any]:
        groups = [group for _, group in items if group is not None]
        scenes = [lesson for lesson, _ in items]
        return {"scenes": scenes[:1], "questions": self._collate(groups)} if groups else {"scenes": scenes}


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
    named (M, N) bool          proposals that each name in the phrases names
    meant (PHRASES, N) bool    proposals that each phrase denotes
    cells (K + M, C) bool      which of the scene's cells each point, then each name, is to look at
    columns (C,)               the cells' columns in a row
    point_columns (K,), name_columns (M,), end_columns (PHRASES,): of the items' tokens, from the first item on
    """
    boxes, ids = inputs.proposals, inputs.proposal_ids.tolist()
    row_of = {object_id: row for row, object_id in enumerate(ids) if object_id in objects}
    inside = _shown(inputs, processor.config.inputs_spec.object_grid_side)
    points, owners = _points(inputs, inside, sorted(row_of.values()), rng)
    of_id = {object_id: boxes[row].tolist() for object_id, row in row_of.items()}
    said = phrases(objects, of_id, sorted(row_of), PHRASES, rng)
    names = [named for phrase in said for _, named in phrase.names]
    named, meant = (_rows(chosen, row_of, len(boxes)) for chosen in (names, [phrase.meant for phrase in said]))
    found = [naming.numbers(objects, ids[owner]) for owner in owners]
    found += [(NONE, _shared(naming.numbers(objects, i)[1] for i in name)) for name in names]
    looked = torch.stack([inside[owner] for owner in owners] + [inside[own].any(0) for own in named])
    return {
        "scene": inputs.tensors(),
        "points": points,
        "wanted": torch.tensor(found).reshape(-1, 2),
        "named": named,
        "meant": meant,
        "cells": looked,
        "columns": _cell_columns(inputs, processor),
        **_items(len(points), said, processor),
    }


def _rows(chosen: Sequence[Iterable[int]], row_of: Mapping[int, int], count: int) -> torch.Tensor:
    """(M, count) bool: the proposals' rows of each of M choices of object ids."""
    rows = torch.zeros(len(chosen), count, dtype=torch.bool)
    for number, object_ids in enumerate(chosen):
        rows[number, [row_of[i] for i in object_ids]] = True
    return rows


def _shared(numbers: Iterable[int]) -> int:
    """The one number of all, or NONE."""
    different = set(numbers)
    return different.pop() if len(different) == 1 else NONE


def _shown(inputs: SceneInputs, side: int) -> torch.Tensor:
    """(N, C) bool: the cells that show each proposal, which are those whose point lies in its box. Where a cell has its
    least and greatest coordinates instead, which depth holes throw to the camera, those with a patch in the box.

    side: of the grid of patches that `proposal_bits` speaks of
    """
    if inputs.token_points.shape[-2] > 1:
        patches = unpack_patches(inputs.proposal_bits, side).float()
        return F.adaptive_max_pool2d(patches, inputs.token_points.shape[1]).flatten(1) > 0
    cells, boxes = inputs.token_points.float().reshape(-1, 3), inputs.proposals
    return ((cells[None] - boxes[:, None, :3]).abs() <= boxes[:, None, 3:] / 2 + _MARGIN_M).all(-1)


def _points(
    inputs: SceneInputs, inside: torch.Tensor, rows: Sequence[int], rng: random.Random
) -> tuple[torch.Tensor, list[int]]:
    """Points of the objects that some cell shows, as many of each: on its surface, or its centre; and whose each is."""
    shown = [row for row in rows if bool(inside[row].any())]
    owners = [row for row in shown for _ in range(max(1, POINTS // len(shown)))]
    on_surface = _ON_SURFACE if inputs.token_points.shape[-2] == 1 else 0.0
    cells = inputs.token_points.reshape(inside.shape[1], -1)[:, :3]
    points = []
    for row in owners:
        there = inside[row].nonzero()[:, 0].tolist()
        point = cells[rng.choice(there)] if rng.random() < on_surface else inputs.proposals[row, :3]
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
        begin = 0
        for end in [*(end for end, _ in phrase.names), len(phrase.text)]:
            part = phrase.text[begin:end]
            ids += processor.tokenizer(part, add_special_tokens=False).input_ids if part else []
            names.append(len(ids) - len(prefix) - 1)
            begin = end
        ends.append(names.pop())
        segments += [number] * (len(ids) - len(segments))
    columns = {"point_columns": list(range(points)), "name_columns": names, "end_columns": ends}
    parts = {"ids": ids, "segments": segments, **columns}
    return {name: torch.tensor(part, dtype=torch.long) for name, part in parts.items()}
