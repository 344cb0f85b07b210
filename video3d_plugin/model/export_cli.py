"""`video3d export CHECKPOINT --format llava --output FOLDER`: a checkpoint in another program's terms."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a checkpoint folder, or an adapter folder that names its base")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--format",
        choices=("llava", "video3d"),
        default="llava",
        help="llava: opens in LLaVA-NeXT's own loader; video3d: ours, with an adapter merged in (default: llava)",
    )
    parser.add_argument("--lora", type=Path, help="an adapter folder to merge in first")
    parser.add_argument("--tower", help="llava: the hub name to write for a vision tower that has none yet")


def run(args: argparse.Namespace) -> int:
    from video3d_plugin.files.atomic import replacing_folder, scratch_folder
    from video3d_plugin.model.export import check_new, export_llava
    from video3d_plugin.model.loading import load_pair

    check_new(args.output)
    if args.format == "llava" and args.lora is None and not (Path(args.checkpoint) / "adapter_config.json").is_file():
        export_llava(args.checkpoint, args.output, args.tower)
    else:
        model, processor = load_pair(args.checkpoint, lora=args.lora, dtype="auto")
        if args.format == "video3d":
            with replacing_folder(args.output) as folder:
                model.save_pretrained(folder)
                processor.save_pretrained(folder)
        else:
            with scratch_folder(args.output, args.output.resolve().parent) as merged:
                model.save_pretrained(merged)
                processor.save_pretrained(merged)
                export_llava(merged, args.output, args.tower)
    print(f"{args.format} checkpoint: {args.output}")
    return 0
