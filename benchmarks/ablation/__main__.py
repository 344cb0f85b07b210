"""The paper's ablations on the mini benchmark, several seeds each; the table goes to docs/results.md.

    python -m benchmarks.ablation [--seeds 3] [--jobs 2] [--output runs/ablation] [--page docs/results.md]

Hours on two cores: a run's numbers are kept in a file of benchmarks/ablation/measured as it ends, and the command goes
on where it was stopped. Reported is what was run, with the steps and rooms of it: the model is small and is trained for
minutes.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from benchmarks.ablation.report import plot, section
from benchmarks.ablation.runs import Bench, Numbers, share_cores
from benchmarks.ablation.variants import HOME, VARIANTS, Variant
from benchmarks.page import write_section
from video3d_plugin.data.prepare import prepare
from video3d_plugin.mini.presets import MiniPreset, preset
from video3d_plugin.mini.rooms import make_mini

ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: list[str] | None = None) -> int:
    args = parsed(arguments)
    bench = Bench(None, (args.train_rooms, args.val_rooms), args.output, args.measured, small(args), args.limit)
    runs = [(variant, seed) for seed in range(args.seeds) for variant in VARIANTS]
    if not args.report:
        _train(bench, runs, args)
    found: dict[str, list[dict[str, Numbers]]] = {variant.name: [] for variant in VARIANTS}
    for variant, seed in runs:
        found[variant.name] += filter(None, [bench.kept(variant, seed)])
    picture = args.page.parent / "ablation.svg"
    plot(found, picture)
    write_section(args.page, "ablation", section(found, _said(args), picture.name))
    return 0


def _train(bench: Bench, runs: list[tuple[Variant, int]], args: argparse.Namespace) -> None:
    """Run what is not kept yet. DataError if what is kept is of other rooms, before anything is trained."""
    missing = [run for run in runs if bench.kept(*run) is None]
    if not missing:
        return
    bench = replace(bench, data=_rooms(args))
    for run in runs:
        bench.kept(*run)
    for seed in sorted({seed for _, seed in missing}):  # beforehand: all variants of a seed start from it
        bench.seeing(seed)
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), share_cores, (args.jobs,)) as pool:
        list(pool.map(bench.numbers, *zip(*missing, strict=True)))


def _said(args: argparse.Namespace) -> str:
    stages = [
        f"{args.tower_steps} steps of vision pretraining",
        f"{args.lookup_steps} of attention supervision on {args.lookup_scenes} scenes each",
        f"{args.object_steps} on objects",
        f"{args.steps} on all questions of {args.scenes_per_step} scenes each",
    ]
    rooms = f"{args.train_rooms} rooms, {args.val_rooms} held-out ones"
    return f"{rooms}; " + ", ".join(stage for stage in stages if not stage.startswith("0 "))


def small(args: argparse.Namespace) -> MiniPreset:
    """The preset `mini`, cut to fewer frames, scenes and steps: eighteen runs of it take hours."""
    chosen = preset("mini")
    settings = replace(
        chosen.settings,
        tower_steps=args.tower_steps,
        lookup_steps=args.lookup_steps,
        lookup_scenes=args.lookup_scenes,
        object_steps=args.object_steps,
        steps=args.steps,
        scenes_per_step=args.scenes_per_step,
        task_rounds={},
        save_every=args.steps,
        sampler=HOME[0],
        max_frames=HOME[1],
    )
    return replace(chosen, settings=settings)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--measured", type=Path, default=Path(__file__).resolve().parent / "measured")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="train nothing: write the page from the runs there are")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--train-rooms", type=int, default=400)
    parser.add_argument("--val-rooms", type=int, default=20)
    parser.add_argument("--tower-steps", type=int, default=2500)
    parser.add_argument("--lookup-steps", type=int, default=650)
    parser.add_argument("--lookup-scenes", type=int, default=3)
    parser.add_argument("--object-steps", type=int, default=0)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--scenes-per-step", type=int, default=2)
    parser.add_argument("--limit", type=int, help="at most so many questions of a task")
    return parser.parse_args(arguments)


def _rooms(args: argparse.Namespace) -> Path:
    folder = args.output / f"rooms{args.train_rooms}-{args.val_rooms}"
    if not (folder / "made").is_file():
        make_mini(folder / "source", train=args.train_rooms, val=args.val_rooms, workers=2)
        prepare(folder / "source", folder / "data", jobs=2)
        (folder / "made").touch()
    return folder / "data"


if __name__ == "__main__":
    raise SystemExit(main())
