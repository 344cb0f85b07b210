"""Stages of a training run: what trains, on which data, with which optimizer.

A fine-tuning run has one stage. A model trained from scratch may need others before it; their checkpoints lie in a
folder of their own and are kept until the whole run has ended, so that an interrupted run resumes in the stage where it
stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.training.precision import precision_arguments
from video3d_plugin.training.processes import scenes_per_process

if TYPE_CHECKING:
    from transformers import Trainer, TrainerState

    from video3d_plugin.training.settings import TrainSettings

_WARMUP_STEPS = 50
_FOLDER = "stages"


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    The last stage of a run takes its length, batch size and schedule from the settings. The stages before it have
    `steps` and `scenes_per_step` of their own and a linear schedule, in float32.

    Attributes:
        name: Shown at the progress bar, and the name of the folder for the stage's checkpoints.
        module: What trains: the model, or a module that holds it or parts of it. `forward(**batch)` returns a mapping
            with "loss".
        dataset: Items of one scene each. `set_epoch(epoch)` is called at every epoch if the dataset has it.
        collate: Makes a batch of a list of items.
        make_optimizer: Builds the optimizer when the stage begins.
        questions: Questions in an epoch, for the report.
        steps: Optimizer steps; not used by the last stage.
        scenes_per_step: Items in a step, over all processes; not used by the last stage.
        context: Entered before the optimizer is built and left when the stage has ended.
    """

    name: str
    module: torch.nn.Module
    dataset: Any
    collate: Callable[[list[Any]], dict[str, Any]]
    make_optimizer: Callable[[], torch.optim.Optimizer]
    questions: int = 0
    steps: int = 0
    scenes_per_step: int = 1
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


def run_stage(stage: Stage, output: str | Path, settings: TrainSettings, *, resume: bool = False) -> float:
    """Train one of the stages before the last.

    Args:
        stage: The stage.
        output: Folder of the whole run.
        settings: Seed, data-loading processes and steps between checkpoints.
        resume: Continue from the stage's newest checkpoint under `output`, if there is one.

    Returns:
        The last logged loss.
    """
    from transformers.trainer_utils import get_last_checkpoint

    from video3d_plugin.compat import numpy_random_state_allowed

    folder = Path(output) / _FOLDER / stage.name.replace(" ", "-")
    checkpoint = get_last_checkpoint(str(folder)) if resume and folder.is_dir() else None
    with stage.context():
        if checkpoint and (loss := _restore_finished(stage, Path(checkpoint))) is not None:
            return loss
        trainer = _trainer(stage, folder, settings)
        with numpy_random_state_allowed():
            trainer.train(resume_from_checkpoint=checkpoint)
    return _last_loss(trainer.state)


def _trainer(stage: Stage, folder: Path, settings: TrainSettings) -> Trainer:
    from transformers import Trainer, TrainingArguments

    from video3d_plugin.training.callbacks import EpochCallback, ZeroGradients, show_progress

    trainer = Trainer(
        model=stage.module,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=stage.steps,
            per_device_train_batch_size=scenes_per_process(stage.scenes_per_step, stage.name),
            lr_scheduler_type="linear",
            warmup_steps=min(_WARMUP_STEPS, stage.steps // 4),
            logging_steps=max(1, stage.steps // 20),
            save_strategy="steps",
            save_steps=settings.save_every,
            save_total_limit=1,
            seed=settings.seed,
            data_seed=settings.seed,
            dataloader_num_workers=settings.workers,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
            **precision_arguments("float32"),
        ),
        train_dataset=stage.dataset,
        data_collator=stage.collate,
        optimizers=(stage.make_optimizer(), None),
        callbacks=[ZeroGradients(), *([EpochCallback(stage.dataset)] if hasattr(stage.dataset, "set_epoch") else [])],
    )
    show_progress(trainer, stage.name)
    return trainer


def _restore_finished(stage: Stage, checkpoint: Path) -> float | None:
    """Load the weights of a stage that had ended and return its loss; None if it had not ended."""
    from safetensors.torch import load_model
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < stage.steps:
        return None
    load_model(stage.module, str(checkpoint / "model.safetensors"))
    return _last_loss(state)


def _last_loss(state: TrainerState) -> float:
    return [entry["loss"] for entry in state.log_history if "loss" in entry][-1]


def has_stage_checkpoints(output: Path) -> bool:
    """Return whether a run that did not end left checkpoints of its first stages in `output`."""
    return (output / _FOLDER).is_dir()


def remove_stage_checkpoints(output: Path) -> None:
    """Remove the checkpoints of the first stages from `output`, if there are any."""
    if has_stage_checkpoints(output):
        shutil.rmtree(output / _FOLDER)
