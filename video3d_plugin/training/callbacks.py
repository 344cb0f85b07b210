"""Callbacks for `transformers.Trainer`: epochs for the dataset, zero gradients, a progress bar with the loss."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import torch
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback

log = logging.getLogger(__name__)


class HasEpoch(Protocol):
    """A dataset whose items depend on the epoch."""

    def set_epoch(self, epoch: int) -> None: ...


class EpochCallback(TrainerCallback):
    """Calls `set_epoch` of a dataset at the start of every epoch, before its first item is read.

    The Trainer's data loader has a `set_epoch` of its own, but accelerate 1.x passes it on to the sampler only where
    several processes share a run. Without this callback every epoch of a single process would repeat the first.

    Args:
        dataset: The dataset to notify.
    """

    def __init__(self, dataset: HasEpoch):
        self._dataset = dataset

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self._dataset.set_epoch(int((state.epoch or 0) + 1e-6))


class ZeroGradients(TrainerCallback):
    """Gives parameters without a gradient a zero one before every step of the optimizer.

    AdamW leaves a parameter without a gradient as it is, but with a zero gradient it goes on along its momentum. A head
    that no item of a step needs has none in a single process and a zero one where several share a run (DDP, ZeRO).
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        inside = getattr(optimizer, "optimizer", optimizer)  # of accelerate's wrapper
        if not args.deepspeed and isinstance(inside, torch.optim.Optimizer):  # DeepSpeed fills in zeros itself
            inside.register_step_pre_hook(_fill_gradients)


def _fill_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def show_progress(trainer: Trainer, description: str = "training") -> None:
    """Replace the Trainer's progress bar and its printed logs by one bar with the latest loss.

    Args:
        trainer: The trainer to change.
        description: Text in front of the bar.
    """
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(LossBar(description))


class LossBar(TrainerCallback):
    """One progress bar for a run, on the first process only; nothing where the output is not a terminal.

    Args:
        description: Text in front of the bar.
    """

    def __init__(self, description: str = "training"):
        self._description = description

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        from tqdm import tqdm

        if state.is_world_process_zero:
            log.info("%s: %d steps", self._description, state.max_steps)
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc=self._description, unit="step", disable=None
            )

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            loss = f"{float(logs['loss']):.3f}"
            log.info("%s: step %d of %d, loss %s", self._description, state.global_step, state.max_steps, loss)
            self._bar.set_postfix(loss=loss)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._bar.close()
