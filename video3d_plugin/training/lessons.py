"""What a scene's lesson in looking asks: points with what lies there, names with what they name, and where to look."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.model.sequence import IMAGE_ID
from video3d_plugin.model.vision import lay_out
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.training.dataset import Group, GroupCollator, SceneGroups
from video3d_plugin.training.items import lesson_items
from video3d_plugin.training.moving import moved
from video3d_plugin.training.naming import NONE, Naming
from video3d_plugin.training.objects import Named, other_names
from video3d_plugin.training.phrases import Phrase, in_other_words, phrases
from video3d_plugin.training.told import NO_OTHERS, Others, told_phrases

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.training.run import TrainSettings

Lesson = dict[str, Any]  # see `scene_lesson`
FRAMES = 4  # of those a scene has: few, for many scenes in the same time, but of two hardly any show a label twice
POINTS, PHRASES, REHEARSED = 16, 48, 24  # of a scene; phrases, and those beside questions
TOLD = 14  # of the phrases, at most: the scene's own questions
_DRAWN = 2 * TOLD  # questions of each task tried: many are about what a few frames do not show
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
        told: Iterable[Question] = (),
    ):
        """groups: of questions that are asked as they are; told: those that the lessons take phrases from."""
        self._folder, self._named, self._naming, self._processor = folder, named, naming, processor
        self._inputs = {"sampler": settings.sampler, "max_frames": settings.max_frames, "proposals": "gt"}
        self._ids, self._seed = sorted(i for i, own in named.items() if own), settings.seed
        self._groups = groups
        self._told: dict[str, dict[str, list[Question]]] = {}  # by scene, by task
        told = list(told)
        self._others = other_names(told, named)
        for question in told:
            self._told.setdefault(question.scene_id, {}).setdefault(question.task, []).append(question)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if self._groups is not None:
            self._groups.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._ids if self._groups is None else self._groups)

    def __getitem__(self, index: int) -> tuple[Lesson, Group | None]:
        rng = random.Random(f"{self._seed}/{self._epoch}/{index}")
        scene_id = self._ids[index] if self._groups is None else rng.choice(self._ids)
        inputs = self._folder.inputs(scene_id, self._processor.config.inputs_spec, **self._inputs)
        tasks = self._told.get(scene_id, {}).values()
        told = [question for own in tasks for question in rng.sample(own, min(len(own), _DRAWN))]
        inputs, told = moved(some_frames(inputs, FRAMES, rng), told, rng, scene_id)
        count = PHRASES if self._groups is None else REHEARSED
        lesson = scene_lesson(
            inputs, self._named[scene_id], self._naming, self._processor, rng, told, count, self._others
        )
        return lesson, None if self._groups is None else self._groups[index]


class LessonCollator:
    """A batch of the lesson's: the scenes' lessons, and their groups of questions where they have some."""

    def __init__(self, processor: Video3DProcessor):
        self._collate = GroupCollator(processor)

    def __call__(self, items: Sequence[tuple[Lesson, Group | None]]) -> dict[str, Any]:
        groups = [group for _, group in items if group is not None]
        batch: dict[str, Any] = {"scenes": [lesson for lesson, _ in items]}
        return {**batch, "questions": self._collate(groups)} if groups else batch


def some_frames(inputs: SceneInputs, count: int, rng: random.Random) -> SceneInputs:
    """The scene as `count` of its frames show it, drawn at random, in order."""
    if count >= len(inputs.frames):
        return inputs
    kept = sorted(rng.sample(range(len(inputs.frames)), count))
    parts = {name: getattr(inputs, name)[kept] for name in ("pixels", "token_points", "token_valid")}
    names = tuple(inputs.frames[index] for index in kept)
    return replace(inputs, frames=names, proposal_bits=inputs.proposal_bits[:, kept], **parts)


def scene_lesson(
    inputs: SceneInputs,
    objects: Named,
    naming: Naming,
    processor: Video3DProcessor,
    rng: random.Random,
    told: Sequence[Question] = (),
    count: int = PHRASES,
    others: Others = NO_OTHERS,
) -> Lesson:
    """What the lesson asks of one scene: points in boxes, about POINTS, and `count` (P) phrases, as items of one row;
    of objects that some cell shows. Of the phrases the first TOLD that can be are `told` questions.
    others: by label, what else its objects are called.

    ids, segments (L,)         as the processor makes them for several questions of a scene
    points (K + J, 3)          world, metres: those that are asked of, then those that phrases speak of
    wanted (K + M, 2)          numbers of what is there, see `Naming`; of a name only the attribute of what it names
    named (M, N) bool          proposals that each name in the phrases names
    meant (P, N) bool    proposals that each phrase denotes
    scored (P,) bool     whether it is known what it denotes, or that it is nothing
    beside (P, N) bool   proposals whose place tells which that is
    called (P, 2)              numbers of the label and attribute by which each phrase names what it denotes
    unlike (P, 2)              where it does not name that, of the label of what is beside, which is not meant
    away (P,) bool             whether what is far from there is meant
    asked (P, 2)         numbers of what each phrase asks for, NONE where it asks nothing
    meant_cells (P, C) bool   cells that show what is meant
    cells (K + M, C) bool      which of the scene's cells each point, then each name, is to look at
    columns (C,)               the cells' columns in a row
    shown_columns (D,)         of the cells that show one object
    shown_points (D, 3)        world, metres: where each is; where a cell has several points, the object's centre
    shown_wanted (D, 2)        numbers of what each shows
    point_columns (K,), name_columns (M,), end_columns (P,): of the items' tokens, from the first item on
    stands (S, 2, 3)           world, metres: where a situation of those questions is, and a point ahead
    situation_columns (S,), situated (S,)   of the last token of each, and the number of its phrase
    mention_columns (W,)       of each phrase's names, then of its <coord>s
    tells_beside (P, W), tells_meant (P, W), tells_by (S, W), tells_faced (S, W) bool   which of these are
        of what is beside; of what is meant, and perhaps of others; of what one stands by; of what one faces
    answer_columns (A,), answers (A,)   of tokens of the told questions, and the id that each is to be followed by
    answer_shares (A,)         what share of its answer each is
    """
    boxes, ids = inputs.proposals, inputs.proposal_ids.tolist()
    inside = _shown(inputs, processor.config.inputs_spec.object_grid_side)
    shown = inside.any(1).tolist()
    row_of = {object_id: row for row, object_id in enumerate(ids) if object_id in objects and shown[row]}
    points, owners = _points(inputs, inside, sorted(row_of.values()), rng)
    of_id = {object_id: boxes[row].tolist() for object_id, row in row_of.items()}
    said = told_phrases(told, objects, of_id, row_of, TOLD, others)
    made = phrases(objects, of_id, sorted(row_of), count - len(said), rng)
    said += [in_other_words(phrase, objects, others, rng) for phrase in made]
    names = [named for phrase in said for _, named in phrase.names]
    named, meant, beside = (
        _rows(chosen, row_of, len(boxes))
        for chosen in (names, [phrase.meant for phrase in said], [phrase.beside for phrase in said])
    )
    spoken_of = torch.tensor([of_id[i][:3] for phrase in said for i in phrase.points]).reshape(-1, 3)
    found = [naming.numbers(objects, ids[owner]) for owner in owners]
    found += [(NONE, _shared(naming.numbers(objects, i)[1] for i in name)) for name in names]
    columns = _cell_columns(inputs, processor)
    looked = torch.cat([inside[torch.tensor(owners, dtype=torch.long)], named.float() @ inside.float() > 0])
    return {
        "scene": inputs.tensors(),
        "points": torch.cat([points, spoken_of]),
        "wanted": torch.tensor(found).reshape(-1, 2),
        "named": named,
        "meant": meant,
        "scored": torch.tensor(
            [phrase.asks is None and not phrase.stands or bool(phrase.meant) for phrase in said]
        ).bool(),
        "beside": beside,
        "stands": torch.tensor([phrase.stands[1:] for phrase in said if phrase.stands]).reshape(-1, 2, 3),
        "called": torch.tensor([_called(phrase, objects, naming) for phrase in said]).reshape(-1, 2),
        "unlike": torch.tensor([_unlike(phrase, objects, naming) for phrase in said]).reshape(-1, 2),
        "away": torch.tensor([phrase.away for phrase in said]).bool(),
        "asked": torch.tensor([_asked(phrase, objects, naming) for phrase in said]).reshape(-1, 2),
        "meant_cells": meant.float() @ inside.float() > 0,
        "cells": looked,
        "columns": columns,
        **_shown_things(inputs, inside, sorted(row_of.values()), columns, objects, naming),
        **_mentioned(said),
        **lesson_items(len(points), said, processor),
    }


def _mentioned(said: Sequence[Phrase]) -> dict[str, torch.Tensor]:
    """Which of the W mentions tell of what; see `scene_lesson`."""
    mentions = [(number, set(ids)) for number, phrase in enumerate(said) for ids in phrase.mentions]
    situated = [(number, phrase) for number, phrase in enumerate(said) if phrase.stands]

    def rows(chosen: Iterable[tuple[int, Sequence[int]]], others: bool = False) -> torch.Tensor:
        found = [
            [of == number and bool(own) and (ids >= {*own} if others else ids <= {*own}) for of, ids in mentions]
            for number, own in chosen
        ]
        return torch.tensor(found, dtype=torch.bool).reshape(len(found), len(mentions))

    return {
        "tells_beside": rows((number, phrase.beside) for number, phrase in enumerate(said)),
        "tells_meant": rows(((number, phrase.meant) for number, phrase in enumerate(said)), others=True),
        "tells_by": rows((number, phrase.by) for number, phrase in situated),
        "tells_faced": rows((number, phrase.faced) for number, phrase in situated),
    }


def _rows(chosen: Sequence[Iterable[int]], row_of: Mapping[int, int], count: int) -> torch.Tensor:
    """(M, count) bool: the proposals' rows of each of M choices of object ids."""
    rows = torch.zeros(len(chosen), count, dtype=torch.bool)
    for number, object_ids in enumerate(chosen):
        rows[number, [row_of[i] for i in object_ids]] = True
    return rows


def _asked(phrase: Phrase, objects: Named, naming: Naming) -> tuple[int, int]:
    """(label, attribute) number that a phrase asks for; NONE of what it does not."""
    if phrase.asks not in ("label", "attribute"):
        return NONE, NONE
    label, attribute = naming.numbers(objects, phrase.meant[0])
    return label if phrase.asks == "label" else NONE, attribute if phrase.asks == "attribute" else NONE


def _own_name(phrase: Phrase) -> tuple[int, ...]:
    """Whom the name (or point) stands for that a phrase gives what it means; () where it gives none."""
    return next((ids for ids in phrase.mentions if phrase.meant and {*ids} >= {*phrase.meant}), ())


def _called(phrase: Phrase, objects: Named, naming: Naming) -> tuple[int, int]:
    """(label, attribute) number of the name that a phrase gives what it means, perhaps with others; NONE of what that
    does not say."""
    ids = _own_name(phrase)
    numbers = [naming.numbers(objects, i) for i in ids] if ids != phrase.points else []
    return _shared(label for label, _ in numbers), _shared(attribute for _, attribute in numbers)


def _unlike(phrase: Phrase, objects: Named, naming: Naming) -> tuple[int, int]:
    """(label, NONE) number of what is beside, if that is not meant and what is meant has no name."""
    if not phrase.meant or phrase.stands or _own_name(phrase):
        return NONE, NONE
    return _shared(naming.numbers(objects, i)[0] for i in phrase.beside), NONE


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
    """Points of the objects in `rows`, as many of each: on its surface, or its centre; and whose each is."""
    owners = [row for row in rows for _ in range(-(-POINTS // len(rows)))]
    on_surface = _ON_SURFACE if inputs.token_points.shape[-2] == 1 else 0.0
    cells = inputs.token_points.reshape(inside.shape[1], -1)[:, :3]
    points = []
    for row in owners:
        there = inside[row].nonzero()[:, 0].tolist()
        point = cells[rng.choice(there)] if rng.random() < on_surface else inputs.proposals[row, :3]
        points.append([float(v) + rng.gauss(0, _JITTER_M) for v in point])
    return torch.tensor(points).reshape(-1, 3), owners


def _shown_things(
    inputs: SceneInputs,
    inside: torch.Tensor,
    rows: Sequence[int],
    columns: torch.Tensor,
    objects: Named,
    naming: Naming,
) -> dict[str, torch.Tensor]:
    """Of the cells that show one of the objects in `rows`, and no other of these: column, place, and what it is."""
    of_rows = inside[rows]
    cells = (of_rows.sum(0) == 1).nonzero()[:, 0]
    owners = torch.tensor(rows, dtype=torch.long)[of_rows[:, cells].int().argmax(0)] if len(cells) else cells
    points = inputs.token_points.float().flatten(0, 2)[cells]
    wanted = [naming.numbers(objects, int(inputs.proposal_ids[row])) for row in owners]
    return {
        "shown_columns": columns[cells],
        "shown_points": points[:, 0] if points.shape[1] == 1 else inputs.proposals[owners, :3].float(),
        "shown_wanted": torch.tensor(wanted).reshape(-1, 2),
    }


def _cell_columns(inputs: SceneInputs, processor: Video3DProcessor) -> torch.Tensor:
    """(C,) the column of each cell of the grids (frames, rows, columns) in the sequence that the model makes."""
    frames, side = inputs.token_points.shape[:2]
    numbers = torch.arange(float(frames * side * side)).reshape(frames, side, side, 1)
    order = lay_out(numbers, torch.tensor([-1.0]), processor.config.layout)[:, 0]
    columns = (order >= 0).nonzero()[:, 0]
    return columns[order[columns].argsort()] + processor.prefix_ids().index(IMAGE_ID)
