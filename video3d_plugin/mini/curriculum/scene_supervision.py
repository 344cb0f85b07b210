"""Targets of the attention supervision for one scene: where tokens should attend, and what their states should tell.

`scene_supervision` returns tensors for K points, P phrases with M names, W mentions (names, then <coord>s) and S
situations, in one row of L tokens; the scene has N proposals and C cells of its feature grids, J points are mentioned
in phrases. Columns are counted from the first token after the scene's prefix, but for those of cells.

scene: The model's inputs.
ids, segments (L,): Token ids, and the item of each token (0: the prefix).
points (K + J, 3): World, metres.
labels (K + M, 2): Label and attribute number at each point (`Vocabulary`); of each name the attribute only.
cells (K + M, C) bool: Cells that each point and each name should attend to.
named (M, N) bool: Proposals that each name denotes.
target (P, N) bool: Proposals that each phrase denotes.
target_cells (P, C) bool: Cells that show them.
has_target (P,) bool: Whether the target is known; it may be known to be empty.
anchor (P, N) bool: Proposals whose place identifies the target.
is_farthest (P,) bool: Whether the target is the farthest from the anchor.
target_labels (P, 2): Numbers of the label and attribute by which the phrase names its target.
anchor_labels (P, 2): Number of the anchor's label, where the phrase has no name for its target.
asked_labels (P, 2): Numbers of the label or attribute that the phrase asks for.
cell_columns (C,): Column of each cell, counted from the first token of the row.
shown_columns (D,): Columns of cells that show exactly one object, in the same count.
shown_points (D, 3): Their points, world, metres; the object's centre where a cell has several points.
shown_labels (D, 2): Numbers of the label and attribute of the object.
point_columns (K,), name_columns (M,), end_columns (P,): Tokens of points, last tokens of names, and the tokens
    whose states denote the targets.
viewpoint (S, 2, 3): Where the asker stands and a point ahead, world, metres.
situation_columns (S,), situated (S,): Last tokens of situations, and the numbers of their phrases.
mention_columns (W,): Last tokens of each phrase's names, then its <coord>s.
anchor_mentions, target_mentions (P, W) bool: Mentions of the anchor alone; mentions that include the target.
standing_at_mentions, facing_mentions (S, W) bool: Mentions of the object that the asker stands at; of those
    that they face.
answer_columns (A,), answers (A,), answer_shares (A,): Tokens of answers to questions: columns of the tokens
    before, token ids, and one over the number of tokens of the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F

from video3d_plugin.geometry.boxes import unpack_patches
from video3d_plugin.mini.curriculum.object_questions import ObjectNames
from video3d_plugin.mini.curriculum.phrase_rows import phrase_rows
from video3d_plugin.mini.curriculum.phrases import Phrase, phrases, with_synonyms
from video3d_plugin.mini.curriculum.question_phrases import NO_SYNONYMS, Synonyms, question_phrases
from video3d_plugin.mini.curriculum.vocabulary import NONE, Vocabulary
from video3d_plugin.model.sequence import IMAGE_ID
from video3d_plugin.model.vision import flatten_with_newlines
from video3d_plugin.scene import Question, SceneInputs

if TYPE_CHECKING:
    from video3d_plugin.model.processing import Video3DProcessor

Supervision: TypeAlias = dict[str, Any]  # its entries: see the module
POINTS, PHRASES = 16, 48  # of a scene
QUESTION_PHRASES = 14  # of the phrases, at most: made from the scene's questions
_MARGIN_M = 0.1  # around a box: a cell's point is the mean of what the cell shows
_JITTER_M = 0.03
_P_ON_SURFACE = 0.6  # share of the points; the others are centres of boxes, as Scan2Cap gives them


def scene_supervision(
    inputs: SceneInputs,
    objects: ObjectNames,
    vocabulary: Vocabulary,
    processor: Video3DProcessor,
    rng: random.Random,
    questions: Sequence[Question] = (),
    count: int = PHRASES,
    synonyms: Synonyms = NO_SYNONYMS,
) -> Supervision:
    """Draw points and phrases about the visible objects of a scene, and make their targets.

    Args:
        inputs: The scene.
        objects: Attribute and label of its objects.
        vocabulary: The labels and attributes.
        processor: The model's processor.
        rng: Draws points and phrases.
        questions: Questions about the scene; the first QUESTION_PHRASES that can be are phrases.
        count: Number of phrases; those that are not made from questions are generated.
        synonyms: Other words by label.

    Returns:
        The tensors that the module lists.
    """
    boxes, ids = inputs.proposals, inputs.proposal_ids.tolist()
    inside = _visible_cells(inputs, processor.config.inputs_spec.object_grid_side)
    is_visible = inside.any(1).tolist()
    row_of = {object_id: row for row, object_id in enumerate(ids) if object_id in objects and is_visible[row]}
    rows = sorted(row_of.values())
    points, owners = _draw_points(inputs, inside, rows, rng)
    box_of = {object_id: boxes[row].tolist() for object_id, row in row_of.items()}
    phrase_list = question_phrases(questions, objects, box_of, row_of, QUESTION_PHRASES, synonyms)
    generated = phrases(objects, box_of, sorted(row_of), count - len(phrase_list), rng)
    phrase_list += [with_synonyms(phrase, objects, synonyms, rng) for phrase in generated]
    names = [ids_of_name for phrase in phrase_list for _, ids_of_name in phrase.names]
    named = _one_hot(names, row_of, len(boxes))
    target = _one_hot([phrase.target for phrase in phrase_list], row_of, len(boxes))
    mentioned_points = torch.tensor([box_of[i][:3] for phrase in phrase_list for i in phrase.points]).reshape(-1, 3)
    labels = [vocabulary.numbers(objects, ids[owner]) for owner in owners]
    labels += [(NONE, _common(vocabulary.numbers(objects, i)[1] for i in name)) for name in names]
    columns = _cell_columns(inputs, processor)
    return {
        "scene": inputs.tensors(),
        "points": torch.cat([points, mentioned_points]),
        "labels": torch.tensor(labels).reshape(-1, 2),
        "cells": torch.cat([inside[torch.tensor(owners, dtype=torch.long)], named.float() @ inside.float() > 0]),
        "named": named,
        "target": target,
        "target_cells": target.float() @ inside.float() > 0,
        "anchor": _one_hot([phrase.anchor for phrase in phrase_list], row_of, len(boxes)),
        "cell_columns": columns,
        **_asked(phrase_list, objects, vocabulary),
        **_shown_objects(inputs, inside, rows, columns, objects, vocabulary),
        **_mentions(phrase_list),
        **phrase_rows(len(points), phrase_list, processor),
    }


def _asked(phrase_list: Sequence[Phrase], objects: ObjectNames, vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
    """The entries of `scene_supervision` that say what each phrase asks for, and from where."""
    has_target = [(phrase.asks is None and not phrase.viewpoint) or bool(phrase.target) for phrase in phrase_list]
    labels = {"target": _target_labels, "anchor": _anchor_labels, "asked": _asked_labels}
    viewpoints = [phrase.viewpoint[1:] for phrase in phrase_list if phrase.viewpoint]
    return {
        "has_target": torch.tensor(has_target).bool(),
        "is_farthest": torch.tensor([phrase.is_farthest for phrase in phrase_list]).bool(),
        "viewpoint": torch.tensor(viewpoints).reshape(-1, 2, 3),
        **{
            f"{name}_labels": torch.tensor([of(phrase, objects, vocabulary) for phrase in phrase_list]).reshape(-1, 2)
            for name, of in labels.items()
        },
    }


def _mentions(phrase_list: Sequence[Phrase]) -> dict[str, torch.Tensor]:
    """The entries of `scene_supervision` that end in "_mentions"."""
    mentions = [(number, set(ids)) for number, phrase in enumerate(phrase_list) for ids in phrase.mentions]
    situated = [(number, phrase) for number, phrase in enumerate(phrase_list) if phrase.viewpoint]

    def rows(choices: Iterable[tuple[int, Sequence[int]]], with_others: bool = False) -> torch.Tensor:
        result = [
            [of == number and bool(own) and (ids >= {*own} if with_others else ids <= {*own}) for of, ids in mentions]
            for number, own in choices
        ]
        return torch.tensor(result, dtype=torch.bool).reshape(len(result), len(mentions))

    return {
        "anchor_mentions": rows((number, phrase.anchor) for number, phrase in enumerate(phrase_list)),
        "target_mentions": rows(
            ((number, phrase.target) for number, phrase in enumerate(phrase_list)), with_others=True
        ),
        "standing_at_mentions": rows((number, phrase.standing_at) for number, phrase in situated),
        "facing_mentions": rows((number, phrase.facing) for number, phrase in situated),
    }


def _one_hot(choices: Sequence[Iterable[int]], row_of: Mapping[int, int], count: int) -> torch.Tensor:
    """(M, count) bool: the proposals of each of M collections of object ids."""
    rows = torch.zeros(len(choices), count, dtype=torch.bool)
    for number, object_ids in enumerate(choices):
        rows[number, [row_of[i] for i in object_ids]] = True
    return rows


def _asked_labels(phrase: Phrase, objects: ObjectNames, vocabulary: Vocabulary) -> tuple[int, int]:
    """Numbers of the (label, attribute) that a phrase asks for; NONE of what it does not."""
    if phrase.asks not in ("label", "attribute"):
        return NONE, NONE
    label, attribute = vocabulary.numbers(objects, phrase.target[0])
    return label if phrase.asks == "label" else NONE, attribute if phrase.asks == "attribute" else NONE


def _name_of_target(phrase: Phrase) -> tuple[int, ...]:
    """The objects that the phrase's name (or point) for its target denotes; () if it has none."""
    return next((ids for ids in phrase.mentions if phrase.target and {*ids} >= {*phrase.target}), ())


def _target_labels(phrase: Phrase, objects: ObjectNames, vocabulary: Vocabulary) -> tuple[int, int]:
    """Numbers of the (label, attribute) by which a phrase names its target, perhaps with others; NONE if it states
    none."""
    ids = _name_of_target(phrase)
    numbers = [vocabulary.numbers(objects, i) for i in ids] if ids != phrase.points else []
    return _common(label for label, _ in numbers), _common(attribute for _, attribute in numbers)


def _anchor_labels(phrase: Phrase, objects: ObjectNames, vocabulary: Vocabulary) -> tuple[int, int]:
    """(number of the anchor's label, NONE), if the phrase has a target without a name."""
    if not phrase.target or phrase.viewpoint or _name_of_target(phrase):
        return NONE, NONE
    return _common(vocabulary.numbers(objects, i)[0] for i in phrase.anchor), NONE


def _common(numbers: Iterable[int]) -> int:
    """The number that all are, or NONE."""
    distinct = set(numbers)
    return distinct.pop() if len(distinct) == 1 else NONE


def _visible_cells(inputs: SceneInputs, side: int) -> torch.Tensor:
    """(N, C) bool: the cells that show each proposal.

    A cell shows a proposal if its point lies in the box. Where a cell has its least and greatest coordinates instead,
    which depth holes move to the camera, it does if one of its patches lies in the box. `side` is that of the patch
    grid of `proposal_bits`.
    """
    if inputs.token_points.shape[-2] > 1:
        patches = unpack_patches(inputs.proposal_bits, side).float()
        return F.adaptive_max_pool2d(patches, inputs.token_points.shape[1]).flatten(1) > 0
    cells, boxes = inputs.token_points.float().reshape(-1, 3), inputs.proposals
    return ((cells[None] - boxes[:, None, :3]).abs() <= boxes[:, None, 3:] / 2 + _MARGIN_M).all(-1)


def _draw_points(
    inputs: SceneInputs, inside: torch.Tensor, rows: Sequence[int], rng: random.Random
) -> tuple[torch.Tensor, list[int]]:
    """((K, 3) points on the surface or in the centre of the proposals `rows`, as many of each; the row of each)."""
    owners = [row for row in rows for _ in range(-(-POINTS // len(rows)))]
    on_surface = _P_ON_SURFACE if inputs.token_points.shape[-2] == 1 else 0.0
    cells = inputs.token_points.reshape(inside.shape[1], -1)[:, :3]
    points = []
    for row in owners:
        candidates = inside[row].nonzero()[:, 0].tolist()
        point = cells[rng.choice(candidates)] if rng.random() < on_surface else inputs.proposals[row, :3]
        points.append([float(v) + rng.gauss(0, _JITTER_M) for v in point])
    return torch.tensor(points).reshape(-1, 3), owners


def _shown_objects(
    inputs: SceneInputs,
    inside: torch.Tensor,
    rows: Sequence[int],
    columns: torch.Tensor,
    objects: ObjectNames,
    vocabulary: Vocabulary,
) -> dict[str, torch.Tensor]:
    """The entries of `scene_supervision` that begin with "shown_": the cells that show exactly one of the proposals."""
    of_rows = inside[rows]
    cells = (of_rows.sum(0) == 1).nonzero()[:, 0]
    owners = torch.tensor(rows, dtype=torch.long)[of_rows[:, cells].int().argmax(0)] if len(cells) else cells
    points = inputs.token_points.float().flatten(0, 2)[cells]
    labels = [vocabulary.numbers(objects, int(inputs.proposal_ids[row])) for row in owners]
    return {
        "shown_columns": columns[cells],
        "shown_points": points[:, 0] if points.shape[1] == 1 else inputs.proposals[owners, :3].float(),
        "shown_labels": torch.tensor(labels).reshape(-1, 2),
    }


def _cell_columns(inputs: SceneInputs, processor: Video3DProcessor) -> torch.Tensor:
    """(C,): the column of each cell of the grids (frames, rows, columns) in the sequence that the model assembles."""
    frames, side = inputs.token_points.shape[:2]
    numbers = torch.arange(float(frames * side * side)).reshape(frames, side, side, 1)
    order = flatten_with_newlines(numbers, torch.tensor([-1.0]), processor.config.layout)[:, 0]
    columns = (order >= 0).nonzero()[:, 0]
    return columns[order[columns].argsort()] + processor.prefix_ids().index(IMAGE_ID)
