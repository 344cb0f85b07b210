"""The demo: made-up rooms, `prepare`, the five benchmarks through lmms-eval, one table.

Works without a network. The steps are those that real scans go through; only the rooms are made up, and the model is
the small one that the package ships, or one that is trained on the spot.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.loading import default_checkpoint

TASKS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
# What the table shows: task -> (metric, its name in print, the guess beside it in mini.rooms.baselines)
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
    """The steps of the demo, printed as they start and end.

    Attributes:
        seconds: Duration of each step so far.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"[{len(self.seconds) + 1}] {name} ...", flush=True)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        print(f"    {self.seconds[name]:.0f} s", flush=True)


@dataclass(frozen=True)
class DemoOptions:
    """What `video3d demo` makes and evaluates.

    Attributes:
        output: Folder for rooms, data folder, checkpoint and results.
        checkpoint: Checkpoint to evaluate; None for the one that the package ships.
        train: Train a small model first, and evaluate that.
        scans: Scans in ScanNet's layout, with annotations, to evaluate on instead of made-up rooms.
        rooms: Made-up rooms to evaluate on.
        train_rooms: Made-up rooms to train on.
        steps: Training steps; None for those of the demo preset.
        proposals: Boxes to choose from, "gt" or "pred"; None for "gt" in made-up rooms and "pred" in scans.
        limit: Questions of a task, at most.
        seed: Seeds rooms and training.
    """

    output: Path = Path("demo-data")
    checkpoint: Path | None = None
    train: bool = False
    scans: Path | None = None
    rooms: int = 6
    train_rooms: int = 60
    steps: int | None = None
    proposals: str | None = None
    limit: int | None = None
    seed: int = 0


def run_demo(options: DemoOptions) -> None:
    """Run the demo and print the table.

    Args:
        options: What to make and evaluate.

    Raises:
        MissingError: If the checkpoint does not exist.
        DataError: If the scans have no questions, or questions are left without an answer.
    """
    if options.checkpoint and not (options.checkpoint / "config.json").is_file():
        raise MissingError("no checkpoint here", where=options.checkpoint, remedy="give a folder with config.json")
    stages = Stages()
    print(f"video3d demo: everything goes to {options.output}", flush=True)
    proposals = options.proposals or ("pred" if options.scans else "gt")
    rooms, data = (None, None) if options.scans and not options.train else _rooms(options, stages)
    checkpoint, origin = _checkpoint(options, data, stages)
    if options.scans:
        data = _scans(options, stages)
    results = options.output / "results"
    with stages.stage("the benchmarks through lmms-eval"):
        numbers = _evaluate(checkpoint, data, results, options.limit, proposals)
    print(f"\n{origin}\nboxes to choose from: {'annotated' if proposals == 'gt' else 'predicted'}")
    print(table(numbers, {} if options.scans else _guesses(rooms)))
    print(f"\nsamples and results: {results}   total {sum(stages.seconds.values()):.0f} s")


def _rooms(options: DemoOptions, stages: Stages) -> tuple[Path, Path]:
    """(rooms, data folder), made now or by an earlier run with the same options."""
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.mini.rooms.mini_benchmark import make_mini

    sizes = {"val": 0 if options.scans else options.rooms, "train": options.train_rooms if options.train else 0}
    sizes = {split: count for split, count in sizes.items() if count}
    name = "-".join([f"seed{options.seed}", *(f"{split}{count}" for split, count in sizes.items())])
    rooms, data, mark = options.output / name / "rooms", options.output / name / "data", options.output / name / "made"
    if not mark.is_file():
        with stages.stage(f"{sum(sizes.values())} furnished rooms in ScanNet's layout, with the five annotation sets"):
            make_mini(rooms, **sizes, seed=options.seed, workers=2)
            mark.touch()
    with stages.stage("video3d prepare"):
        prepare(rooms, data, jobs=2)
    return rooms, data


def _scans(options: DemoOptions, stages: Stages) -> Path:
    from video3d_plugin.data.prepare import prepare

    data = options.output / f"scans-{options.scans.resolve().name}"
    with stages.stage(f"video3d prepare {options.scans}"):
        print(prepare(options.scans, data).table())
    return data


def _checkpoint(options: DemoOptions, data: Path, stages: Stages) -> tuple[Path, str]:
    """(checkpoint to evaluate, one sentence about its origin)."""
    if options.checkpoint:
        return options.checkpoint, f"checkpoint: {options.checkpoint}"
    if not options.train:
        return (
            default_checkpoint(),
            "model: the small one that ships, trained on other made-up rooms (see its README.md)",
        )
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.mini.presets import preset
    from video3d_plugin.mini.train import from_scratch, train_mini
    from video3d_plugin.training.dataset import training_questions

    demo_preset = preset("demo")
    settings = replace(demo_preset.settings, seed=options.seed, **({"steps": options.steps} if options.steps else {}))
    output = options.output / f"checkpoint-seed{options.seed}-rooms{options.train_rooms}-steps{settings.steps}"
    folder = DataFolder.open(data)
    if not (output / "training.json").is_file():
        with stages.stage(f"a small model from scratch, {settings.steps} steps"):
            model, processor = from_scratch(demo_preset, training_questions(folder, settings.tasks), seed=options.seed)
            with _one_thread():
                train_mini(model.train(), processor, folder, output, settings)
    return output, (
        f"model: trained from scratch for {settings.steps} steps on {options.train_rooms} made-up rooms; "
        "this shows that the parts work together, it is not a measure of the method"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: tensors this small gain nothing from more, and lose much where another program uses the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _evaluate(checkpoint: Path, data: Path, results: Path, limit: int | None, proposals: str) -> dict[str, dict]:
    """{task: {metric: number}}; DataError for unanswered questions."""
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
    from video3d_plugin.mini.rooms import baselines

    return baselines(rooms, "val")


def table(numbers: dict[str, dict], guesses: dict[str, dict[str, float]]) -> str:
    """Format the table of results.

    Args:
        numbers: Metrics by task, in per cent (CIDEr x 100).
        guesses: What guessing reaches, by task and kind of guess.

    Returns:
        One line for each number; `missing` for one that was not computed.

    Raises:
        DataError: If a task lacks a metric of the table.
    """
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
