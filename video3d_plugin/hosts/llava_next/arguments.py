"""Arguments of `--model video3d` on LLaVA-NeXT's command line: the checks, and the resulting run.

All checks are made before a weight is loaded. The arguments have the names of LaVi-Lab/Video-3D-LLM at 3ff70e8
(llava/train/train_3d.py and scripts/3d/train/train_multi.sh). What differs from there: arguments that are not given
keep the values of the checkpoint's config.json; --embodiedscan_folder and --group_by_task_length have no effect and are
reported; what the model does not support is refused (`_UNSUPPORTED`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.hosts.llava_next.fields import PROMPT_VERSIONS
from video3d_plugin.hosts.llava_next.host_arguments import set_host_arguments, take_compilation

if TYPE_CHECKING:
    from video3d_plugin.config import Video3DConfig
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.scene import Question

_MAX_FRAMES = 32
_FRAMES_WITHOUT_FORCE = 10  # of the reference's uniform sampling with --force_sample False
# Fields that override a key of the checkpoint's configuration, in either group of arguments.
_CONFIG_KEYS = (
    "world_position_embedding_type", "object_feature_type", "ground_head_type", "ground_head_temperature",
    "mm_projector_type", "mm_patch_merge_type", "mm_newline_position", "mm_spatial_pool_mode",
    "mm_spatial_pool_stride", "voxel_size", "min_xyz_range", "max_xyz_range", "coordinate_dtype",
    "ground_head_hidden_size", "ground_loss_scale",
)  # fmt: skip
# Options of the host that this model does not support: name -> (the value that is allowed, reason or remedy).
_UNSUPPORTED: dict[str, tuple[Any, str]] = {
    "mm_use_im_start_end": (False, "the model has one visual placeholder"),
    "mm_resampler_type": (None, "the model has no resampler"),
    "add_faster_video": (False, "the model has no second stream of frames"),
    "add_time_instruction": (False, "frames of a scan carry no time"),
    "rope_scaling_factor": (None, "set rope_scaling in the checkpoint's config.json"),
    "model_class_name": (None, "--model decides the class"),
    "s2": (False, "the vision tower takes one scale"),
    "trainer_mode": ("regular", "this trainer mode needs the training loop that is broken in LLaVA-NeXT"),
    "use_pos_skipping": (False, "positions of the tokens are not skipped at random"),
}  # fmt: skip


@dataclass
class RunPlan:
    """The settings of one training run with `--model video3d`.

    Attributes:
        model_class: Class of the model.
        config: The checkpoint's configuration with the arguments applied.
        folder: The data folder.
        questions: Training questions.
        sampler: Name of the frame sampler.
        max_frames: Maximum number of frames of a scene.
        questions_per_scene: Questions that share one sequence with their scene.
        seed: Random seed.
        notes: Lines to print at the start.
        compilation: Options of `torch.compile` for the language model's layers; None: they are not compiled.
        model: The model; None until it is loaded.
    """

    model_class: Any
    config: Video3DConfig
    folder: DataFolder
    questions: list[Question]
    sampler: str
    max_frames: int
    questions_per_scene: int
    seed: int
    notes: list[str]
    compilation: dict[str, Any] | None = None
    model: Any = None


def plan_run(model_args: Any, data_args: Any, training_args: Any) -> RunPlan:
    """Check the arguments and collect the settings of the run.

    Args:
        model_args: The host's ModelArguments; fields that the host reads later are changed in place.
        data_args: The host's DataArguments; likewise.
        training_args: The host's TrainingArguments; likewise.

    Raises:
        DataError: An argument, the checkpoint or the data is not valid.
        MissingError: A file or a package is missing.
    """
    from video3d_plugin.model import registry
    from video3d_plugin.sampling import registry as samplers

    model_class = registry.get(model_args.model)
    _check_versions()
    _check_options(model_args, data_args, training_args)
    config = merged_config(model_args, data_args)
    if getattr(model_args, "coordinate_dtype", None) is None:
        config.coordinate_dtype = _cast_by_the_trainer(training_args) or config.coordinate_dtype
    _check_projector_stage(model_class, model_args, training_args, config)
    notes = set_host_arguments(model_args, data_args, training_args, config)
    compilation, of_compilation = take_compilation(training_args)
    sampler, clamped = parse_strategy(data_args.frame_sampling_strategy)
    config.clamp_points = clamped or config.clamp_points
    samplers.check_without_question(sampler, "training")
    max_frames = _number_of_frames(data_args, sampler, notes)
    folder, questions = _read_data(data_args, training_args)
    notes.append(f"{len(questions)} questions about {len({q.scene_id for q in questions})} scenes of {folder.path}")
    return RunPlan(
        model_class, config, folder, questions, sampler, max_frames,
        data_args.questions_per_scene, training_args.seed, notes + of_compilation, compilation,
    )  # fmt: skip


def _number_of_frames(data_args: Any, sampler: str, notes: list[str]) -> int:
    """Return the maximum number of frames, and note where it is not that of --frames_upbound.

    The reference samples 10 frames uniformly, whatever the bound, unless --force_sample is True. Its other samplers do
    not read the argument. The host writes it to config.json, as True or False.
    """
    forced = data_args.force_sample in (None, True)
    data_args.force_sample = forced
    if forced or sampler != "uniform":
        if not forced:
            notes.append(f"--force_sample False has no effect on {sampler}, as in the reference")
        return data_args.frames_upbound or _MAX_FRAMES
    notes.append(
        f"--force_sample False: {_FRAMES_WITHOUT_FORCE} uniform frames, as in the reference, without --frames_upbound"
    )
    return _FRAMES_WITHOUT_FORCE


def _check_versions() -> None:
    installed = installed_version("transformers")
    version = tuple(int(part) for part in installed.split(".")[:2])
    if not (4, 45) <= version < (5, 0):
        raise DataError(
            f"transformers {installed} does not train under LLaVA-NeXT",
            remedy="install one from 4.45 to 4.57 (`video3d train` needs no host and takes any)",
        )


def _check_options(model_args: Any, data_args: Any, training_args: Any) -> None:
    if model_args.version not in PROMPT_VERSIONS:
        what = f"--model video3d does not support --version {model_args.version}"
        raise DataError(what, remedy=f"its prompts are those of Qwen: give {' or '.join(PROMPT_VERSIONS)}")
    projector = getattr(model_args, "pretrain_mm_mlp_adapter", None)
    if projector is not None and not Path(projector).is_file():
        raise MissingError(
            "no such file (--pretrain_mm_mlp_adapter)", where=projector, remedy="name an mm_projector.bin"
        )
    for name, (allowed, reason) in _UNSUPPORTED.items():
        for group in (model_args, data_args, training_args):
            if getattr(group, name, allowed) not in (allowed, None):
                raise DataError(f"--model video3d does not support --{name} {getattr(group, name)}", remedy=reason)
    if training_args.attn_implementation == "flash_attention_2" and find_spec("flash_attn") is None:
        raise MissingError(
            "flash_attention_2 (the host's default) needs flash-attn, which is not installed",
            remedy="add --attn_implementation sdpa, or pip install --no-build-isolation flash-attn",
        )
    if data_args.questions_per_scene < 1:
        raise DataError(f"--questions_per_scene {data_args.questions_per_scene}", remedy="use 1 or more")
    if data_args.questions_per_scene > 1 and training_args.attn_implementation not in ("sdpa", "eager"):
        raise DataError(
            f"--questions_per_scene {data_args.questions_per_scene} needs an attention mask that "
            f"{training_args.attn_implementation} does not support",
            remedy="add --attn_implementation sdpa",
        )


def merged_config(model_args: Any, data_args: Any) -> Video3DConfig:
    """Return the checkpoint's configuration, overridden by the arguments that are given.

    Args:
        model_args: The host's ModelArguments.
        data_args: The host's DataArguments.

    Raises:
        DataError: The checkpoint is damaged, or an option has an unknown value.
        MissingError: There is no such checkpoint.
    """
    from video3d_plugin.training.starting_model import config_with

    groups = (model_args, data_args)
    options = {name: getattr(g, name) for name in _CONFIG_KEYS for g in groups if getattr(g, name, None) is not None}
    return config_with(model_args.model_name_or_path, {**options, "mm_vision_tower": model_args.vision_tower})


def trains_projector_alone(model_args: Any, training_args: Any) -> bool:
    """Return whether the host saves nothing but the projector, as mm_projector.bin (`should_only_save_mm_adapter`)."""
    parts = [part.strip() for part in (model_args.mm_tunable_parts or "").split(",") if part.strip()]
    alone = parts in (["mm_mlp_adapter"], ["mm_vision_resampler"]) or bool(model_args.tune_mm_mlp_adapter)
    return alone and not getattr(training_args, "lora_enable", False)


def _check_projector_stage(model_class: Any, model_args: Any, training_args: Any, config: Video3DConfig) -> None:
    """Check a stage that trains the projector alone: other parts that are trained would not be saved."""
    from video3d_plugin.model import registry
    from video3d_plugin.model.registry import new_parts

    if not trains_projector_alone(model_args, training_args):
        return
    if (model_args.mm_tunable_parts or "").strip() == "mm_vision_resampler":
        raise DataError("--mm_tunable_parts mm_vision_resampler trains nothing", remedy="the model has no resampler")
    parts = {"ground_head_type": config.head is not None,
             "world_position_embedding_type": config.position is not None and config.position.encoding == "mlp",
             "model": bool(set(new_parts(model_class)) - set(new_parts(registry.get(registry.BASE))))}  # fmt: skip
    trained = [f"--{name}" for name, has_weights in parts.items() if has_weights]
    if trained:
        raise DataError(
            f"the host saves nothing but the projector of this run, and parts of {', '.join(trained)} train too",
            remedy="leave them out, add mm_language_model to --mm_tunable_parts, or use --lora_enable True",
        )


def _cast_by_the_trainer(training_args: Any) -> str | None:
    """Number format to which the reference's training casts coordinates; None if it does not, without DeepSpeed.

    transformers' Trainer casts all floating inputs to the format of DeepSpeed's configuration.
    """
    if getattr(training_args, "hf_deepspeed_config", None) is None:
        return None
    formats = {"bf16": "bfloat16", "fp16": "float16"}
    return next((dtype for flag, dtype in formats.items() if getattr(training_args, flag, False)), None)


def parse_strategy(strategy: str) -> tuple[str, bool]:
    """Parse a value of --frame_sampling_strategy.

    Args:
        strategy: A sampler's name, or one of the reference's names (mc32, mc-ratio95, mc-norm, ...).

    Returns:
        The name of the frame sampler, and whether points are clamped to the extent of the scan's voxels (`norm`).

    Raises:
        DataError: It has a part that is not known.
    """
    from video3d_plugin.sampling.registry import names

    if strategy in names() or not strategy.startswith("mc"):
        return strategy, False
    first, *words = strategy.split("-")
    unknown = [word for word in words if word not in ("ratio95", "ratio90", "norm")]
    if unknown or not re.fullmatch(r"mc\d*", first):
        what = f"--frame_sampling_strategy {strategy}: {', '.join(unknown) or strategy} is not supported"
        raise DataError(what, remedy="choose mc, mc-ratio90 or mc-ratio95, each with or without -norm")
    ratio = next((r for r in ("ratio95", "ratio90") if r in words), None)
    return (f"mc-{ratio}" if ratio else "mc"), "norm" in words


def _read_data(data_args: Any, training_args: Any) -> tuple[DataFolder, list[Question]]:
    from video3d_plugin.data.folder import VARIABLE, DataFolder
    from video3d_plugin.data.records import HEAD
    from video3d_plugin.data.training_files import check_scenes, read_training_files, with_spatial_instruction

    if not data_args.data_path and not data_args.video3d_data:
        raise MissingError("no --data_path", remedy="give a data folder, or a yaml or json of processed items")
    path = Path(data_args.data_path or data_args.video3d_data)
    is_data_folder = (path / HEAD).is_file()
    if data_args.video3d_data or is_data_folder:
        folder = DataFolder.open(data_args.video3d_data or path)
    elif os.environ.get(VARIABLE):
        folder = DataFolder.from_env()
    else:
        raise MissingError(
            "no prepared scenes",
            remedy=f"run `video3d prepare {data_args.video_folder or 'SOURCE'} --output DATA` once, then add "
            "--video3d_data DATA",
        )
    if is_data_folder:
        questions = [q for task, split in folder.tasks() if split == "train" for q in folder.questions(task, split)]
    else:
        questions = read_training_files(path, training_args.seed)
    if not questions:
        raise DataError("no training questions", where=path, remedy="prepare annotations of a train split")
    check_scenes(questions, folder)
    return folder, with_spatial_instruction(questions) if data_args.add_spatial_instruction else questions
