"""What lmms-eval left in a results folder: for each model and task the newest run, with its records if logged.

lmms-eval writes RESULTS_DIR/<model>/<date>_results.json and, with --log_samples, <date>_samples_<task>.jsonl.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.tasks import TASKS, get


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
    files = [folder] if folder.is_file() else sorted(folder.rglob("*_results.json"))
    found: dict[tuple[str, str], dict[str, TaskRun]] = {}
    for file in files:  # in order of date within a model's folder: a later run of a task replaces the earlier one
        content = _read(file)
        config = content.get("config") or {}
        name = str(content.get("model_name") or config.get("model") or file.parent.name)
        tasks = found.setdefault((name, str(config.get("model_args") or "")), {})
        for host_name, values in content["results"].items():
            if (task := _task_of(host_name)) is not None:
                tasks[host_name] = _task_run(task, host_name, file, values, content, score)
    runs = [Run(name, args, tasks) for (name, args), tasks in found.items() if tasks]
    if not runs:
        raise MissingError(
            f"no results of {', '.join(TASKS)} in it",
            where=folder,
            remedy="run lmms-eval with --output_path and --tasks",
        )
    return runs


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"not JSON: {error}", where=file) from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise DataError("not a results file of lmms-eval: no `results`", where=file)
    return content


def _task_of(host_name: str) -> str | None:
    """scanrefer, scanrefer_mini, scanqa_test_w_obj -> the benchmark; None for any other task."""
    return next((name for name in TASKS if host_name == name or host_name.startswith(f"{name}_")), None)


def _task_run(task: str, host_name: str, file: Path, values: dict, content: dict, score: Scorer) -> TaskRun:
    numbers = {name.split(",")[0]: v for name, v in values.items() if "stderr" not in name}
    numbers = {name: float(v) if isinstance(v, int | float) else None for name, v in numbers.items() if name != "alias"}
    counts = {n.removeprefix("count_"): int(v) for n, v in numbers.items() if n.startswith("count_") and v is not None}
    numbers = {name: value for name, value in numbers.items() if not name.startswith("count_")}
    missing: dict[str, str] = {}
    records = read_records(task, file.with_name(file.name.replace("_results.json", f"_samples_{host_name}.jsonl")))
    if records:
        scores = get(task).scores(sorted(records, key=lambda record: record["id"]), score)
        numbers, counts, missing = scores.values, scores.counts, scores.missing
    asked = (content.get("n-samples") or {}).get(host_name) or {}
    pair = (asked.get("effective"), asked.get("original"))
    limited = pair if all(isinstance(n, int) for n in pair) and pair[0] < pair[1] else None
    return TaskRun(task, host_name, file, numbers, counts, missing, records, limited)


def read_records(task: str, samples: Path) -> list[dict]:
    """The records in a samples file; [] where there is no such file or it holds none."""
    if not samples.is_file():
        return []
    records = []
    with open(samples, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                sample = json.loads(line)
            except ValueError as error:
                raise DataError(f"line {number} is not JSON: {error}", where=samples) from None
            records += [v for v in sample.values() if isinstance(v, dict) and v.get("task") == task and "status" in v]
    return records
