"""Reads the results folder of lmms-eval: the newest run of each model and task, with its records if logged.

lmms-eval writes RESULTS_DIR/<model>/<date>_results.json and, with --log_samples, <date>_samples_<task>.jsonl. The date
is in the time zone of --timezone, Asia/Singapore by default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import read_object
from video3d_plugin.files.schema import Anything, Number, Table, Text, Whole, check, fits
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.tasks import get, names, of_host_name
from video3d_plugin.tasks.records import RUN_AGAIN, read_records

_NAME = (Text(5000), None)
_ARGUMENTS = (Text(), Table(Anything()), None)
_RESULTS: dict[str, Any] = {
    "results": Table((Table(object), None), name=Text(512)),
    "date?": _NAME,
    "model_name?": _NAME,
    "config?": object,
}
_CONFIG: dict[str, Any] = {"model?": _NAME, "model_args?": _ARGUMENTS}
# Upper bounds leave room for rounding. CIDEr, which goes up to 10, is multiplied by 100.
_PER_CENT, _CIDER, _COUNT = Number(0, 100.001), Number(0, 1000.01), Number(0, 1e12)


@dataclass(frozen=True)
class TaskRun:
    """The results of one task in one run.

    Attributes:
        task: Name of the benchmark.
        host_name: Name of lmms-eval's task, such as scanrefer_mini.
        file: The results file.
        values: Metrics by name, in per cent: of all conventions if records were logged, else those in the file.
        counts: Numbers of questions by what is counted.
        missing: Reasons by metric, for metrics that could not be computed.
        records: Records of the questions; empty if not logged.
        limited: (questions asked, questions of the task) if --limit was used, else None.
        date: When the run was written, as lmms-eval says it, such as 20261122_090000.
    """

    task: str
    host_name: str
    file: Path
    values: dict[str, float | None]
    counts: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    records: list[dict] = field(default_factory=list, repr=False)
    limited: tuple[int, int] | None = None
    date: str = ""

    @property
    def split_note(self) -> str:
        """The variant of the task, such as mini or test_w_obj; "" for none."""
        return self.host_name.removeprefix(self.task).strip("_")


@dataclass(frozen=True)
class Run:
    """The newest results of one model.

    Attributes:
        model: Name of the model.
        model_args: Its arguments.
        tasks: Results by lmms-eval's name of the task.
    """

    model: str
    model_args: str
    tasks: dict[str, TaskRun]


def read_results(folder: Path, score: Scorer) -> list[Run]:
    """Read the results of all models in a folder.

    Args:
        folder: The --output_path of lmms-eval, or one results file.
        score: A running Scorer for text metrics.

    Returns:
        A run for each model and its arguments, sorted by name.

    Raises:
        MissingError: There is no such folder, or it holds no results of this package's tasks.
        DataError: A file is damaged.
    """
    if not folder.exists():
        raise MissingError("no such folder of results", where=folder, remedy="give lmms-eval's --output_path")
    files = [folder] if folder.is_file() else folder.rglob("*_results.json")
    contents = {file: _read(file) for file in files}
    by_model: dict[tuple[str, str], dict[str, TaskRun]] = {}
    for file in sorted(
        contents, key=lambda file: (_date(file, contents[file]), str(file))
    ):  # later results replace earlier ones
        content = contents[file]
        config = _table(content, "config", file)
        check(config, _CONFIG, file, RUN_AGAIN, name="config")
        name = str(content.get("model_name") or config.get("model") or file.parent.name)
        tasks = by_model.setdefault((name, str(config.get("model_args") or "")), {})
        for host_name in content["results"]:
            if (task := of_host_name(host_name)) is not None:
                tasks[host_name] = _task_run(task, host_name, file, content, score)
    runs = [Run(name, args, tasks) for (name, args), tasks in sorted(by_model.items()) if tasks]
    if not runs:
        raise MissingError(
            f"the folder holds no results of {', '.join(names())}",
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
    """The date as text, such as 20261122_090000: later dates sort behind earlier ones."""
    return str(content.get("date") or file.name.removesuffix("_results.json"))


def _table(content: dict[str, Any], name: str, file: Path, of: str = "") -> dict[str, Any]:
    """`content[name]`, a JSON object; empty if absent. `of` names the content in the error message."""
    value = content.get(name, {})
    if not isinstance(value, dict):
        what = f"{of} of {name}" if of else name
        raise DataError(f"{what}: expected an object, found {type(value).__name__}", where=file)
    return value


def _task_run(task: str, host_name: str, file: Path, content: dict, score: Scorer) -> TaskRun:
    numbers, counts = _host_numbers(host_name, file, content)
    missing: dict[str, str] = {}
    samples = file.with_name(file.name.replace("_results.json", f"_samples_{host_name}.jsonl"))
    records = list(read_records(samples, (task,))) if samples.is_file() else []
    if records:
        scores = get(task).scores(sorted(records, key=lambda record: record["id"]), score)
        numbers, counts, missing = scores.values, scores.counts, scores.missing
    asked = _table(_table(content, "n-samples", file), host_name, file, "n-samples")
    pair = (asked.get("effective"), asked.get("original"))
    limited = pair if fits(pair, [Whole(0)] * 2) and pair[0] < pair[1] else None
    return TaskRun(task, host_name, file, numbers, counts, missing, records, limited, _date(file, content))


def _host_numbers(host_name: str, file: Path, content: dict) -> tuple[dict[str, float | None], dict[str, int]]:
    """(metrics, counts) in the results file."""
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
