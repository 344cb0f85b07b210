"""`video3d demo`: made-up rooms -> prepare -> the five benchmarks through lmms-eval -> one table.

Needs no network and no downloads. Every stage is the one that real scans go through; only the rooms are made up, and
the model is the small one that the package ships (or one trained on the spot, with --train).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from video3d_plugin.commands.common import positive
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.pipeline import default_checkpoint

TASKS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
# What the table shows: task -> (metric, its name in print, the guess beside it in data.synthetic.baselines)
ROWS: dict[str, tuple[tuple[str, str, str | None], ...]] = {
    "scanrefer": (
        ("acc@0.5", "Acc@0.5", "random_object"),
        ("multiple_acc@0.5", "  of these multiple", "multiple_random_object"),
    ),
    "multi3drefer": (("f1@0.5", "F1@0.5", "none_always"), ("half_f1@0.5", "  by half the best", "none_always")),
    "scan2cap": (("cider@0.5", "CIDEr@0.5", None),),
    "scanqa": (("em@1", "EM@1", "per_template"),),
    "sqa3d": (("em", "EM", "per_template"),),
}


@dataclass
class Stages:
    """Names and seconds of the stages that ran, printed as they start and end."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"[{len(self.seconds) + 1}] {name} ...", flush=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        print(f"    {self.seconds[name]:.0f} s", flush=True)


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
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    if args.checkpoint and not (args.checkpoint / "config.json").is_file():
        raise MissingError("no checkpoint here", where=args.checkpoint, remedy="give a folder with config.json")
    stages = Stages()
    print(f"video3d demo: everything goes to {args.output}", flush=True)
    proposals = args.proposals or ("pred" if args.scans else "gt")
    rooms, data = (None, None) if args.scans and not args.train else _rooms(args, stages)
    checkpoint, origin = _checkpoint(args, data, stages)
    if args.scans:
        data = _scans(args, stages)
    results = args.output / "results"
    with stages.stage("the benchmarks through lmms-eval"):
        numbers = _evaluate(checkpoint, data, results, args.limit, proposals)
    print(f"\n{origin}\nboxes to choose from: {'annotated' if proposals == 'gt' else 'predicted'}")
    print(table(numbers, {} if args.scans else _guesses(rooms)))
    print(f"\nsamples and results: {results}   total {sum(stages.seconds.values()):.0f} s")
    return 0


def _rooms(args: argparse.Namespace, stages: Stages) -> tuple[Path, Path]:
    """Makes the rooms and the data folder, or finds those of an earlier run with the same arguments."""
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.data.synthetic.mini import make_mini

    sizes = {"val": 0 if args.scans else args.rooms, "train": args.train_rooms if args.train else 0}
    sizes = {split: count for split, count in sizes.items() if count}
    name = "-".join([f"seed{args.seed}", *(f"{split}{count}" for split, count in sizes.items())])
    rooms, data, mark = args.output / name / "rooms", args.output / name / "data", args.output / name / "made"
    if not mark.is_file():
        with stages.stage(f"{sum(sizes.values())} furnished rooms in ScanNet's layout, with the five annotation sets"):
            make_mini(rooms, **sizes, seed=args.seed, workers=2)
            mark.touch()
    with stages.stage("video3d prepare"):
        prepare(rooms, data, jobs=2)
    return rooms, data


def _scans(args: argparse.Namespace, stages: Stages) -> Path:
    from video3d_plugin.data.prepare import prepare

    data = args.output / f"scans-{args.scans.resolve().name}"
    with stages.stage(f"video3d prepare {args.scans}"):
        print(prepare(args.scans, data).table())
    return data


def _checkpoint(args: argparse.Namespace, data: Path, stages: Stages) -> tuple[Path, str]:
    """The checkpoint to evaluate, and one sentence on where it comes from."""
    if args.checkpoint:
        return args.checkpoint, f"checkpoint: {args.checkpoint}"
    if not args.train:
        return (
            default_checkpoint(),
            "model: the small one that ships, trained on other made-up rooms (see its README.md)",
        )
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.training.dataset import training_questions
    from video3d_plugin.training.presets import from_scratch, preset
    from video3d_plugin.training.run import train

    chosen = preset("demo")
    settings = replace(chosen.settings, seed=args.seed, **({"steps": args.steps} if args.steps else {}))
    output = args.output / f"checkpoint-seed{args.seed}-rooms{args.train_rooms}-steps{settings.steps}"
    folder = DataFolder.open(data)
    if not (output / "training.json").is_file():
        with stages.stage(f"a small model from scratch, {settings.steps} steps"):
            model, processor = from_scratch(chosen, training_questions(folder, settings.tasks), seed=args.seed)
            with _one_thread():
                train(model.train(), processor, folder, output, settings)
    return output, (
        f"model: trained from scratch for {settings.steps} steps on {args.train_rooms} made-up rooms; "
        "this shows that the parts work together, it is not a measure of the method"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tensors this small gain nothing from several threads, and lose much where another program wants the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _evaluate(checkpoint: Path, data: Path, results: Path, limit: int | None, proposals: str) -> dict[str, dict]:
    """{task: {metric: number}}; a failed evaluation, or one with unanswered questions, is an error."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.evaluate import evaluate

    have = DataFolder.open(data).tasks()
    tasks = [task for task in TASKS if (task, "test" if task == "sqa3d" else "val") in have]
    if not tasks:
        raise DataError(
            "has no evaluation questions", where=data, remedy="put official annotation files into the scans"
        )
    numbers = evaluate(
        tasks,
        pretrained=checkpoint,
        data=data,
        output=results,
        batch_size=64,
        limit=limit,
        max_new_tokens=48,
        proposals=proposals,
    )
    missing = {task: n for task in tasks if (n := numbers[task].get("count_missing"))}
    if missing:
        raise DataError(f"questions without an answer: {missing}", remedy=f"see the samples in {results}")
    return numbers


def _guesses(rooms: Path) -> dict[str, dict[str, float]]:
    from video3d_plugin.data.synthetic import baselines

    return baselines(rooms, "val")


def table(numbers: dict[str, dict], guesses: dict[str, dict[str, float]]) -> str:
    """One row a number, in per cent (CIDEr x 100), what guessing gives beside it; `missing` where not computed."""
    lines = [f"{'benchmark':<14}{'metric':<22}{'model':>8}{'guess':>8}", "-" * 52]
    for task in TASKS:
        if task not in numbers:
            lines.append(f"{task:<14}no annotations")
            continue
        for i, (metric, name, guess) in enumerate(ROWS[task]):
            if metric not in numbers[task]:
                raise DataError(f"{task} gave no {metric}", remedy=f"it gave {', '.join(sorted(numbers[task]))}")
            value = numbers[task][metric]
            guessed = guesses.get(task, {}).get(guess) if guess else None
            lines.append(
                f"{task if i == 0 else '':<14}{name:<22}{_number(value, 'missing'):>8}{_number(guessed, ''):>8}"
            )
    return "\n".join(lines)


def _number(value: float | None, absent: str) -> str:
    return absent if value is None else f"{value:.1f}"
