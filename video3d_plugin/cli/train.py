"""`video3d train`: fine-tune a checkpoint (`--model`) or train a small model from scratch (`--preset mini`)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.cli.progress import stage
from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.training.settings import TrainSettings

_Option = tuple[type, str, str]  # type, metavar, help

# Options that override the preset: fields of TrainSettings.
SETTINGS: dict[str, _Option] = {
    "epochs": (float, "N", "passes over the training questions, instead of the preset's steps"),
    "steps": (int, "N", "optimizer steps; takes precedence over --epochs"),
    "scenes_per_step": (int, "N", "scenes in a step, summed over the processes"),
    "scenes_at_once": (int, "N", "scenes in a forward pass of a process; gradients are accumulated over the step"),
    "questions_per_scene": (int, "N", "questions in one sequence with their scene"),
    "learning_rate": (float, "RATE", "peak learning rate, except of the vision tower"),
    "vision_tower_lr": (float, "RATE", "peak learning rate of the vision tower; 0 freezes it"),
    "max_frames": (int, "N", "largest number of frames of a scene"),
    "sampler": (str, "NAME", "frame sampler: uniform, mc, mc-ratio90, mc-ratio95, or an add-on's"),
    "seed": (int, "N", "seed of new weights and of the order of the questions"),
    "save_every": (int, "STEPS", "number of steps between checkpoints"),
    "workers": (int, "N", "data-loading processes"),
}
# The same for a model from scratch: fields of MiniSettings.
MINI_SETTINGS: dict[str, _Option] = {
    "optimizer": (str, "NAME", "adamw, or muon for the weight matrices of the layers"),
    "tower_steps": (int, "N", "steps of the first stage: vision tower and projector"),
    "lookup_steps": (int, "N", "steps of the second stage: supervised attention"),
    "lookup_scenes": (int, "N", "scenes in a step of the second stage, over all processes"),
    "object_steps": (int, "N", "steps of the third stage: supervised attention and short questions about objects"),
    "object_rounds": (int, "N", "rounds of short questions about each annotated object"),
    "final_stage_lr_factor": (float, "FACTOR", "factor of all learning rates in the last stage"),
}
# Keys of config.json that override those of the checkpoint and of the preset, named as in LLaVA-NeXT's scripts.
_MODEL_OPTIONS: dict[str, _Option] = {
    "world_position_embedding_type": (str, "WORDS", "points and encoding of 3D positions, e.g. avg-discrete-sin3d"),
    "voxel_size": (float, "METRES", "side of the voxels of `discrete` positions"),
    "object_feature_type": (str, "NAME", "patch14-pe or patch27-pe: features of the proposals"),
    "ground_head_type": (str, "NAME", "infonce, score or mlp"),
    "ground_head_temperature": (float, "T", "temperature of infonce"),
    "mm_newline_position": (str, "NAME", "grid, frame, one_token or no_token"),
    "coordinate_dtype": (str, "NAME", "number format of coordinates: float32, float16 or bfloat16"),
}
MINI_PRESETS = ("demo", "mini")
EPILOG = """\
examples:
  video3d train --preset mini --data ~/video3d-data --output runs/mini
  video3d train --preset paper --model LLaVA-Video-7B-Qwen2 --data ~/video3d-data --output runs/paper --processes 8
  video3d train --model CHECKPOINT --data ~/video3d-data --output runs/tuned --lora 128
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="data folder made by `video3d prepare`"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="folder for checkpoints, loss curve and result"
    )
    parser.add_argument("--preset", metavar="NAME", help="demo, mini or paper (default: mini; with --model: paper)")
    parser.add_argument(
        "--model", type=Path, metavar="CHECKPOINT", help="checkpoint to fine-tune (default: build a small model)"
    )
    parser.add_argument(
        "--model-class",
        metavar="NAME",
        help="with --model: train it as this model of an add-on, whose new parts start fresh (docs/extending.md)",
    )
    parser.add_argument("--tasks", metavar="NAMES", help="benchmarks, separated by commas (default: all)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        help="number format of the computation; trained weights are always float32 (default: the preset's)",
    )
    parser.add_argument(
        "--clamp-points",
        action=argparse.BooleanOptionalAction,
        help="clamp points to the extent of the scan's surface voxels, as the reference's mc-norm (default: as the "
        "checkpoint)",
    )
    parser.add_argument(
        "--lora", type=int, metavar="RANK", help="train low-rank adapters; heads and embeddings are trained in full"
    )
    parser.add_argument(
        "--lora-alpha", type=int, metavar="N", help="adapters are scaled by N / RANK (default: twice the rank)"
    )
    parser.add_argument(
        "--lora-tower",
        action="store_true",
        help="with --lora: adapters on the vision tower's query, key and value projections too, as in the reference",
    )
    parser.add_argument(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        help="recompute activations: less memory, more time (default: the preset's)",
    )
    parser.add_argument(
        "--add-spatial-instruction",
        action=argparse.BooleanOptionalAction,
        help="put the reference's sentence on spatial relationships before every question (default: the preset's)",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in --output")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="number of processes, each on a core or GPU of its own (default: %(default)s)",
    )
    _add_options(parser.add_argument_group("settings", "default: the preset's"), SETTINGS)
    default = "default: the preset's if it is named, else the checkpoint's; one without <ground> gets the paper's parts"
    _add_options(parser.add_argument_group("options of the model, with --model", default), _MODEL_OPTIONS)
    _add_options(parser.add_argument_group("settings of a model from scratch", "default: the preset's"), MINI_SETTINGS)


def _add_options(group, options: Mapping[str, _Option]) -> None:
    for name, (kind, metavar, text) in options.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)


def run(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.training import processes

    settings = settings_of(args)
    if _is_mini(args):
        from video3d_plugin.mini.train import train_mini as train
    else:
        from video3d_plugin.training.trainer import train
    folder = DataFolder.open(args.data)
    first = processes.is_first()
    if first and args.output.exists() and any(args.output.iterdir()) and not args.resume:
        raise DataError("the folder is not empty", where=args.output, remedy="choose another --output, or add --resume")
    if args.processes > 1 and processes.count() == 1:
        return processes.launch(args.processes, args.words)
    stage("making the model" if args.model is None else "loading the model")
    model, processor = _model(args, folder, settings)
    config = model.config
    settings = replace(settings, coordinate_dtype=config.coordinates, clamp_points=bool(config.clamp_points))
    summary = train(model, processor, folder, args.output, settings, resume=args.resume)
    if first:
        print(_summary_text(args.output, summary))
    processes.leave_process_group()
    return 0


def _summary_text(output: Path, summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['steps']} steps over {summary['questions']} questions: loss {summary['loss_first']:.3f} -> "
        f"{summary['loss_last']:.3f}\n{output} (curve: training.png, settings and losses: training.json)"
    )


def _preset_name(args: argparse.Namespace) -> str:
    return args.preset or ("paper" if args.model else "mini")


def _given(args: argparse.Namespace, options: Mapping[str, _Option]) -> dict[str, Any]:
    return {name: getattr(args, name) for name in options if getattr(args, name) is not None}


def _model_options(args: argparse.Namespace) -> dict[str, Any]:
    clamped = {} if args.clamp_points is None else {"clamp_points": args.clamp_points}
    return {**_given(args, _MODEL_OPTIONS), **clamped}


def _is_mini(args: argparse.Namespace) -> bool:
    """Return whether the run has the stages of a model from scratch, which fine-tuning does not need."""
    return _preset_name(args) in MINI_PRESETS or bool(_given(args, MINI_SETTINGS))


def settings_of(args: argparse.Namespace) -> TrainSettings:
    """Return the preset's settings, changed by the options.

    `--epochs` alone takes the place of the preset's steps.

    Args:
        args: The parsed arguments.

    Returns:
        `MiniSettings` for a preset of a small model or with an option of one, else `TrainSettings`.

    Raises:
        DataError: If there is no such preset, or a value is out of range.
    """
    given = {**_given(args, SETTINGS), **_given(args, MINI_SETTINGS)}
    for name in ("precision", "gradient_checkpointing", "add_spatial_instruction"):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    if "epochs" in given:
        given.setdefault("steps", None)
    if args.tasks:
        given["tasks"] = tuple(task.strip() for task in args.tasks.split(","))
    return replace(_base_settings(args), **given)


def _base_settings(args: argparse.Namespace) -> TrainSettings:
    from video3d_plugin.training.presets import PRESETS

    name = _preset_name(args)
    if name in MINI_PRESETS:
        from video3d_plugin.mini.presets import preset

        return preset(name).fine_tuning_settings if args.model else preset(name).settings
    if name not in PRESETS:
        raise DataError(f"no preset {name!r}", remedy=f"known: {', '.join([*MINI_PRESETS, *PRESETS])}")
    base = PRESETS[name]
    if not _is_mini(args):
        return base
    from video3d_plugin.mini.settings import MiniSettings

    return MiniSettings(**{field.name: getattr(base, field.name) for field in fields(base)})


def _model(args: argparse.Namespace, folder, settings: TrainSettings):
    from transformers import set_seed

    set_seed(settings.seed)  # parts that a checkpoint lacks, and adapters, begin with random weights
    if args.lora_alpha is not None and (args.lora_alpha < 1 or not args.lora):
        raise DataError(f"--lora-alpha {args.lora_alpha}", remedy="give 1 or more, with --lora RANK")
    if args.lora_tower and not args.lora:
        raise DataError("--lora-tower needs an adapter", remedy="give --lora RANK")
    if args.model is None:
        if _preset_name(args) not in MINI_PRESETS:
            raise DataError("this preset fine-tunes a checkpoint", remedy="give --model CHECKPOINT")
        if args.model_class:
            raise DataError("--model-class needs a checkpoint to start from", remedy="give --model CHECKPOINT")
        if given := _model_options(args):
            option = "--" + next(iter(given)).replace("_", "-")
            raise DataError(f"{option} needs a checkpoint to start from", remedy="give --model CHECKPOINT")
        from video3d_plugin.mini.presets import preset
        from video3d_plugin.mini.train import from_scratch
        from video3d_plugin.training.dataset import training_questions

        questions = training_questions(folder, settings.tasks)
        model, processor = from_scratch(preset(_preset_name(args)), questions, seed=settings.seed)
    else:
        from video3d_plugin.training.presets import MODEL_OPTIONS
        from video3d_plugin.training.starting_model import load_to_train

        options = {**MODEL_OPTIONS.get(args.preset, {}), **_model_options(args)}
        model, processor = load_to_train(args.model, options, model_class=args.model_class)
    if args.lora:
        from video3d_plugin.model.checkpoint.lora import add_lora

        set_seed(settings.seed)
        model = add_lora(model, rank=args.lora, alpha=args.lora_alpha, tower=args.lora_tower)
    return model.train(), processor
