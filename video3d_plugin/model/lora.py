"""LoRA: train an adapter on the language model with heads and embeddings in full; load and merge one.

The folder is as LLaVA-NeXT's training script leaves it: adapter_config.json, adapter_model.safetensors (PEFT), and
non_lora_trainables.bin with what was trained in full. Needs `peft` (extra `train`).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.json_text import read_object
from video3d_plugin.model import zero3
from video3d_plugin.model.checkpoint import read_bin

_FULL = "non_lora_trainables.bin"
_WRAPPER = "base_model.model."  # what PEFT puts before the names of the model that it wraps
# Trained in full beside the adapter: everything that is new, and what new tokens need.
_TRAINED_IN_FULL = (
    "embed_tokens",
    "lm_head",
    "ground_head",
    "world_position_embedding",
    "mm_projector",
    "image_newline",
)

# The linear layers of the language model, and of nothing else (heads and tower have linear layers, too).
TARGETS = r"model\.layers\.\d+\.(self_attn|mlp)\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def add_lora(model: Any, *, rank: int = 64, alpha: int = 16, dropout: float = 0.05):
    """A PEFT model: adapters on the linear layers of the language model, heads and embeddings trainable as they are.

    Its `save_pretrained` (which the Trainer calls) writes the whole folder, and its `load_adapter` (which the Trainer
    calls to resume) reads what was trained in full as well.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=model.name_or_path,
        target_modules=TARGETS,
    )
    wrapped = _peft_class()(model, config)
    train_in_full(wrapped)
    return wrapped


def train_in_full(model: Any) -> None:
    """Unfreeze what is trained in full beside an adapter."""
    for name, parameter in model.named_parameters():
        if "vision_tower" not in name and any(part in name for part in _TRAINED_IN_FULL):
            parameter.requires_grad_(True)


def _peft_class() -> type:
    """PEFT's model class with the second file; made here because importing peft takes seconds."""
    from peft import PeftModelForCausalLM

    class LoraModel(PeftModelForCausalLM):
        def save_pretrained(self, save_directory: str, *args: Any, **kwargs: Any) -> None:
            kwargs["save_embedding_layers"] = False  # they are in the other file
            super().save_pretrained(save_directory, *args, **kwargs)
            save_full(self, Path(save_directory))

        def load_adapter(self, model_id: str, *args: Any, **kwargs: Any) -> Any:
            found = super().load_adapter(model_id, *args, **kwargs)
            if (Path(model_id) / _FULL).is_file():
                load_full(self.get_base_model(), Path(model_id) / _FULL)
            return found

    return LoraModel


def save_full(wrapped: Any, folder: Path) -> None:
    """Beside the adapter: what was trained in full, and the configuration."""
    kept = {n: p for n, p in wrapped.named_parameters() if p.requires_grad and "lora_" not in n}
    with zero3.gathered(kept.values()):
        full = {name: p.detach().cpu().clone() for name, p in kept.items()}
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
        return  # all ranks gather, one writes
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
        torch.save(full, file)
    os.replace(file.name, folder / _FULL)
    wrapped.get_base_model().config.save_pretrained(str(folder))


def base_of(folder: Path) -> str:
    """The base checkpoint that an adapter folder names."""
    name = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
    if not name or not isinstance(name, str):
        raise DataError("the adapter names no base checkpoint", where=folder, remedy="load its base and pass lora=")
    return name


def config_folder(folder: Path, base: Path) -> Path:
    """Where the configuration is: saved with the adapter (it knows the heads), else with the base checkpoint."""
    if not (folder / "adapter_config.json").is_file():
        raise MissingError("no adapter here", where=folder, remedy="a LoRA folder has adapter_config.json")
    return folder if (folder / "config.json").is_file() else base


def merge_lora(model: Any, folder: str | Path) -> Any:
    """The model with the adapter merged in and the fully trained parameters in place."""
    try:
        from peft import PeftModel
    except ModuleNotFoundError as error:
        if error.name != "peft":  # it is there, and does not fit what else is installed
            raise
        raise MissingError("loading an adapter needs peft", remedy="pip install 'video3d-plugin[train]'") from error
    folder = Path(folder)
    if (folder / _FULL).is_file():
        load_full(model, folder / _FULL)
    merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    merged.initialised_parts = model.initialised_parts
    return merged


@torch.no_grad()
def load_full(model: Any, path: Path) -> None:
    """Copy the parameters of non_lora_trainables.bin; a name that the model lacks is an error that lists it."""
    stored = {name.removeprefix(_WRAPPER).replace(".base_layer.", "."): value for name, value in read_bin(path).items()}
    words = stored.get("model.embed_tokens.weight")
    if words is not None and len(words) != model.config.vocab_size:
        model.resize_token_embeddings(len(words))
    own = {name.replace(".base_layer.", "."): p for name, p in model.named_parameters() if "lora_" not in name}
    unknown = sorted(set(stored) - set(own))
    if unknown:
        raise DataError(f"unexpected: {', '.join(unknown)}", where=path, remedy="use the base model of this adapter")
    for name, value in stored.items():
        if own[name].shape != value.shape:
            raise DataError(
                f"{name} is {tuple(value.shape)}, the model has {tuple(own[name].shape)}",
                where=path,
                remedy="use the base model of this adapter",
            )
        own[name].copy_(value)
    model.initialised_parts = sorted(set(getattr(model, "initialised_parts", ())) - set(stored))
