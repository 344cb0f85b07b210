"""Records as files hold them: read, and checked before they are scored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.files.json import json_lines
from video3d_plugin.files.schema import OneOf, Text, check
from video3d_plugin.tasks import registry
from video3d_plugin.tasks.kinds import REFERENCE

RUN_AGAIN = "run lmms-eval again, with --log_samples"
# Of a record of any task; a benchmark's own fields: TaskSpec.record_fields.
_EVERY: dict[str, Any] = {
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


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The record in each sample of a `<date>_samples_<task>.jsonl` of lmms-eval that has one of the known tasks.

    Raises:
        DataError: A line is no sample, or a record is not whole.
    """
    known = registry.names()
    for number, sample in json_lines(path, dict, RUN_AGAIN):
        record = record_in(sample, known)
        if record is not None:
            check_record(record, f"{path}, line {number}")
            yield record


def record_in(sample: Mapping[str, Any], known: Collection[str]) -> dict[str, Any] | None:
    """The record in a sample, of one of the `known` tasks: the host puts it under the first metric, and names that in
    it."""
    for value in sample.values():
        if isinstance(value, dict) and value.get("task") in tuple(known) and {"id", "status"} <= value.keys():
            return {name: v for name, v in value.items() if name != "metric"}
    return None


def check_record(record: Mapping[str, Any], where: str) -> None:
    """DataError where a record of a samples file cannot be scored."""
    task = record["task"]
    kinds = _EVERY | dict(registry.get(task).record_fields)
    check(record, kinds, where, f"a record of {task} that is not whole: {RUN_AGAIN}")
