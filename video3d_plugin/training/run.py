"""One run under `transformers.Trainer`, unchanged: seeded, resumable, its loss curve kept beside the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.errors import DataError
from video3d_plugin.scene import Question
from video3d_plugin.tasks import BUILT_IN
from video3d_plugin.training.dataset import (
    GroupCollator,
    SceneGroups,
    all_object_questions,
    named_of,
    training_questions,
)
from video3d_plugin.training.lessons import LessonCollator, SceneLessons
from video3d_plugin.training.lookup import LookupLesson
from video3d_plugin.training.optimizer import build_optimizer
from video3d_plugin.training.precision import arguments_of, in_float32
from video3d_plugin.training.processes import part_of
from video3d_plugin.training.stage import forget_stages, has_stages, random_state_allowed, run_stage
from video3d_plugin.training.tower import teach_tower

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import Dataset

    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor


@dataclass(frozen=True)
class TrainSettings:
    """What a run depends on besides model and data. Defaults are the paper's (one epoch, cosine, 1e-5, tower 2e-6).

    steps            optimiser steps; None: `epochs` decides
    scenes_per_step  groups in a step, over all processes; each group is one scene with `questions_per_scene` questions
    scenes_at_once   how many of them a process computes at once, adding gradients up; None: all of its own
    optimizer        "adamw", or "muon": for small models from scratch, with `muon_rate` for the layers' matrices
    move_scenes      turn and shift a scene anew each time it is seen (`training.moving`)
    task_rounds      how many times an epoch asks a task's questions, of tasks that it does not ask once
    object_rounds    short questions about each annotated object (`training.objects`), so many times
    vision_tower_lr  None: as the rest; 0: the tower stays as it is
    tower_steps      steps in which a tower from scratch learns to see, before all else (`training.tower`)
    lookup_steps     then, in which a language model from scratch learns to look (`training.lookup`), and
                     goes on rehearsing it
    lookup_scenes    scenes in a step of that, over all processes
    object_steps     then, on the short questions as well, before the others join
    later_rates      factor of all rates from then on: what was learnt is to be kept
    """

    tasks: tuple[str, ...] = BUILT_IN
    epochs: float = 1.0
    steps: int | None = None
    scenes_per_step: int = 1
    scenes_at_once: int | None = None
    questions_per_scene: int = 8
    learning_rate: float = 1e-5
    vision_tower_lr: float | None = 2e-6
    warmup_fraction: float = 0.03
    weight_decay: float = 0.0
    max_frames: int = 32
    sampler: str = "uniform"
    proposals: str = "gt"
    seed: int = 0
    save_every: int = 500
    gradient_checkpointing: bool = False
    precision: str = "float32"
    workers: int = 0
    optimizer: str = "adamw"
    muon_rate: float = 0.02
    move_scenes: bool = False
    task_rounds: Mapping[str, int] = field(default_factory=dict)
    object_rounds: int = 0
    tower_steps: int = 0
    lookup_steps: int = 0
    lookup_scenes: int = 6
    object_steps: int = 0
    later_rates: float = 1.0

    @property
    def learns_objects(self) -> bool:
        """Whether any part of the run is about the annotated objects themselves."""
        return bool(self.tower_steps or self.lookup_steps or self.object_steps or self.object_rounds)

    @property
    def learns_to_look(self) -> bool:
        """Whether the language model is taught where to look; then it rehearses to the end of the run."""
        return bool(self.lookup_steps or self.object_steps)

    def __post_init__(self):
        if self.optimizer not in ("adamw", "muon"):
            raise DataError(f"no optimizer {self.optimizer!r}", remedy="known: adamw, muon")
        for name in ("steps", "epochs", "scenes_per_step", "scenes_at_once"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise DataError(f"{name} is {number}", remedy="give more than 0, or leave it out")


def train(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    folder: DataFolder,
    output: str | Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train `model` on the training questions of `folder`; the result in `output` loads with `load_model`.

    What trains is float32 meanwhile; the result is stored in what the model came in.

    Returns {"steps", "loss_first", "loss_last", "questions"}. The mean of the first and the last tenth of the
    logged losses is given, not single noisy values. With `resume`, continues from the newest checkpoint in `output`, of
    whichever stage it is.
    """
    from transformers import set_seed
    from transformers.trainer_utils import get_last_checkpoint

    output = Path(output)
    set_seed(settings.seed)
    checkpoint = get_last_checkpoint(str(output)) if resume and output.is_dir() else None
    if resume and checkpoint is None and not has_stages(output):
        raise DataError("nothing to resume", where=output, remedy="start without --resume")
    if settings.vision_tower_lr == 0:
        model.get_model().get_vision_tower().requires_grad_(False)
    with in_float32(model, frozen=settings.precision == "float32"):
        trainer, asked = _all_stages(model, processor, folder, output, settings, checkpoint, resume)
    if not settings.learns_to_look:  # else the Trainer's model is the lesson
        trainer.save_model(str(output))
    elif trainer.is_world_process_zero():
        model.save_pretrained(str(output))
    if trainer.is_world_process_zero():
        processor.save_pretrained(str(output))
        forget_stages(output)
    return _summary(output, settings, trainer, asked)


def _all_stages(model, processor, folder, output: Path, settings: TrainSettings, checkpoint: str | None, resume: bool):
    """The Trainer of the last stage after training, and how many questions an epoch of it asks. `checkpoint`: of the
    last stage, to go on from."""
    questions = training_questions(folder, settings.tasks)
    lesson, of_objects = None, []
    if settings.learns_objects:
        named = named_of(folder, questions)
        of_objects = all_object_questions(folder, named, settings.object_rounds, settings.seed)
        if settings.learns_to_look:
            lesson = LookupLesson.of(model, processor, named)
        if checkpoint is None:
            _first_stages(model, lesson, processor, folder, output, settings, named, questions, of_objects, resume)
    asked = [question for question in questions for _ in range(settings.task_rounds.get(question.task, 1))]
    groups = _groups(folder, model, asked + of_objects, settings)
    if lesson is None:
        trainer = _trainer(model, groups, GroupCollator(processor), output, settings)
    else:
        scenes = SceneLessons(folder, named, lesson.naming, processor, settings, groups, questions)
        trainer = _trainer(lesson, scenes, LessonCollator(processor), output, settings)
    with random_state_allowed():
        trainer.train(resume_from_checkpoint=checkpoint)
    return trainer, len(asked) + len(of_objects)


def _first_stages(
    model, lesson, processor, folder, output: Path, settings: TrainSettings, named, questions, of_objects, resume: bool
) -> None:
    """What a model from scratch learns before it is asked the benchmarks' questions. `resume`: as far as it was not yet
    learnt."""
    if settings.tower_steps:
        teach_tower(model, processor, folder, named, output, settings, resume)
    for steps, asked, what in (
        (settings.lookup_steps, None, "learning to look"),
        (settings.object_steps, of_objects, "looking and answering"),
    ):
        if steps:
            groups = None if asked is None else _groups(folder, model, asked, settings)
            scenes = SceneLessons(folder, named, lesson.naming, processor, settings, groups, questions)
            at_once = settings.lookup_scenes if asked is None else settings.scenes_per_step
            optimizer, collate = build_optimizer(lesson, settings), LessonCollator(processor)
            run_stage(lesson, scenes, collate, optimizer, steps, output, settings, what, at_once, resume)


def _groups(folder: DataFolder, model, questions: list[Question], settings: TrainSettings) -> SceneGroups:
    return SceneGroups(
        folder,
        questions,
        model.config.inputs_spec,
        questions_per_scene=settings.questions_per_scene,
        sampler=settings.sampler,
        max_frames=settings.max_frames,
        proposals=settings.proposals,
        seed=settings.seed,
        move=settings.move_scenes,
    )


def _trainer(model: nn.Module, items: Dataset, collate: Callable[[Any], Any], output: Path, settings: TrainSettings):
    from transformers import Trainer

    from video3d_plugin.training.epochs import TellEpoch
    from video3d_plugin.training.progress import show_progress

    trainer = Trainer(
        model=model,
        args=_arguments(output, settings, len(items)),
        train_dataset=items,
        data_collator=collate,
        optimizers=(build_optimizer(model, _later(settings)), None),
        callbacks=[TellEpoch(items)],
    )
    show_progress(trainer)
    return trainer


def _later(settings: TrainSettings) -> TrainSettings:
    """The settings with the rates of the last stage."""
    factor, tower = settings.later_rates, settings.vision_tower_lr
    return replace(
        settings,
        learning_rate=factor * settings.learning_rate,
        muon_rate=factor * settings.muon_rate,
        vision_tower_lr=None if tower is None else factor * tower,
    )


def _arguments(output: Path, settings: TrainSettings, groups: int):
    import torch
    from transformers import TrainingArguments

    per_epoch = -(-groups // settings.scenes_per_step)
    steps = max(1, round(per_epoch * settings.epochs)) if settings.steps is None else settings.steps
    own = part_of(settings.scenes_per_step)
    at_once = settings.scenes_at_once or own
    if own % at_once:
        raise DataError(
            f"{own} scenes of a step cannot be taken {at_once} at once",
            remedy="choose --scenes-at-once so that they can",
        )
    return TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=own // at_once,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(steps * settings.warmup_fraction),
        weight_decay=settings.weight_decay,
        logging_steps=max(1, steps // 100),
        save_steps=settings.save_every,
        save_total_limit=1,
        save_strategy="steps",
        seed=settings.seed,
        data_seed=settings.seed,
        **arguments_of(settings.precision),
        dataloader_num_workers=settings.workers,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        **({"gradient_checkpointing": True} if settings.gradient_checkpointing else {}),
    )


def _summary(output: Path, settings: TrainSettings, trainer, questions: int) -> dict[str, Any]:
    losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    tenth = max(1, len(losses) // 10)
    summary = {
        "steps": trainer.state.global_step,
        "questions": questions,
        "loss_first": sum(loss for _, loss in losses[:tenth]) / tenth if losses else None,
        "loss_last": sum(loss for _, loss in losses[-tenth:]) / tenth if losses else None,
        "settings": asdict(settings),
        "losses": losses,
    }
    if trainer.is_world_process_zero():
        (output / "training.json").write_text(json.dumps(summary, indent=1))
        plot_losses(losses, output / "training.png")
    return summary


def plot_losses(losses: list[tuple[int, float]], path: Path) -> bool:
    """Save the curve as a picture; False where matplotlib (extra `train`) is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*losses, strict=True) if losses else ([], []), linewidth=1)
    axes.set(xlabel="step", ylabel="loss (mean over items)", yscale="log")
    figure.savefig(path, dpi=120)
    return True
