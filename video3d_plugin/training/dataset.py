"""Training questions grouped by scene: an item is one scene and a few of its questions.

Questions that share a scene share its pixels, its pass through the vision tower and its visual tokens. Every question
is seen exactly once an epoch, whatever the group size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from video3d_plugin.data.training_files import with_spatial_instruction
from video3d_plugin.errors import DataError
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.no_cast import NoCast
from video3d_plugin.sampling.registry import check_without_question
from video3d_plugin.scene import Question, SceneInputs

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.processing import Video3DProcessor

Group: TypeAlias = tuple[SceneInputs, list[Question]]
# (inputs, questions, rng, the new scene's id) -> the scene and its questions as they are seen this time
Augment: TypeAlias = Callable[[SceneInputs, list[Question], random.Random, str], Group]


def training_questions(folder: DataFolder, tasks: Sequence[str]) -> list[Question]:
    """Return the training questions of a data folder.

    Args:
        folder: A prepared data folder.
        tasks: Names of the benchmarks.

    Returns:
        The questions in the order of `tasks`.
    """
    return [question for task in tasks for question in folder.questions(task, "train")]


class SceneGroups(torch.utils.data.Dataset):
    """Groups of questions of one scene, regrouped every epoch.

    The order depends on `seed` and the epoch only.

    Args:
        folder: The prepared data folder with the scenes.
        questions: The questions to group.
        spec: The input sizes of the model.
        questions_per_scene: Questions in a group, at most.
        sampler: Name of the frame sampler.
        max_frames: Frames of a scene, at most.
        proposals: Boxes to choose from: "gt" or "pred".
        seed: Seeds the order of the questions, and `augment`.
        add_spatial_instruction: Put the reference's sentence on spatial relationships before every question.
        augment: Changes a scene and its questions each time they are read; None leaves them as they are.

    Raises:
        DataError: If there are no questions, `questions_per_scene` is below 1, or the sampler asks for the question.
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
        add_spatial_instruction: bool = False,
        augment: Augment | None = None,
    ):
        check_without_question(sampler, "training")
        if questions_per_scene < 1:
            raise DataError(f"questions_per_scene is {questions_per_scene}", remedy="use 1 or more")
        if not questions:
            raise DataError("no training questions", remedy="run `video3d prepare` on annotations of a train split")
        if add_spatial_instruction:
            questions = with_spatial_instruction(questions)
        self._folder, self._spec = folder, spec
        self._inputs: dict[str, Any] = {"sampler": sampler, "max_frames": max_frames, "proposals": proposals}
        self._size, self._seed, self._augment = questions_per_scene, seed, augment
        self._by_scene: dict[str, list[Question]] = {}
        for question in questions:
            self._by_scene.setdefault(question.scene_id, []).append(question)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle each scene's questions and divide them into groups; the number of groups stays the same."""
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
        if self._augment is None:
            return inputs, questions
        rng = random.Random(f"{self._seed}/{self._epoch}/{index}")
        return self._augment(inputs, questions, rng, f"{inputs.scene_id} augmented {index}")

    def questions(self) -> list[Question]:
        """Return all questions of the current epoch, in group order."""
        return [question for group in self._groups for question in group]


class GroupCollator:
    """Makes one batch for the model of several groups. A scene that occurs in several groups is included once.

    Args:
        processor: The model's processor.
        shared: Put all questions of a scene into one sequence, in which each question attends to the scene's prefix and
            to itself only. Loss and gradients are those of separate sequences; the prefix is computed once.
        as_is: Wrap pixels, coordinates and targets so that a trainer that casts its batch leaves them unchanged (see
            `model.no_cast`).
    """

    def __init__(self, processor: Video3DProcessor, *, shared: bool = True, as_is: bool = False):
        self._processor, self._shared, self._as_is = processor, shared, as_is

    def __call__(self, groups: Sequence[Group]) -> dict:
        scenes = {inputs.scene_id: inputs for inputs, _ in groups}
        questions = [question for _, group in groups for question in group]
        batch = self._processor(questions, list(scenes.values()), with_labels=True, shared=self._shared)
        wrapped = ("scenes", "coords", "targets") if self._as_is else ()
        return {name: NoCast(part) if name in wrapped else part for name, part in batch.items()}
