"""Completes the checkpoints of LLaVA-NeXT's trainer, and makes them resumable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from video3d_plugin.files.atomic import write_json
from video3d_plugin.hosts.llava_next.exit_status import exit_on_error

_FULL_WEIGHTS = "non_lora_trainables.bin"


class CompleteCheckpoints(TrainerCallback):
    """Adds to every checkpoint what the host leaves out, and restores it when a run is resumed.

    The host saves no processor and, with LoRA, no tokenizer. Its intermediate LoRA checkpoints hold the adapters
    alone, without the weights that are trained in full beside them.

    Args:
        processor: The model's processor, which includes the tokenizer.
        view: How scenes are seen in this training: `sampler`, `max_frames`, `coordinate_dtype`. It is written to
            training.json, from which evaluation takes it.
    """

    def __init__(self, processor: Any, view: Mapping[str, Any] | None = None) -> None:
        self.processor, self.view = processor, dict(view or {})

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Add the processor and, with LoRA, the fully trained weights to the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if hasattr(model, "peft_config"):
            from video3d_plugin.model.checkpoint.lora import save_full

            folder.mkdir(parents=True, exist_ok=True)
            save_full(model, folder)
        self._save_processor(state, folder)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Restore the fully trained weights of a LoRA run that is resumed."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        is_lora = hasattr(model, "peft_config")
        # DeepSpeed's own checkpoint holds all trained weights.
        if state.global_step and is_lora and not args.deepspeed and (folder / _FULL_WEIGHTS).is_file():
            from video3d_plugin.model.checkpoint.lora import load_full

            exit_on_error(load_full)(model.get_base_model(), folder / _FULL_WEIGHTS)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the processor to the final checkpoint."""
        self._save_processor(state, Path(args.output_dir))

    def _save_processor(self, state: Any, folder: Path) -> None:
        if state.is_world_process_zero:
            self.processor.save_pretrained(folder)
            if self.view:
                write_json(folder / "training.json", {"settings": self.view}, indent=1)
