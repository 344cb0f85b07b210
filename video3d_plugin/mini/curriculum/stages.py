"""The stages of training a small model, for `video3d_plugin.training.trainer.train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from video3d_plugin.mini.curriculum.annotations import annotated_questions
from video3d_plugin.mini.curriculum.attention_supervision import AttentionSupervision
from video3d_plugin.mini.curriculum.augment import turn_and_shift
from video3d_plugin.mini.curriculum.object_questions import names_in_folder, object_questions_in_folder
from video3d_plugin.mini.curriculum.supervision_dataset import SupervisionCollator, SupervisionDataset
from video3d_plugin.mini.curriculum.vision_pretraining import vision_stage
from video3d_plugin.mini.optimizer import build_optimizer
from video3d_plugin.scene import Question
from video3d_plugin.training.dataset import GroupCollator, SceneGroups
from video3d_plugin.training.stage import Stage

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.mini.settings import MiniSettings
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor


def curriculum_stages(
    model: Video3DForCausalLM, processor: Video3DProcessor, folder: DataFolder, settings: MiniSettings
) -> list[Stage]:
    """Return the stages that the settings ask for.

    1. "learning to see": vision tower and projector (`tower_steps`).
    2. "learning to look": attention supervision alone (`lookup_steps`).
    3. "looking and answering": attention supervision beside the short questions about objects (`object_steps`).
    4. "training": all questions, beside attention supervision if stage 2 or 3 had any.

    Args:
        model: The model to train.
        processor: Its processor.
        folder: A prepared data folder with training questions.
        settings: The run's settings.

    Raises:
        DataError: If the first three stages have no annotated objects to learn from.
    """
    questions = annotated_questions(folder, settings.tasks)
    asked = [question for question in questions for _ in range(settings.task_rounds.get(question.task, 1))]
    if not settings.uses_objects:
        return [_question_stage(model, processor, _groups(folder, model, asked, settings), settings)]
    names = names_in_folder(folder, questions)
    short = object_questions_in_folder(folder, names, settings.object_rounds, settings.seed)
    groups = _groups(folder, model, asked + short, settings)
    if not settings.supervises_attention:
        last, first = _question_stage(model, processor, groups, settings), []
    else:
        module = AttentionSupervision.of(model, processor, names)  # before the others: it draws its random weights

        def supervision(groups: SceneGroups | None) -> SupervisionDataset:
            return SupervisionDataset(folder, names, module.vocabulary, processor, settings, groups, questions)

        first = _supervision_stages(
            module, processor, supervision, lambda: _groups(folder, model, short, settings), settings
        )
        last = Stage(
            "training",
            module,
            supervision(groups),
            SupervisionCollator(processor),
            lambda: build_optimizer(module, _final_rates(settings)),
            questions=len(asked) + len(short),
        )
    if settings.tower_steps:
        first = [vision_stage(model, processor, folder, names, settings), *first]
    return [*first, last]


def _question_stage(model, processor, groups: SceneGroups, settings: MiniSettings) -> Stage:
    """The last stage without attention supervision."""
    rates, count = _final_rates(settings), len(groups.questions())
    return Stage(
        "training", model, groups, GroupCollator(processor), lambda: build_optimizer(model, rates), questions=count
    )


def _supervision_stages(module: AttentionSupervision, processor, supervision, short_groups, settings) -> list[Stage]:
    """The second and third stage, if they have steps."""

    def stage(name: str, dataset: SupervisionDataset, steps: int, scenes: int) -> Stage:
        collate = SupervisionCollator(processor)
        return Stage(
            name,
            module,
            dataset,
            collate,
            lambda: build_optimizer(module, settings),
            steps=steps,
            scenes_per_step=scenes,
        )

    stages = []
    if settings.lookup_steps:
        stages.append(stage("learning to look", supervision(None), settings.lookup_steps, settings.lookup_scenes))
    if settings.object_steps:
        dataset = supervision(short_groups())
        stages.append(stage("looking and answering", dataset, settings.object_steps, settings.scenes_per_step))
    return stages


def _groups(folder: DataFolder, model, questions: Sequence[Question], settings: MiniSettings) -> SceneGroups:
    return SceneGroups(
        folder,
        questions,
        model.config.inputs_spec,
        questions_per_scene=settings.questions_per_scene,
        sampler=settings.sampler,
        max_frames=settings.max_frames,
        proposals=settings.proposals,
        seed=settings.seed,
        add_spatial_instruction=settings.add_spatial_instruction,
        augment=turn_and_shift if settings.move_scenes else None,
    )


def _final_rates(settings: MiniSettings) -> MiniSettings:
    """The settings with the learning rates of the last stage."""
    factor, tower = settings.final_stage_lr_factor, settings.vision_tower_lr
    return replace(
        settings,
        learning_rate=factor * settings.learning_rate,
        muon_rate=factor * settings.muon_rate,
        vision_tower_lr=None if tower is None else factor * tower,
    )
