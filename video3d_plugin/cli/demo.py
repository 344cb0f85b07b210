"""`video3d demo`: generate rooms, prepare them, run the five benchmarks through lmms-eval, print one table."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from video3d_plugin.cli.common import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--output", type=Path, default=Path("demo-data"), help="folder to write (default: %(default)s)")
    parser.add_argument(
        "--checkpoint", type=Path, help="checkpoint to evaluate (default: the small model that is installed)"
    )
    parser.add_argument("--train", action="store_true", help="train a small model for some minutes and evaluate that")
    parser.add_argument(
        "--scans", type=Path, metavar="FOLDER", help="evaluate on these scans (ScanNet's layout, with annotations)"
    )
    parser.add_argument(
        "--rooms", type=positive, default=6, metavar="N", help="number of rooms to evaluate on (default: %(default)s)"
    )
    parser.add_argument(
        "--train-rooms",
        type=positive,
        default=60,
        metavar="N",
        help="number of rooms to train on, with --train (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=positive, metavar="N", help="training steps, with --train (default: the demo preset's)"
    )
    parser.add_argument(
        "--proposals",
        choices=("gt", "pred"),
        help="boxes to select from: annotated or predicted (default: gt in generated rooms, pred in scans)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="largest number of questions of each task")
    parser.add_argument("--seed", type=int, default=0, help="seed of rooms and training (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    from video3d_plugin.mini.demo import DemoOptions, run_demo

    run_demo(DemoOptions(**{field.name: getattr(args, field.name) for field in fields(DemoOptions)}))
    return 0
