"""What LLaVA-NeXT leaves out of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

_FULL = "non_lora_trainables.bin"


class SaveWhole(TrainerCallback):
    """Adds the processor (and with LoRA, which the host saves without, the tokenizer) to every checkpoint, and to the
    adapters on the way what is trained in full beside them; puts the latter back when such a run is resumed."""

    def __init__(self, processor: Any):
        self.processor = processor

    def on_save(self, args, state, control, model=None, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if hasattr(model, "peft_config"):
            from video3d_plugin.model.checkpoint.lora import save_full

            folder.mkdir(parents=True, exist_ok=True)
            save_full(model, folder)
        self._save_processor(state, folder)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # DeepSpeed's own checkpoint holds all that is trained.
        if state.global_step and hasattr(model, "peft_config") and not args.deepspeed and (folder / _FULL).is_file():
            from video3d_plugin.model.checkpoint.lora import load_full

            load_full(model.get_base_model(), folder / _FULL)

    def on_train_end(self, args, state, control, **kwargs):
        self._save_processor(state, Path(args.output_dir))

    def _save_processor(self, state: Any, folder: Path) -> None:
        if state.is_world_process_zero:
            self.processor.save_pretrained(folder)
