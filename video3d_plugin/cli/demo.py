"""`video3d demo`: made-up rooms, `prepare`, the five benchmarks through lmms-eval, one table."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from video3d_plugin.cli.common import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("demo-data"), help="default: %(default)s")
    parser.add_argument("--checkpoint", type=Path, help="evaluate this checkpoint; default: the small one that ships")
    parser.add_argument("--train", action="store_true", help="train a small model now, for minutes, and evaluate that")
    parser.add_argument(
        "--scans", type=Path, help="evaluate on these scans (ScanNet's layout, with annotations) instead"
    )
    parser.add_argument("--rooms", type=positive, default=6, help="rooms to evaluate on (default: 6)")
    parser.add_argument("--train-rooms", type=positive, default=60, help="with --train: rooms (default: 60)")
    parser.add_argument("--steps", type=positive, help="with --train: steps (default: the demo preset's)")
    parser.add_argument(
        "--proposals", choices=["gt", "pred"], help="boxes to choose from (default: gt in made-up rooms, pred in scans)"
    )
    parser.add_argument("--limit", type=positive, help="at most so many questions a task")
    parser.add_argument("--seed", type=int, default=0, help="seeds the rooms and the training (default: 0)")


def run(args: argparse.Namespace) -> int:
    from video3d_plugin.mini.demo import DemoOptions, run_demo

    run_demo(DemoOptions(**{field.name: getattr(args, field.name) for field in fields(DemoOptions)}))
    return 0
