"""`--model video3d` for LLaVA-NeXT's training scripts, on an unedited checkout with its own LLaVATrainer.

`train()` of the script looks up `get_model` and the functions beside it in its module's globals at run time. The patch
`llava_video3d` wraps HfArgumentParser, through which an imported module and a script run as `__main__` both go. If the
command line has `--model`, the parser gets this package's fields, and the functions in the script's globals are
replaced. Without `--model` nothing changes.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.errors import DataError
from video3d_plugin.hosts.llava_next.exit_status import exit_on_error
from video3d_plugin.hosts.source_check import source_digest

if TYPE_CHECKING:
    from video3d_plugin.hosts.llava_next.arguments import RunPlan

# Digest of train() -> commit. train() decides with which arguments the replaced functions are called.
KNOWN_TRAIN = {"3e0c63388e260bfd": "LLaVA-NeXT df17966", "4c89c97e214d9a63": "LLaVA-NeXT b42941c"}
_REPLACED_FUNCTIONS = ("get_model", "make_supervised_data_module", "find_all_linear_names")
# Globals by which a training script of LLaVA-NeXT is recognised.
_SCRIPT_GLOBALS = {*_REPLACED_FUNCTIONS, "train", "ModelArguments", "DataArguments", "LLaVATrainer"}
RENAMED_OPTIONS = {"--evaluation_strategy": "--eval_strategy"}  # the old name is gone since transformers 4.46
_PARSER_ATTRIBUTE = "_video3d_script_globals"
_ORIGINAL_FUNCTIONS = "_video3d_original_functions"


def model_requested(argv: Sequence[str]) -> bool:
    """Return whether a command line has `--model`.

    Args:
        argv: Words of the command line, without the program.
    """
    return any(word == "--model" or word.startswith("--model=") for word in argv)


def wrap_parser_init(original: Callable[..., None]) -> Callable[..., None]:
    """Wrap HfArgumentParser.__init__ to add this package's fields where a training script has `--model`.

    Args:
        original: The unpatched method.
    """

    @functools.wraps(original)
    def __init__(self: Any, dataclass_types: Any = None, *args: Any, **kwargs: Any) -> None:
        script = sys._getframe(1).f_globals
        if script.keys() >= _SCRIPT_GLOBALS:
            script.update(script.pop(_ORIGINAL_FUNCTIONS, {}))  # undo an earlier run in this process
            if model_requested(sys.argv[1:]):
                from video3d_plugin.hosts.llava_next.fields import add_fields

                dataclass_types = add_fields(dataclass_types)
                object.__setattr__(self, _PARSER_ATTRIBUTE, script)
        original(self, dataclass_types, *args, **kwargs)

    return __init__


def wrap_parse_args(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap HfArgumentParser.parse_args_into_dataclasses to prepare the run once the arguments are known.

    Args:
        original: The unpatched method.
    """

    @functools.wraps(original)
    def parse_args_into_dataclasses(self: Any, *args: Any, **kwargs: Any) -> Any:
        script = getattr(self, _PARSER_ATTRIBUTE, None)
        if script is not None:  # TrainingArguments starts DeepSpeed
            from video3d_plugin.hosts.llava_next.deepspeed_cpu import check_start

            exit_on_error(check_start)(sys.argv[1:])
        if script is not None and not args and kwargs.get("args") is None:
            kwargs["args"] = current_names(sys.argv[1:], self._option_string_actions)
        parsed = original(self, *args, **kwargs)
        if script is not None:
            exit_on_error(replace_functions)(script, *parsed[:3])
        return parsed

    return parse_args_into_dataclasses


def current_names(words: Sequence[str], known: Container[str]) -> list[str]:
    """Replace options that transformers has renamed since the scripts of LLaVA-NeXT were written.

    Args:
        words: Words of the command line, without the program.
        known: The options of this transformers.
    """
    result = []
    for word in words:
        option, equals, value = word.partition("=")
        new = RENAMED_OPTIONS.get(option)
        renamed = new is not None and new in known and option not in known
        result.append(f"{new}{equals}{value}" if renamed else word)
    return result


def replace_functions(script: dict[str, Any], model_args: Any, data_args: Any, training_args: Any) -> None:
    """Check the arguments, then replace the functions that the script's `train()` calls.

    Args:
        script: Globals of the training script; changed in place.
        model_args: The host's ModelArguments, with the fields of `fields.MODEL_FIELDS`.
        data_args: The host's DataArguments, with the fields of `fields.DATA_FIELDS`.
        training_args: The host's TrainingArguments.

    Raises:
        DataError: The checkout is unknown, or an argument is not valid.
        MissingError: A file or a package is missing.
    """
    from video3d_plugin.hosts.llava_next.arguments import plan_run
    from video3d_plugin.model.checkpoint.adapter import TARGETS, TOWER_TARGETS

    check_script(script)
    plan = plan_run(model_args, data_args, training_args)
    if int(os.environ.get("RANK", "0")) == 0:
        for note in plan.notes:
            print(f"video3d: {note}")
    script[_ORIGINAL_FUNCTIONS] = {name: script[name] for name in _REPLACED_FUNCTIONS}
    script["get_model"] = functools.partial(exit_on_error(load_checkpoint), plan)
    script["make_supervised_data_module"] = functools.partial(
        exit_on_error(make_data_module), plan, training_args=training_args
    )
    targets = TOWER_TARGETS if model_args.lora_vision_tower else TARGETS
    script["find_all_linear_names"] = lambda model: targets


def check_script(script: dict[str, Any]) -> None:
    """Check that the script's `train()` is one that this module was written for.

    Args:
        script: Globals of the training script.

    Raises:
        DataError: The source of `train()` is not in KNOWN_TRAIN.
    """
    digest = source_digest(script["train"])
    if digest not in KNOWN_TRAIN:
        raise DataError(
            f"--model does not support this version of train() (digest {digest})",
            where=script.get("__file__"),
            remedy=f"check out one that works: {', '.join(sorted(KNOWN_TRAIN.values()))}; or use `video3d train`",
        )


def load_checkpoint(
    plan: RunPlan, model_args: Any, training_args: Any, bnb_model_from_pretrained_args: dict[str, Any]
) -> Any:
    """Load the model, as the script's `get_model`.

    Args:
        plan: The run; its `model` is set.
        model_args: The host's ModelArguments.
        training_args: The host's TrainingArguments.
        bnb_model_from_pretrained_args: Options of `from_pretrained` for quantised loading.

    Returns:
        The model.
    """
    import torch
    from transformers import set_seed

    from video3d_plugin.model.checkpoint.projector import load_projector
    from video3d_plugin.model.distributed import zero3

    zero3.join_process_group()
    set_seed(plan.seed)  # before new parts, tokens and adapters get random weights; the Trainer comes later
    options = dict(bnb_model_from_pretrained_args)
    if training_args.bf16:
        options["torch_dtype"] = torch.bfloat16
    plan.model = plan.model_class.from_pretrained(
        str(model_args.model_name_or_path),
        config=plan.config,
        cache_dir=training_args.cache_dir,
        attn_implementation=training_args.attn_implementation,
        **options,
    )
    projector = getattr(model_args, "pretrain_mm_mlp_adapter", None)
    if projector is not None:
        load_projector(plan.model, Path(projector))
    return plan.model


def make_data_module(plan: RunPlan, tokenizer: Any, data_args: Any, training_args: Any) -> dict[str, Any]:
    """Make the training data, as the script's `make_supervised_data_module`.

    Args:
        plan: The run, whose model is loaded.
        tokenizer: The host's tokenizer.
        data_args: The host's DataArguments; not used, the plan holds what they say.
        training_args: The host's TrainingArguments.

    Returns:
        Keyword arguments of LLaVATrainer.
    """
    from video3d_plugin.compat import allow_numpy_random_state
    from video3d_plugin.hosts.llava_next.saving import CompleteCheckpoints
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.training.callbacks import ZeroGradients
    from video3d_plugin.training.dataset import GroupCollator, SceneGroups

    if getattr(training_args, "lora_enable", False):
        freeze_base_layers(plan.model)
        check_last_adapter(training_args.output_dir, plan.model)
    if plan.compilation is not None:  # after the host has added its adapters
        plan.model.model.compile_layers(**plan.compilation)
    processor = Video3DProcessor(tokenizer, plan.model.config)
    dataset = SceneGroups(
        plan.folder,
        plan.questions,
        plan.model.config.inputs_spec,
        questions_per_scene=plan.questions_per_scene,
        sampler=plan.sampler,
        max_frames=plan.max_frames,
        proposals="gt",
        seed=plan.seed,
    )
    view = {"sampler": plan.sampler, "max_frames": plan.max_frames, "coordinate_dtype": plan.config.coordinates}
    allow_numpy_random_state()
    return {
        "train_dataset": dataset,
        "eval_dataset": None,
        "data_collator": GroupCollator(processor, shared=plan.questions_per_scene > 1, as_is=True),
        "callbacks": [CompleteCheckpoints(processor, view), ZeroGradients()],
    }


def check_last_adapter(output: str, model: Any) -> None:
    """Check the adapter of the newest checkpoint in `output`, from which the host would go on, if there is one.

    Args:
        output: The output folder of the run.
        model: The base model with the run's LoRA matrices.

    Raises:
        DataError: It is damaged, no LoRA, or has other matrices than the model.
        MissingError: A file of it is missing.
    """
    from transformers.trainer_utils import get_last_checkpoint

    from video3d_plugin.model.checkpoint.adapter import read_adapter
    from video3d_plugin.model.checkpoint.lora import check_same_matrices

    newest = get_last_checkpoint(output) if os.path.isdir(output) else None
    if newest is not None:
        adapter = read_adapter(Path(newest))
        check_same_matrices(model, adapter)
        adapter.tensors()


def freeze_base_layers(model: Any) -> None:
    """Freeze the language model's layers except their LoRA adapters and an add-on's new parts.

    With `--mm_tunable_parts mm_language_model`, the script of b42941c makes all of them trainable; that of df17966 does
    not.

    Args:
        model: The model with its adapters.
    """
    from video3d_plugin.model.registry import new_parts

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    new = new_parts(type(base))
    for name, parameter in base.named_parameters():
        if name.startswith(new):
            continue
        if "vision_tower" not in name and ("layers." in name or name.endswith("model.norm.weight")):
            parameter.requires_grad_(parameter.requires_grad and "lora_" in name)


def wrap_load_pretrained_model(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the host's `load_pretrained_model` to load this package's checkpoints, by `model_type` in config.json.

    Args:
        original: The unpatched function; it loads every other checkpoint.
    """

    @functools.wraps(original)
    def load_pretrained_model(
        model_path: Any, model_base: Any, model_name: Any, load_8bit: bool = False, load_4bit: bool = False,
        device_map: Any = "auto", torch_dtype: Any = "float16", attn_implementation: str = "flash_attention_2",
        customized_config: Any = None, overwrite_config: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        from transformers import PretrainedConfig

        from video3d_plugin.config import Video3DConfig

        model_type = PretrainedConfig.get_config_dict(model_path)[0].get("model_type")
        if model_type != Video3DConfig.model_type:
            return original(
                model_path, model_base, model_name, load_8bit, load_4bit, device_map, torch_dtype,
                attn_implementation, customized_config, overwrite_config, **kwargs,
            )  # fmt: skip
        if customized_config is not None or overwrite_config is not None:
            raise DataError("customized_config and overwrite_config are not supported", where=model_path,
                            remedy="edit the checkpoint's config.json")  # fmt: skip
        quantization = {name: True for name, on in (("load_in_8bit", load_8bit), ("load_in_4bit", load_4bit)) if on}
        return load_for_host(model_path, model_base, torch_dtype, device_map, attn_implementation, quantization)

    return load_pretrained_model


def load_for_host(
    path: Any, base: Any, dtype: Any, device_map: Any, attention: str, quantization: dict[str, bool]
) -> tuple[Any, Any, Any, int]:
    """Load a checkpoint of this package in the form that the host's loader returns.

    Args:
        path: Checkpoint folder; with `base`, the folder of a LoRA adapter.
        base: Checkpoint folder that the adapter belongs to; None without an adapter.
        dtype: A torch dtype or its name; not used with quantisation.
        device_map: As for `from_pretrained`.
        attention: The attention implementation.
        quantization: `load_in_8bit` or `load_in_4bit`, or empty.

    Returns:
        (tokenizer, model, image processor, context length in tokens).
    """
    import torch

    from video3d_plugin.model.checkpoint.loading import load_pair

    options = {"attn_implementation": attention, "device_map": device_map, **quantization}
    if not quantization:
        options["dtype"] = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    model, processor = load_pair(base or path, lora=path if base else None, **options)
    tower = model.get_vision_tower()
    return processor.tokenizer, model.eval(), tower.image_processor, model.config.longest_sequence
