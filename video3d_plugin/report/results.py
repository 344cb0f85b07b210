"""What lmms-eval left in a results folder: for each model and task the newest run, with its records if logged.

lmms-eval writes RESULTS_DIR/<model>/<date>_results.json and, with --log_samples, <date>_samples_<task>.jsonl. The date,
also `date` in the file, is of the time zone that --timezone names, Asia/Singapore by default, on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import read_object
from video3d_plugin.files.schema import Anything, Number, Table, Text, Whole, check, fits
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.records import RUN_AGAIN, read_records
from video3d_plugin.metrics.tasks import TASKS, get

_NAME = (Text(5000), None)
_ARGUMENTS = (Text(), Table(Anything()), None)
_RESULTS: dict[str, Any] = {
    "results": Table((Table(object), None), name=Text(512)),
    "date?": _NAME,
    "model_name?": _NAME,
    "config?": object,
}
_CONFIG: dict[str, Any] = {"model?": _NAME, "model_args?": _ARGUMENTS}
# With room for the rounding of sums. CIDEr, which goes to 10, is printed x 100.
_PER_CENT, _CIDER, _COUNT = Number(0, 100.001), Number(0, 1000.01), Number(0, 1e12)


@dataclass(frozen=True)
class TaskRun:
    """One task of one run. `values` holds all conventions where records were logged, else what the host's table had.

    split_note    "mini", "test_w_obj", ... for the variants of a task, else ""
    limited       (questions asked, questions there are) where --limit was used, else None
    """

    task: str
    host_name: str
    file: Path
    values: dict[str, float | None]
    counts: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    records: list[dict] = field(default_factory=list, repr=False)
    limited: tuple[int, int] | None = None

    @property
    def split_note(self) -> str:
        return self.host_name.removeprefix(self.task).strip("_")


@dataclass(frozen=True)
class Run:
    """One model's newest results, task by task."""

    model: str
    model_args: str
    tasks: dict[str, TaskRun]


def read_results(folder: Path, score: Scorer) -> list[Run]:
    """Every model of the folder, in order of name; MissingError where there is nothing that a task of ours wrote."""
    if not folder.exists():
        raise MissingError("no such folder of results", where=folder, remedy="give lmms-eval's --output_path")
    files = [folder] if folder.is_file() else folder.rglob("*_results.json")
    contents = {file: _read(file) for file in files}
    found: dict[tuple[str, str], dict[str, TaskRun]] = {}
    for file in sorted(contents, key=lambda file: (_date(file, contents[file]), str(file))):  # the later one replaces
        content = contents[file]
        config = _table(content, "config", file)
        check(config, _CONFIG, file, RUN_AGAIN, name="config")
        name = str(content.get("model_name") or config.get("model") or file.parent.name)
        tasks = found.setdefault((name, str(config.get("model_args") or "")), {})
        for host_name in content["results"]:
            if (task := _task_of(host_name)) is not None:
                tasks[host_name] = _task_run(task, host_name, file, content, score)
    runs = [Run(name, args, tasks) for (name, args), tasks in sorted(found.items()) if tasks]
    if not runs:
        raise MissingError(
            f"no results of {', '.join(TASKS)} in it",
            where=folder,
            remedy="run lmms-eval with --output_path and --tasks",
        )
    return runs


def _read(file: Path) -> dict[str, Any]:
    content = read_object(file, RUN_AGAIN)
    if not isinstance(content.get("results"), dict):
        raise DataError("not a results file of lmms-eval: no `results`", where=file)
    check(content, _RESULTS, file, RUN_AGAIN)
    return content


def _date(file: Path, content: dict[str, Any]) -> str:
    """20261122_090000, and more digits for fractions: as text, later ones sort behind earlier ones."""
    return str(content.get("date") or file.name.removesuffix("_results.json"))


def _table(content: dict[str, Any], name: str, file: Path, of: str = "") -> dict[str, Any]:
    """`content[name]`, a JSON object; empty where there is none. `of`: what the content itself is a part of."""
    value = content.get(name, {})
    if not isinstance(value, dict):
        what = f"{of} of {name}" if of else name
        raise DataError(f"{what}: expected a table, found {type(value).__name__}", where=file)
    return value


def _task_of(host_name: str) -> str | None:
    """scanrefer, scanrefer_mini, scanqa_test_w_obj -> the benchmark; None for any other task."""
    return next((name for name in TASKS if host_name == name or host_name.startswith(f"{name}_")), None)


def _task_run(task: str, host_name: str, file: Path, content: dict, score: Scorer) -> TaskRun:
    numbers, counts = _of_the_host(host_name, file, content)
    missing: dict[str, str] = {}
    samples = file.with_name(file.name.replace("_results.json", f"_samples_{host_name}.jsonl"))
    records = [r for r in read_records(samples) if r["task"] == task] if samples.is_file() else []
    if records:
        scores = get(task).scores(sorted(records, key=lambda record: record["id"]), score)
        numbers, counts, missing = scores.values, scores.counts, scores.missing
    asked = _table(_table(content, "n-samples", file), host_name, file, "n-samples")
    pair = (asked.get("effective"), asked.get("original"))
    limited = pair if fits(pair, [Whole(0)] * 2) and pair[0] < pair[1] else None
    return TaskRun(task, host_name, file, numbers, counts, missing, records, limited)


def _of_the_host(host_name: str, file: Path, content: dict) -> tuple[dict[str, float | None], dict[str, int]]:
    """(numbers, counts) in the host's own table."""
    values = _table(content["results"], host_name, file, "results")
    table = {name.split(",")[0]: v for name, v in values.items() if "stderr" not in name and name != "alias"}
    numbers: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    for name, value in table.items():
        is_count = name.startswith("count_")
        kind = _COUNT if is_count else _CIDER if "cider" in name else _PER_CENT
        check(value, (kind, Text(), None), file, RUN_AGAIN, name=f"{host_name[:80]}: {name[:80]}")
        if isinstance(value, str):  # "N/A"
            value = None
        if not is_count:
            numbers[name] = None if value is None else float(value)
        elif value is not None:
            if value != int(value):
                raise DataError(f"{host_name}: {name} is {value}, not a number of questions", where=file)
            counts[name.removeprefix("count_")] = int(value)
    return numbers, counts
