"""`video3d export CHECKPOINT --output FOLDER`: convert a checkpoint to another program's format."""

from __future__ import annotations

import argparse
from pathlib import Path

from video3d_plugin.cli.progress import status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="checkpoint folder, or adapter folder that names its base"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder to write; it must be new")
    parser.add_argument(
        "--format",
        choices=("llava", "video3d", "vllm"),
        default="llava",
        help="llava: for LLaVA-NeXT's own loader; video3d: this package's, with the adapter merged; vllm: the language "
        "part as a plain Qwen2 folder, for vLLM, SGLang, TGI and transformers (default: llava)",
    )
    parser.add_argument("--lora", type=Path, metavar="ADAPTER", help="adapter folder to merge first")
    parser.add_argument(
        "--tower", metavar="NAME", help="with --format llava: Hub name to write for a vision tower without one"
    )


def run(args: argparse.Namespace) -> int:
    """Write the converted checkpoint; return the exit status."""
    from video3d_plugin.model.checkpoint.export import check_new
    from video3d_plugin.model.checkpoint.folders import local_folder

    check_new(args.output)
    checkpoint = local_folder(args.checkpoint)  # the hub shows progress of its own
    with status("converting the checkpoint"):
        _convert(checkpoint, args)
    print(f"{args.format} checkpoint: {args.output}")
    return 0


def _convert(checkpoint: Path, args: argparse.Namespace) -> None:
    from video3d_plugin.files.atomic import replacing_folder, scratch_folder
    from video3d_plugin.model.checkpoint.export import export_llava
    from video3d_plugin.model.checkpoint.export_language import export_language
    from video3d_plugin.model.checkpoint.loading import load_pair

    if args.format == "llava" and args.lora is None and not (checkpoint / "adapter_config.json").is_file():
        export_llava(checkpoint, args.output, args.tower)
        return
    model, processor = load_pair(checkpoint, lora=args.lora, dtype="auto")
    if args.format == "vllm":
        export_language(model, processor, args.output)
    elif args.format == "video3d":
        with replacing_folder(args.output) as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
    else:
        with scratch_folder(args.output, args.output.resolve().parent) as merged:
            model.save_pretrained(merged)
            processor.save_pretrained(merged)
            export_llava(merged, args.output, args.tower)
