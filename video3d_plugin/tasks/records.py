"""Reads the records in samples files of lmms-eval, and checks them before they are scored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.files.json import json_lines
from video3d_plugin.files.schema import OneOf, Text, check
from video3d_plugin.tasks import registry
from video3d_plugin.tasks.kinds import REFERENCE

RUN_AGAIN = "run lmms-eval again, with --log_samples"
# Fields of a record of any task. Those of one benchmark are in TaskSpec.record_fields.
_COMMON_FIELDS: dict[str, Any] = {
    "id": Text(2000, shortest=1),
    "status": OneOf(("ok", "missing", "empty", "unreadable")),
    "scene_id": Text(512),
    "reason?": Text(),
    "extra?": bool,
    "peculiar?": [str],
    "tokens?": ([Text(512)], None),
    "description?": REFERENCE,
    "object_name?": Text(512),
    "situation?": REFERENCE,
    "question_type?": (Text(512), None),
}


def read_records(path: Path, tasks: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of a samples file (`<date>_samples_<task>.jsonl`). Samples of other tasks are skipped.

    Args:
        path: The samples file.
        tasks: Names of the benchmarks to read; None for all known ones.

    Raises:
        DataError: A line is not a sample, or a record is not complete.
    """
    names = registry.names() if tasks is None else tasks
    for number, sample in json_lines(path, dict, RUN_AGAIN):
        record = record_of_sample(sample, names, f"{path}, line {number}")
        if record is not None:
            yield record


def record_of_sample(sample: Mapping[str, Any], tasks: Collection[str], where: str) -> dict[str, Any] | None:
    """Return the record in a sample of lmms-eval, which stands under the task's first metric.

    Args:
        sample: One line of a samples file.
        tasks: Names of the benchmarks to accept.
        where: Place of the sample, for the error message.

    Returns:
        The record; None if the sample has none of these benchmarks.

    Raises:
        DataError: The record is not complete.
    """
    for value in sample.values():
        if isinstance(value, dict) and value.get("task") in tuple(tasks) and {"id", "status"} <= value.keys():
            record = {name: v for name, v in value.items() if name != "metric"}
            task = record["task"]
            fields = _COMMON_FIELDS | dict(registry.get(task).record_fields)
            check(record, fields, where, f"the record of {task} is not complete: {RUN_AGAIN}")
            return record
    return None
