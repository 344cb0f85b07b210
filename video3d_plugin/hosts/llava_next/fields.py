"""Fields that `--model video3d` adds to LLaVA-NeXT's dataclasses of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, make_dataclass
from typing import Any, Optional

PROMPT_VERSIONS = ("qwen_1_5", "qwen_2")  # names of the host for the one prompt format of this model
_Text, _Number = Optional[str], Optional[float]  # noqa: UP045  (HfArgumentParser of transformers 4.45 needs them)
_Whole, _Flag = Optional[int], Optional[bool]  # noqa: UP045
_Triple = Optional[list[float]]  # noqa: UP045

# name -> (type, default, help). `model` enables everything else.
MODEL_FIELDS: dict[str, tuple[Any, Any, str]] = {
    "model": (_Text, None, "video3d, or a model of the entry points `video3d.models`"),
    "world_position_embedding_type": (_Text, None, "e.g. avg-discrete-sin3d"),
    "object_feature_type": (_Text, None, "patch14-pe or patch27-pe"),
    "ground_head_type": (_Text, None, "infonce, score or mlp"),
    "ground_head_temperature": (_Number, None, "of InfoNCE, 0.07 in the paper"),
    "ground_head_hidden_size": (_Whole, None, "written to config.json; read by nothing, as in the reference"),
    "ground_loss_scale": (_Number, None, "written to config.json; read by nothing, as in the reference"),
    "coordinate_dtype": (_Text, None, "float32, float16 or bfloat16; default: as the reference casts coordinates"),
    "lora_vision_tower": (bool, False, "with --lora_enable: adapters on the vision tower too, as in the reference"),
    # The host's own fields, with other defaults: those of the host would override the checkpoint, or be another prompt.
    "version": (str, PROMPT_VERSIONS[0], "the prompt format: qwen_1_5 or qwen_2, which are the same"),
    "mm_projector_type": (_Text, None, "default: the checkpoint's"),
    "mm_patch_merge_type": (_Text, None, "default: the checkpoint's"),
    "mm_newline_position": (_Text, None, "grid, frame, one_token or no_token; default: the checkpoint's"),
    "mm_spatial_pool_mode": (_Text, None, "default: the checkpoint's"),
}
DATA_FIELDS: dict[str, tuple[Any, Any, str]] = {
    "video3d_data": (_Text, None, "folder of `video3d prepare`; default: --data_path if it is one, or VIDEO3D_DATA"),
    "voxel_size": (_Number, None, "metres"),
    "min_xyz_range": (_Triple, None, "three numbers, metres"),
    "max_xyz_range": (_Triple, None, "three numbers, metres"),
    "frame_sampling_strategy": (
        str,
        "uniform",
        "uniform, mc, mc-ratio90, mc-ratio95, also with -norm, or a sampler of an add-on",
    ),
    "add_spatial_instruction": (bool, False, "put the reference's instruction before every question"),
    "questions_per_scene": (int, 1, "questions that share one sequence with their scene"),
    "force_sample": (_Flag, None, "False: 10 uniform frames, as in the reference; default: up to --frames_upbound"),
    "embodiedscan_folder": (_Text, None, "accepted, not read: boxes come from the data folder"),
    "group_by_task_length": (bool, False, "accepted, not needed: a batch may mix all tasks"),
}


def add_fields(dataclass_types: Sequence[type]) -> list[type]:
    """Return the host's dataclasses of arguments with MODEL_FIELDS and DATA_FIELDS added.

    Args:
        dataclass_types: The host's classes. TrainingArguments is returned as it is, since it is pickled.
    """
    added = {"ModelArguments": MODEL_FIELDS, "DataArguments": DATA_FIELDS}
    return [_subclass(cls, added[cls.__name__]) if cls.__name__ in added else cls for cls in dataclass_types]


def _subclass(cls: type, fields: dict[str, tuple[Any, Any, str]]) -> type:
    definitions = [(n, type_, field(default=d, metadata={"help": text})) for n, (type_, d, text) in fields.items()]
    return make_dataclass(cls.__name__, definitions, bases=(cls,))
