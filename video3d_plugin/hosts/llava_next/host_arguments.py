"""Arguments that LLaVA-NeXT reads after the checks: what is set in them, and the notes about what has no effect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video3d_plugin.config import Video3DConfig

_REFERENCE_STRIDE = 2
_GROUPINGS = ("group_by_length", "group_by_varlen", "group_by_modality_length", "group_by_modality_length_auto")


class CheckpointName(str):
    """A checkpoint's path that the host takes for a Qwen model.

    The host chooses the tokenizer's settings by `"qwen" in name.lower()` and raises UnboundLocalError for other names.
    """

    def lower(self) -> str:
        return "qwen"


def set_host_arguments(model_args: Any, data_args: Any, training_args: Any, config: Video3DConfig) -> list[str]:
    """Set the arguments that the host reads later.

    Args:
        model_args: The host's ModelArguments.
        data_args: The host's DataArguments.
        training_args: The host's TrainingArguments.
        config: The configuration of the model.

    Returns:
        Notes for the user on what has no effect or differs from the reference.
    """
    model_args.model_name_or_path = CheckpointName(model_args.model_name_or_path)
    model_args.vision_tower = config.mm_vision_tower or "part of the checkpoint"
    for name in ("mm_newline_position", "mm_spatial_pool_stride", "mm_projector_type", "mm_patch_merge_type",
                 "mm_spatial_pool_mode"):  # fmt: skip
        setattr(model_args, name, getattr(config, name))  # the host writes some of them to the configuration
    data_args.image_grid_pinpoints = getattr(config, "image_grid_pinpoints", None)  # for single images; unchanged
    if getattr(training_args, "gradient_checkpointing", False) and not training_args.gradient_checkpointing_kwargs:
        # With re-entrant checkpointing, DDP and ZeRO-2 receive the vision tower's gradients more than once, since the
        # tower runs once for a scene. Under ZeRO-3 they come once, and re-entrant checkpointing is the common choice.
        training_args.gradient_checkpointing_kwargs = {"use_reentrant": _zero3(training_args)}
    notes = [*_model_notes(model_args, config), *_training_notes(model_args, training_args)]
    if data_args.group_by_task_length:
        notes.append("--group_by_task_length is not needed: a batch may mix text and grounding questions")
    for name in _GROUPINGS:
        if getattr(training_args, name, False):
            setattr(training_args, name, False)
            notes.append(f"--{name} is not needed: all items of a scene have about the same length")
    if data_args.embodiedscan_folder:
        notes.append("--embodiedscan_folder is not read: boxes come from the data folder, which was made with them")
    return notes


def _model_notes(model_args: Any, config: Video3DConfig) -> Iterator[str]:
    if (stride := config.layout.pool_stride) != _REFERENCE_STRIDE:
        yield f"{stride} x {stride} patches are pooled (mm_spatial_pool_stride); the reference always pools 2 x 2"
    for name in ("ground_head_hidden_size", "ground_loss_scale"):
        if getattr(model_args, name) is not None:
            yield f"--{name} is written to config.json; the losses and heads of the reference do not read it"


def _training_notes(model_args: Any, training_args: Any) -> Iterator[str]:
    if getattr(training_args, "lora_enable", False) and not model_args.lora_vision_tower:
        yield "adapters are on the language model; the reference has them on the tower too (--lora_vision_tower True)"
    for name in ("mm_vision_tower_lr", "mm_projector_lr"):
        if getattr(training_args, name, None) is not None and _deepspeed_has_optimizer(training_args):
            what = "the DeepSpeed configuration names an optimizer, which has one learning rate"
            yield f"--{name} has no effect: {what}"


def take_compilation(training_args: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """Take --torch_compile from the Trainer, which would compile the whole model instead of its layers.

    TrainingArguments hands it to accelerate in environment variables; these are removed too.

    Args:
        training_args: The host's TrainingArguments; changed in place.

    Returns:
        Options of `torch.compile` for the layers, or None; notes for the user.
    """
    if not getattr(training_args, "torch_compile", False):
        return None, []
    given = {name: getattr(training_args, f"torch_compile_{name}", None) for name in ("backend", "mode")}
    training_args.torch_compile, training_args.torch_compile_backend = False, None
    for name in [name for name in os.environ if name.startswith("ACCELERATE_DYNAMO_")]:
        del os.environ[name]
    if _zero3(training_args):
        return None, ["--torch_compile is not used: ZeRO-3 gathers the weights inside the layers"]
    options = {name: value for name, value in given.items() if value is not None}
    return options, ["--torch_compile compiles the language model's layers, each as one graph"]


def _deepspeed_has_optimizer(training_args: Any) -> bool:
    """Whether DeepSpeed makes the optimizer: transformers then passes it all parameters as one group."""
    deepspeed = getattr(training_args, "hf_deepspeed_config", None)
    return bool(getattr(deepspeed, "config", {}).get("optimizer"))


def _zero3(training_args: Any) -> bool:
    deepspeed = getattr(training_args, "hf_deepspeed_config", None)
    return deepspeed is not None and bool(deepspeed.is_zero3())
