"""One training run under an unmodified `transformers.Trainer`: seeded, resumable, with its loss curve."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from video3d_plugin.errors import DataError, Interrupted
from video3d_plugin.files.json import read_json
from video3d_plugin.training.dataset import GroupCollator, SceneGroups, training_questions
from video3d_plugin.training.optimizer import build_adamw
from video3d_plugin.training.precision import float32_master_weights, precision_arguments
from video3d_plugin.training.processes import scenes_per_process
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.stage import (
    Stage,
    has_stage_checkpoints,
    remove_stage_checkpoints,
    run_stage,
)

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

# (model, processor, folder, settings) -> the stages of a run, in order
StagesFactory: TypeAlias = Callable[
    ["Video3DForCausalLM", "Video3DProcessor", "DataFolder", Any],
    Sequence[Stage],
]


def fine_tuning_stages(
    model: Video3DForCausalLM, processor: Video3DProcessor, folder: DataFolder, settings: TrainSettings
) -> list[Stage]:
    """Return the one stage of a fine-tuning run: all training questions, AdamW.

    Args:
        model: The model to train.
        processor: Its processor.
        folder: A prepared data folder with training questions.
        settings: The run's settings.

    Returns:
        The stage, as a list of one.
    """
    groups = SceneGroups(
        folder,
        training_questions(folder, settings.tasks),
        model.config.inputs_spec,
        questions_per_scene=settings.questions_per_scene,
        sampler=settings.sampler,
        max_frames=settings.max_frames,
        proposals=settings.proposals,
        seed=settings.seed,
        add_spatial_instruction=settings.add_spatial_instruction,
    )
    collate, count = GroupCollator(processor), len(groups.questions())
    return [Stage("training", model, groups, collate, lambda: build_adamw(model, settings), questions=count)]


def train(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    folder: DataFolder,
    output: str | Path,
    settings: TrainSettings,
    *,
    stages: StagesFactory = fine_tuning_stages,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a model on the training questions of a data folder.

    Trainable weights are kept in float32 during the run; the result is stored in the format that the model came in.

    Args:
        model: The model, changed in place.
        processor: Its processor.
        folder: A prepared data folder with training questions.
        output: Folder for checkpoints, loss curve and result. `load_model` loads the result from there.
        settings: The run's settings.
        stages: Returns the stages of the run; called once the random state is seeded. The last stage is the run
            proper; those before it are trained first. By default one stage that fine-tunes on all questions.
        resume: Continue from the newest checkpoint in `output`, of whichever stage it is. Of a run that has ended,
            nothing is changed; one that was stopped after its last step gets its result.

    Returns:
        "steps", "questions" (of an epoch), "loss_first" and "loss_last" (means of the first and the last tenth of the
        logged losses, which are less noisy than single values), "settings" and "losses". The same is written to
        training.json.

    Raises:
        DataError: If there is nothing to resume, or the data have no training questions.
        Interrupted: Ctrl-C; it says whether there is a checkpoint to resume from.
    """
    from transformers import set_seed
    from transformers.trainer_utils import get_last_checkpoint

    from video3d_plugin.compat import numpy_random_state_allowed

    output = Path(output)
    set_seed(settings.seed)
    checkpoint = get_last_checkpoint(str(output)) if resume and output.is_dir() else None
    if resume and checkpoint is None and not has_stage_checkpoints(output):
        raise DataError("nothing to resume", where=output, remedy="start without --resume")
    if settings.vision_tower_lr == 0:
        model.get_model().get_vision_tower().requires_grad_(False)
    with float32_master_weights(model, frozen=settings.precision == "float32"), _interruption_explained(output):
        *first, last = stages(model, processor, folder, settings)
        if checkpoint is None:  # else the first stages had ended
            for stage in first:
                run_stage(stage, output, settings, resume=resume)
        with last.context(), numpy_random_state_allowed():
            trainer = make_trainer(last, output, settings)
            if checkpoint is None or not _restore_ended(trainer, Path(checkpoint)):
                trainer.train(resume_from_checkpoint=checkpoint)
            elif (written := _summary_of(output, trainer.state.global_step)) is not None:
                return written
    if last.module is model:
        trainer.save_model(str(output))
    elif trainer.is_world_process_zero():
        model.save_pretrained(str(output))
    if trainer.is_world_process_zero():
        processor.save_pretrained(str(output))
        remove_stage_checkpoints(output)
    return _write_summary(output, settings, trainer, last.questions)


@contextmanager
def _interruption_explained(output: Path) -> Iterator[None]:
    """Say at an interruption whether the run can be resumed."""
    from transformers.trainer_utils import get_last_checkpoint

    try:
        yield
    except KeyboardInterrupt as stop:
        checkpoint = get_last_checkpoint(str(output)) if output.is_dir() else None
        if checkpoint is None and not has_stage_checkpoints(output):
            raise Interrupted("no checkpoint had been saved") from stop
        name = "one of an earlier stage" if checkpoint is None else Path(checkpoint).name
        raise Interrupted(f"the same command with --resume goes on from the last checkpoint ({name})") from stop


def _restore_ended(trainer: Trainer, checkpoint: Path) -> bool:
    """Load weights and state of the checkpoint of a run's last step; return whether it is one.

    `Trainer.train` would take one more step from there.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < trainer.args.max_steps:
        return False
    trainer._load_from_checkpoint(str(checkpoint))
    trainer.state = state
    return True


def _summary_of(output: Path, steps: int) -> dict[str, Any] | None:
    """Return training.json if it is that of a run of so many steps: it is written last."""
    path = output / "training.json"
    summary = read_json(path, dict) if path.is_file() else {}
    return summary if summary.get("steps") == steps else None


def make_trainer(stage: Stage, output: Path, settings: TrainSettings) -> Trainer:
    """Return the `transformers.Trainer` of a run's last stage.

    Args:
        stage: The stage.
        output: Folder for its checkpoints.
        settings: Length, batch size, schedule and precision.
    """
    from transformers import Trainer

    from video3d_plugin.training.callbacks import EpochCallback, ZeroGradients, show_progress

    trainer = Trainer(
        model=stage.module,
        args=training_arguments(output, settings, len(stage.dataset)),
        train_dataset=stage.dataset,
        data_collator=stage.collate,
        optimizers=(stage.make_optimizer(), None),
        callbacks=[EpochCallback(stage.dataset), ZeroGradients()],
    )
    show_progress(trainer, stage.name)
    return trainer


def training_arguments(output: Path, settings: TrainSettings, groups: int) -> TrainingArguments:
    """Translate settings into `transformers.TrainingArguments`.

    Args:
        output: Folder for checkpoints.
        settings: The run's settings.
        groups: Groups in an epoch, over all processes.

    Raises:
        DataError: If a step's scenes cannot be divided evenly among processes, or into forward passes.
    """
    import torch
    from transformers import TrainingArguments

    steps_per_epoch = -(-groups // settings.scenes_per_step)
    steps = max(1, round(steps_per_epoch * settings.epochs)) if settings.steps is None else settings.steps
    share = scenes_per_process(settings.scenes_per_step)
    at_once = settings.scenes_at_once or share
    if share % at_once:
        raise DataError(
            f"{share} scenes of a step cannot be taken {at_once} at once",
            remedy="choose --scenes-at-once so that they can",
        )
    # Re-entrant checkpointing would give DDP the vision tower's gradients once for each scene.
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    optional: dict[str, Any] = checkpointing if settings.gradient_checkpointing else {}
    return TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=share // at_once,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(math.ceil(steps * settings.warmup_fraction), steps - 1),  # one step must not have rate 0
        weight_decay=settings.weight_decay,
        logging_steps=max(1, steps // 100),
        save_steps=settings.save_every,
        save_total_limit=1,
        save_strategy="steps",
        seed=settings.seed,
        data_seed=settings.seed,
        **precision_arguments(settings.precision),
        dataloader_num_workers=settings.workers,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        **optional,
    )


def _write_summary(output: Path, settings: TrainSettings, trainer: Trainer, questions: int) -> dict[str, Any]:
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


def plot_losses(losses: Sequence[tuple[float, float]], path: Path) -> bool:
    """Save the loss curve as a picture.

    Args:
        losses: (step, loss) pairs.
        path: The PNG file.

    Returns:
        False if matplotlib (extra `train`) is not installed and nothing was written.
    """
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
