"""`video3d train`: a small model from scratch (`--preset mini`), or any checkpoint fine-tuned (`--model`)."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.training.presets import Preset
    from video3d_plugin.training.run import TrainSettings

# Options that override the preset: name -> type. They are the fields of TrainSettings of the same name.
_OVERRIDES = {
    "epochs": float,
    "steps": int,
    "scenes_per_step": int,
    "scenes_at_once": int,
    "questions_per_scene": int,
    "learning_rate": float,
    "vision_tower_lr": float,
    "max_frames": int,
    "sampler": str,
    "seed": int,
    "save_every": int,
    "workers": int,
    "optimizer": str,
    "object_rounds": int,
    "tower_steps": int,
    "lookup_steps": int,
    "lookup_scenes": int,
    "object_steps": int,
    "later_rates": float,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="a folder made by `video3d prepare`")
    parser.add_argument("--output", type=Path, required=True, help="where checkpoints, curve and result go")
    parser.add_argument("--preset", help="demo, mini or paper (default: mini; with --model: paper)")
    parser.add_argument("--model", type=Path, help="a checkpoint to fine-tune; without it a small model is built")
    parser.add_argument("--tasks", help="comma-separated; default: all five")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"])
    parser.add_argument(
        "--lora", type=int, metavar="RANK", help="train low-rank adapters, heads and embeddings in full"
    )
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in --output")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="share the run among N processes, one a core (or GPU)"
    )
    for name, kind in _OVERRIDES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)


def run(args: argparse.Namespace) -> int:
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.training import processes
    from video3d_plugin.training.run import train

    chosen, settings = settings_of(args)
    folder = DataFolder.open(args.data)
    first = processes.is_first()
    if first and args.output.exists() and any(args.output.iterdir()) and not args.resume:
        raise DataError("is not empty", where=args.output, remedy="choose another --output, or add --resume")
    if args.processes > 1 and processes.count() == 1:
        return processes.launch(args.processes, args.words)
    model, processor = _model(args, chosen, folder, settings)
    summary = train(model, processor, folder, args.output, settings, resume=args.resume)
    if first:
        print(_said(args.output, summary))
    processes.end_together()
    return 0


def _said(output: Path, summary) -> str:
    return (
        f"{summary['steps']} steps over {summary['questions']} questions: loss {summary['loss_first']:.3f} -> "
        f"{summary['loss_last']:.3f}\n{output} (curve: training.png, settings and losses: training.json)"
    )


def settings_of(args: argparse.Namespace) -> tuple[Preset, TrainSettings]:
    """The preset, and its settings with what was given beside it; `--epochs` alone decides over a preset's steps."""
    from video3d_plugin.training.presets import for_checkpoint, preset

    chosen = preset(args.preset or ("paper" if args.model else "mini"))
    base = for_checkpoint(chosen) if args.model else chosen.settings
    names = {field.name for field in fields(base)}
    given = {name: getattr(args, name) for name in (*_OVERRIDES, "precision") if getattr(args, name) is not None}
    assert set(given) <= names
    if "epochs" in given:
        given.setdefault("steps", None)
    if args.tasks:
        given["tasks"] = tuple(task.strip() for task in args.tasks.split(","))
    return chosen, replace(base, gradient_checkpointing=args.gradient_checkpointing, **given)


def _model(args: argparse.Namespace, chosen, folder, settings):
    from video3d_plugin.training.dataset import training_questions
    from video3d_plugin.training.presets import from_scratch

    if args.model is None:
        model, processor = from_scratch(chosen, training_questions(folder, settings.tasks), seed=settings.seed)
    else:
        from video3d_plugin.model.modeling import Video3DForCausalLM
        from video3d_plugin.model.processing import Video3DProcessor

        model = Video3DForCausalLM.from_pretrained(str(args.model), dtype="auto")  # as it is stored
        processor = Video3DProcessor.from_pretrained(str(args.model), config=model.config)
    if args.lora:
        from video3d_plugin.model.lora import add_lora

        model = add_lora(model, rank=args.lora)
    return model.train(), processor
