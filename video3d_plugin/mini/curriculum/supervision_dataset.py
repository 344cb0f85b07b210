"""The dataset of the attention supervision: scenes with their supervision, and questions beside them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.mini.curriculum.augment import turn_and_shift
from video3d_plugin.mini.curriculum.object_questions import ObjectNames, synonyms
from video3d_plugin.mini.curriculum.scene_supervision import (
    PHRASES,
    QUESTION_PHRASES,
    Supervision,
    scene_supervision,
)
from video3d_plugin.mini.curriculum.vocabulary import Vocabulary
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.training.dataset import Group, GroupCollator, SceneGroups

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.mini.settings import MiniSettings
    from video3d_plugin.model.processing import Video3DProcessor

FRAMES = 4  # of a scene: few, for many scenes in the same time; with two hardly any scene shows a label twice
PHRASES_BESIDE_QUESTIONS = 24
_QUESTIONS_TRIED = 2 * QUESTION_PHRASES  # of each task: many are about objects that a few frames do not show


class SupervisionDataset(torch.utils.data.Dataset):
    """One scene with its supervision, and optionally a group of benchmark questions about the same or another scene.

    Points, phrases, frames and the place of the scene are drawn again each time.

    Args:
        folder: The prepared data folder with the scenes.
        names: Attribute and label of objects, by scene. Scenes without objects are left out.
        vocabulary: The labels and attributes.
        processor: The model's processor.
        settings: Sampler, number of frames and seed.
        groups: Groups of questions to go with the scenes; None for supervision alone. With groups an item of the
            dataset is a group, and its scene is drawn at random.
        questions: Questions to make phrases of, with the metadata of `curriculum.annotations`.
    """

    def __init__(
        self,
        folder: DataFolder,
        names: Mapping[str, ObjectNames],
        vocabulary: Vocabulary,
        processor: Video3DProcessor,
        settings: MiniSettings,
        groups: SceneGroups | None = None,
        questions: Iterable[Question] = (),
    ):
        self._folder, self._names, self._vocabulary, self._processor = folder, names, vocabulary, processor
        self._inputs = {"sampler": settings.sampler, "max_frames": settings.max_frames, "proposals": "gt"}
        self._ids, self._seed = sorted(i for i, objects in names.items() if objects), settings.seed
        self.groups = groups
        self._questions: dict[str, dict[str, list[Question]]] = {}  # by scene, by task
        questions = list(questions)
        self._synonyms = synonyms(questions, names)
        for question in questions:
            self._questions.setdefault(question.scene_id, {}).setdefault(question.task, []).append(question)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Seed the epoch, of the groups as well."""
        self._epoch = epoch
        if self.groups is not None:
            self.groups.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._ids if self.groups is None else self.groups)

    def __getitem__(self, index: int) -> tuple[Supervision, Group | None]:
        rng = random.Random(f"{self._seed}/{self._epoch}/{index}")
        scene_id = self._ids[index] if self.groups is None else rng.choice(self._ids)
        inputs = self._folder.inputs(scene_id, self._processor.config.inputs_spec, **self._inputs)
        by_task = self._questions.get(scene_id, {}).values()
        drawn = [question for own in by_task for question in rng.sample(own, min(len(own), _QUESTIONS_TRIED))]
        inputs, drawn = turn_and_shift(some_frames(inputs, FRAMES, rng), drawn, rng, scene_id)
        supervision = scene_supervision(
            inputs,
            self._names[scene_id],
            self._vocabulary,
            self._processor,
            rng,
            drawn,
            PHRASES if self.groups is None else PHRASES_BESIDE_QUESTIONS,
            self._synonyms,
        )
        return supervision, None if self.groups is None else self.groups[index]


class SupervisionCollator:
    """Makes a batch of items of `SupervisionDataset`: the scenes' supervision, and their questions if they have some.

    Args:
        processor: The model's processor.
    """

    def __init__(self, processor: Video3DProcessor):
        self._collate = GroupCollator(processor)

    def __call__(self, items: Sequence[tuple[Supervision, Group | None]]) -> dict[str, Any]:
        groups = [group for _, group in items if group is not None]
        batch: dict[str, Any] = {"scenes": [supervision for supervision, _ in items]}
        return {**batch, "questions": self._collate(groups)} if groups else batch


def some_frames(inputs: SceneInputs, count: int, rng: random.Random) -> SceneInputs:
    """Return the scene with `count` of its frames, drawn at random, in their order."""
    if count >= len(inputs.frames):
        return inputs
    indices = sorted(rng.sample(range(len(inputs.frames)), count))
    parts = {name: getattr(inputs, name)[indices] for name in ("pixels", "token_points", "token_valid")}
    names = tuple(inputs.frames[index] for index in indices)
    return replace(inputs, frames=names, proposal_bits=inputs.proposal_bits[:, indices], **parts)
