"""A stage before training proper: a lesson of its own under `transformers.Trainer`.

Its checkpoints lie in a folder of their own and are kept until the whole run has ended: a run that is interrupted goes
on in the stage where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.training.precision import arguments_of
from video3d_plugin.training.processes import part_of

if TYPE_CHECKING:
    from video3d_plugin.training.run import TrainSettings

_WARMUP = 50
_FOLDER = "stages"


def run_stage(
    lesson: torch.nn.Module,  # forward(**batch) -> {"loss": ...}
    scenes: torch.utils.data.Dataset,
    collate: Callable[[list[Any]], dict[str, Any]],
    optimizer: torch.optim.Optimizer,
    steps: int,
    output: str | Path,
    settings: TrainSettings,
    what: str,
    scenes_per_step: int = 2,
    resume: bool = False,
) -> float:
    """Train for `steps` steps of `scenes_per_step` scenes; returns the last logged loss. `what` names bar and folder.

    resume   go on from the stage's newest checkpoint under `output`, if there is one
    """
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    from video3d_plugin.training.epochs import TellEpoch
    from video3d_plugin.training.progress import show_progress

    folder = Path(output) / _FOLDER / what.replace(" ", "-")
    checkpoint = get_last_checkpoint(str(folder)) if resume and folder.is_dir() else None
    if checkpoint and (loss := _whole(lesson, Path(checkpoint), steps)) is not None:
        return loss
    trainer = Trainer(
        model=lesson,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=part_of(scenes_per_step),
            lr_scheduler_type="linear",
            warmup_steps=min(_WARMUP, steps // 4),
            logging_steps=max(1, steps // 20),
            save_strategy="steps",
            save_steps=settings.save_every,
            save_total_limit=1,
            seed=settings.seed,
            data_seed=settings.seed,
            dataloader_num_workers=settings.workers,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
            **arguments_of("float32"),
        ),
        train_dataset=scenes,
        data_collator=collate,
        optimizers=(optimizer, None),
        callbacks=[TellEpoch(scenes)] if hasattr(scenes, "set_epoch") else [],
    )
    show_progress(trainer, what)
    with random_state_allowed():
        trainer.train(resume_from_checkpoint=checkpoint)
    return _last_loss(trainer.state)


def _whole(lesson: torch.nn.Module, checkpoint: Path, steps: int) -> float | None:
    """Take over what a stage that had ended left, and return its loss; None where it had not."""
    from safetensors.torch import load_model
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < steps:
        return None
    load_model(lesson, str(checkpoint / "model.safetensors"))
    return _last_loss(state)


def _last_loss(state) -> float:
    return [entry["loss"] for entry in state.log_history if "loss" in entry][-1]


def has_stages(output: Path) -> bool:
    """Whether a run that did not end left checkpoints of its stages."""
    return (output / _FOLDER).is_dir()


def forget_stages(output: Path) -> None:
    """Remove the stages' checkpoints, if there are some."""
    if has_stages(output):
        shutil.rmtree(output / _FOLDER)


def random_state_allowed():
    """Lets torch's safe loader read the numpy random state that a checkpoint holds; transformers before 4.46 does not
    ask for it, and then no run resumes under torch 2.6 or later."""
    import contextlib

    import numpy as np

    if not hasattr(torch.serialization, "safe_globals"):  # torch before 2.5 loads it without being asked
        return contextlib.nullcontext()
    core = np._core if hasattr(np, "_core") else np.core
    return torch.serialization.safe_globals(
        [core.multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    )
