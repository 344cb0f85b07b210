"""One bar for a training run, with the latest loss; nothing where the output is not a terminal."""

from __future__ import annotations

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback


def show_progress(trainer: Trainer, what: str = "training") -> None:
    """Replace the Trainer's own bar and its line of numbers a step."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(LossBar(what))


class LossBar(TrainerCallback):
    def __init__(self, what: str = "training"):
        self._what = what

    def on_train_begin(self, args, state, control, **kwargs):
        from tqdm import tqdm

        if state.is_world_process_zero:
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc=self._what, unit="step", disable=None
            )

    def on_step_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_train_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self._bar.close()
