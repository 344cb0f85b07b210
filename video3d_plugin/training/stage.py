"""A stage before training proper: a lesson of its own under `transformers.Trainer`, not kept and not resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.training.processes import part_of

if TYPE_CHECKING:
    from video3d_plugin.training.run import TrainSettings

_WARMUP = 50


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
) -> float:
    """Train for `steps` steps of `scenes_per_step` scenes; returns the last logged loss. `what` names the bar."""
    from transformers import Trainer, TrainingArguments

    from video3d_plugin.training.epochs import TellEpoch
    from video3d_plugin.training.progress import show_progress

    trainer = Trainer(
        model=lesson,
        args=TrainingArguments(
            output_dir=str(output),
            max_steps=steps,
            per_device_train_batch_size=part_of(scenes_per_step),
            lr_scheduler_type="linear",
            warmup_steps=min(_WARMUP, steps // 4),
            logging_steps=max(1, steps // 20),
            save_strategy="no",
            seed=settings.seed,
            data_seed=settings.seed,
            dataloader_num_workers=settings.workers,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=scenes,
        data_collator=collate,
        optimizers=(optimizer, None),
        callbacks=[TellEpoch(scenes)] if hasattr(scenes, "set_epoch") else [],
    )
    show_progress(trainer, what)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]
