"""LLaVA-NeXT's training scripts with `--model video3d`, on an unedited checkout, with LLaVATrainer as it is.

`train()` looks up what it calls in its module when it runs. The patch `llava_video3d` sees it ask for its arguments
(the one moment that an imported module and a script run as `__main__` have in common) and, where `--model` is on the
command line, gives it our fields, model and data. Without `--model` nothing is touched.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.hosts.source_check import source_digest

# Digest of train() -> commit; it is what our parts are called by.
KNOWN_TRAIN = {"3e0c63388e260bfd": "LLaVA-NeXT df17966", "4c89c97e214d9a63": "LLaVA-NeXT b42941c"}
_PARTS = ("get_model", "make_supervised_data_module", "find_all_linear_names")
_SIGNS = {*_PARTS, "train", "ModelArguments", "DataArguments", "LLaVATrainer"}  # of the training script's module
_OURS = "_video3d_scope"
_KEPT = "_video3d_kept"


def wanted(argv: Sequence[str]) -> bool:
    """Whether the command line has `--model`."""
    return any(word == "--model" or word.startswith("--model=") for word in argv)


def parser_init(original: Callable) -> Callable:
    """HfArgumentParser.__init__ that knows our fields when the training script asks for `--model`."""

    @functools.wraps(original)
    def __init__(self, dataclass_types=None, *args, **kwargs):
        scope = sys._getframe(1).f_globals
        if scope.keys() >= _SIGNS:
            scope.update(scope.pop(_KEPT, {}))  # an earlier run in this process
            if wanted(sys.argv[1:]):
                from video3d_plugin.hosts.llava_next.arguments import extended

                dataclass_types = extended(dataclass_types)
                object.__setattr__(self, _OURS, scope)
        original(self, dataclass_types, *args, **kwargs)

    return __init__


def in_one_line(function: Callable) -> Callable:
    """`function`, whose errors are one line and status 2, where the host would show a traceback."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Video3DError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error

    return run


def parser_parse(original: Callable) -> Callable:
    """HfArgumentParser.parse_args_into_dataclasses that starts our run; an error is one line and status 2."""

    @functools.wraps(original)
    def parse_args_into_dataclasses(self, *args, **kwargs):
        parsed = original(self, *args, **kwargs)
        scope = getattr(self, _OURS, None)
        if scope is not None:
            in_one_line(start)(scope, *parsed[:3])
        return parsed

    return parse_args_into_dataclasses


def start(scope: dict[str, Any], model_args: Any, data_args: Any, training_args: Any) -> None:
    """Check the run, then put our parts where the script's `train()` looks for them."""
    from video3d_plugin.hosts.llava_next.arguments import plan
    from video3d_plugin.model.checkpoint.adapter import TARGETS

    check_script(scope)
    run = plan(model_args, data_args, training_args)
    if int(os.environ.get("RANK", "0")) == 0:
        for note in run.notes:
            print(f"video3d: {note}")
    scope[_KEPT] = {name: scope[name] for name in _PARTS}
    scope["get_model"] = functools.partial(in_one_line(load_checkpoint), run)
    scope["make_supervised_data_module"] = functools.partial(in_one_line(data_module), run, training_args=training_args)
    scope["find_all_linear_names"] = lambda model: TARGETS


def check_script(scope: dict[str, Any]) -> None:
    digest = source_digest(scope["train"])
    if digest not in KNOWN_TRAIN:
        raise DataError(
            f"this checkout's train() is not code that --model was written for, digest {digest}",
            where=scope.get("__file__"),
            remedy=f"check out one that works: {', '.join(sorted(KNOWN_TRAIN.values()))}; or use `video3d train`",
        )


def load_checkpoint(run: Any, model_args: Any, training_args: Any, bnb_model_from_pretrained_args: dict) -> Any:
    """In the place of the script's get_model."""
    import torch

    from video3d_plugin.model.distributed import zero3

    zero3.join_process_group()
    options = dict(bnb_model_from_pretrained_args)
    if training_args.bf16:
        options["torch_dtype"] = torch.bfloat16
    run.model = run.model_class.from_pretrained(
        str(model_args.model_name_or_path),
        config=run.config,
        cache_dir=training_args.cache_dir,
        attn_implementation=training_args.attn_implementation,
        **options,
    )
    return run.model


def data_module(run: Any, tokenizer: Any, data_args: Any, training_args: Any) -> dict[str, Any]:
    """In the place of the script's make_supervised_data_module; what it returns goes to LLaVATrainer as it is."""
    from video3d_plugin.compat import allow_numpy_random_state
    from video3d_plugin.hosts.llava_next.saving import SaveWhole
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.training.dataset import GroupCollator, SceneGroups

    if getattr(training_args, "lora_enable", False):
        freeze_what_adapters_stand_for(run.model)
    processor = Video3DProcessor(tokenizer, run.model.config)
    dataset = SceneGroups(
        run.folder,
        run.questions,
        run.model.config.inputs_spec,
        questions_per_scene=run.questions_per_scene,
        sampler=run.sampler,
        max_frames=run.max_frames,
        proposals="gt",
        seed=run.seed,
    )
    allow_numpy_random_state()
    return {
        "train_dataset": dataset,
        "eval_dataset": None,
        "data_collator": GroupCollator(processor, shared=run.questions_per_scene > 1, as_is=True),
        "callbacks": [SaveWhole(processor)],
    }


def freeze_what_adapters_stand_for(model: Any) -> None:
    """With LoRA, the language model's layers learn through their adapters alone. The script of b42941c sets all of them
    to train where --mm_tunable_parts names mm_language_model; that of df17966 does not."""
    from video3d_plugin.model.registry import new_parts

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    new = new_parts(type(base))
    for name, parameter in base.named_parameters():
        if name.startswith(new):
            continue
        if "vision_tower" not in name and ("layers." in name or name.endswith("model.norm.weight")):
            parameter.requires_grad_(parameter.requires_grad and "lora_" in name)


def load_pretrained_model(original: Callable) -> Callable:
    """The host's loader that opens checkpoints of this package too, by the model_type of their config.json."""

    @functools.wraps(original)
    def load_pretrained_model(
        model_path, model_base, model_name, load_8bit=False, load_4bit=False, device_map="auto",
        torch_dtype="float16", attn_implementation="flash_attention_2", customized_config=None,
        overwrite_config=None, **kwargs,
    ):  # fmt: skip
        from transformers import PretrainedConfig

        from video3d_plugin.config import Video3DConfig

        kind = PretrainedConfig.get_config_dict(model_path)[0].get("model_type")
        if kind != Video3DConfig.model_type:
            return original(
                model_path, model_base, model_name, load_8bit, load_4bit, device_map, torch_dtype,
                attn_implementation, customized_config, overwrite_config, **kwargs,
            )  # fmt: skip
        if customized_config is not None or overwrite_config is not None:
            raise DataError("customized_config and overwrite_config are not taken", where=model_path,
                            remedy="edit the checkpoint's config.json")  # fmt: skip
        bits = {name: True for name, on in (("load_in_8bit", load_8bit), ("load_in_4bit", load_4bit)) if on}
        return opened(model_path, model_base, torch_dtype, device_map, attn_implementation, bits)

    return load_pretrained_model


def opened(path, base, dtype: str, device_map, attention: str, bits: dict[str, bool]) -> tuple:
    """(tokenizer, model, image processor, context length), as the host's loader returns them. With a `base`, `path` is
    a LoRA folder."""
    import torch

    from video3d_plugin.model.checkpoint.loading import load_pair

    options = {"attn_implementation": attention, "device_map": device_map, **bits}
    if not bits:
        options["dtype"] = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    model, processor = load_pair(base or path, lora=path if base else None, **options)
    tower = model.get_vision_tower()
    return processor.tokenizer, model.eval(), tower.image_processor, model.config.longest_sequence
