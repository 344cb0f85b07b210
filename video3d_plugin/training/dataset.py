"""Questions grouped by scene: one element is one scene and a few of its questions.

Several questions that share a scene share its pixels, its pass through the vision tower and its visual tokens.
Every question is seen exactly once an epoch, whatever the group size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.model.as_is import AsIs
from video3d_plugin.scene import InputsSpec, Question, SceneInputs
from video3d_plugin.training.moving import moved
from video3d_plugin.training.objects import Named, named_objects, object_questions

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.processing import Video3DProcessor

Group = tuple[SceneInputs, list[Question]]


def training_questions(folder: DataFolder, tasks: Sequence[str]) -> list[Question]:
    """The training questions of all `tasks`, task by task."""
    return [question for task in tasks for question in folder.questions(task, "train")]


def named_of(folder: DataFolder, questions: Sequence[Question]) -> dict[str, Named]:
    """The annotated objects of all scenes that `questions` are about, with the attributes that descriptions give."""
    scenes = [folder.scene(scene_id) for scene_id in sorted({question.scene_id for question in questions})]
    return named_objects(scenes, questions)


def all_object_questions(folder: DataFolder, named: dict[str, Named], rounds: int, seed: int) -> list[Question]:
    """See `training.objects`; `rounds` for each object."""
    if not rounds:
        return []
    return [q for i, objects in named.items() for q in object_questions(folder.scene(i), objects, rounds, seed)]


class SceneGroups(torch.utils.data.Dataset):
    """Groups of at most `questions_per_scene` questions of one scene, regrouped with every epoch.

    move: turn and shift each scene anew every time it is seen (see `training.moving`).
    The order depends on `seed` and the epoch only. `set_epoch` is called by the Trainer's data loader.
    """

    def __init__(
        self,
        folder: DataFolder,
        questions: Sequence[Question],
        spec: InputsSpec,
        *,
        questions_per_scene: int = 8,
        sampler: str = "uniform",
        max_frames: int = 32,
        proposals: str = "gt",
        seed: int = 0,
        move: bool = False,
    ):
        if questions_per_scene < 1:
            raise DataError(f"questions_per_scene is {questions_per_scene}", remedy="use 1 or more")
        if not questions:
            raise DataError("no training questions", remedy="run `video3d prepare` on annotations of a train split")
        self._folder, self._spec = folder, spec
        self._inputs = {"sampler": sampler, "max_frames": max_frames, "proposals": proposals}
        self._size, self._seed, self._move = questions_per_scene, seed, move
        self._by_scene: dict[str, list[Question]] = {}
        for question in questions:
            self._by_scene.setdefault(question.scene_id, []).append(question)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle each scene's questions and cut them into groups; the number of groups stays the same."""
        self._epoch = epoch
        rng = random.Random(f"{self._seed}/{epoch}")
        self._groups: list[list[Question]] = []
        for scene_id in sorted(self._by_scene):
            questions = list(self._by_scene[scene_id])
            rng.shuffle(questions)
            self._groups += [questions[i : i + self._size] for i in range(0, len(questions), self._size)]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> Group:
        questions = self._groups[index]
        inputs = self._folder.inputs(questions[0].scene_id, self._spec, **self._inputs)
        if not self._move:
            return inputs, questions
        rng = random.Random(f"{self._seed}/{self._epoch}/{index}")
        return moved(inputs, questions, rng, f"{inputs.scene_id} moved {index}")

    def questions(self) -> list[Question]:
        """All questions of the current epoch, in group order."""
        return [question for group in self._groups for question in group]


class GroupCollator:
    """Turns groups into one batch for the model; a scene that occurs in several groups is carried once.

    shared: one sequence a scene, in which each question attends to the scene's prefix and to itself only. Loss and
    gradients are those of the separate items; the prefix is computed once.
    as_is: coordinates and pixels pass trainers that would convert them (see `model.as_is`).
    """

    def __init__(self, processor: Video3DProcessor, *, shared: bool = True, as_is: bool = False):
        self._processor, self._shared, self._as_is = processor, shared, as_is

    def __call__(self, groups: Sequence[Group]) -> dict:
        scenes = {inputs.scene_id: inputs for inputs, _ in groups}
        questions = [question for _, group in groups for question in group]
        batch = self._processor(questions, list(scenes.values()), with_labels=True, shared=self._shared)
        kept = ("scenes", "coords", "targets") if self._as_is else ()
        return {name: AsIs(part) if name in kept else part for name, part in batch.items()}
