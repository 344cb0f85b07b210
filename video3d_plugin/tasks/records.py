"""Records as files hold them: read, and checked before they are scored.

A kind is a type, (kind, kind) for either, [kind] for a list of any length, [kind, kind] for one of that length, or
{name: kind} for a mapping with at least these names. Which fields a benchmark's records need: `TaskSpec.record_fields`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.json import json_lines
from video3d_plugin.tasks import registry

RUN_AGAIN = "run lmms-eval again, with --log_samples"
NUMBER = (int, float)
BOX = [NUMBER] * 6
YES_NO = (bool, NoneType)
_EVERY = {"id": str, "status": str, "scene_id": str}
_WHERE_THERE = {"peculiar": [str], "tokens": [str]}


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


def fits(value: Any, kind: Any) -> bool:
    """Whether a value that JSON held is of the kind."""
    if isinstance(kind, tuple):
        return any(fits(value, k) for k in kind)
    if isinstance(kind, list):
        kinds = kind * len(value) if isinstance(value, list) and len(kind) == 1 else kind
        return isinstance(value, list) and len(value) == len(kinds) and all(map(fits, value, kinds))
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(name in value and fits(value[name], k) for name, k in kind.items())
    return isinstance(value, kind)


def check(values: Mapping[str, Any], kinds: Mapping[str, Any], where: str, remedy: str | None = None) -> None:
    """DataError that names the first of `kinds` that is missing or of another type."""
    for name, kind in kinds.items():
        if name not in values or not fits(values[name], kind):
            what = f"`{name}` is of another type than expected" if name in values else f"`{name}` is missing"
            raise DataError(what, where=where, remedy=remedy)


def check_record(record: Mapping[str, Any], where: str) -> None:
    """DataError where a record of a samples file cannot be scored."""
    task = record["task"]
    kinds = _EVERY | dict(registry.get(task).record_fields)
    kinds |= {name: kind for name, kind in _WHERE_THERE.items() if name in record}
    check(record, kinds, where, f"a record of {task} that is not whole: {RUN_AGAIN}")
