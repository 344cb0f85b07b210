"""Records as files hold them: what is read of them, and the types that the metrics count on.

A kind is a type, (kind, kind) for either, [kind] for a list of any length, [kind, kind] for one of that length, or
{name: kind} for a mapping with at least these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.json import json_lines
from video3d_plugin.metrics.task_grounding import RULES

RUN_AGAIN = "run lmms-eval again, with --log_samples"
NUMBER = (int, float)
BOX = [NUMBER] * 6
_YES_NO = (bool, NoneType)
_EVERY = {"id": str, "status": str, "scene_id": str}

# What is read of a record when it is scored (metrics.task_grounding and metrics.task_text).
RECORD: dict[str, dict[str, Any]] = {
    "scanrefer": {
        "iou": NUMBER,
        "iou_float32": NUMBER,
        "multiple": _YES_NO,
        "others": _YES_NO,
        "v3d_multiple": _YES_NO,
    },
    "multi3drefer": {
        "ann_id": object,
        "eval_type": str,
        "gt_boxes": [BOX],
        "chosen": {rule.name: {"m3dref": [NUMBER] * 2, "v3d": [NUMBER] * 2} for rule in RULES},
    },
    "scan2cap": {
        "object_id": str,
        "caption": str,
        "box": (BOX, NoneType),
        "gt_box": BOX,
        "iou": (NUMBER, NoneType),
        "references": [str],
        "reference_tokens": [[str]],
    },
    "scanqa": {"question": str, "answers": [str], "answer": str, "answers_top10": ([str], NoneType)},
    "sqa3d": {"question": str, "answer": str, "reference": str},
}
_WHERE_THERE = {"peculiar": [str], "tokens": [str]}


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The record in each sample of a `<date>_samples_<task>.jsonl` of lmms-eval that has one of this package's tasks.

    DataError where a line is no sample, or a record is not whole.
    """
    for number, sample in json_lines(path, dict, RUN_AGAIN):
        record = record_in(sample)
        if record is not None:
            check_record(record, f"{path}, line {number}")
            yield record


def record_in(sample: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record in a sample: the host puts it under the task's first metric, and names that in it."""
    for value in sample.values():
        if isinstance(value, dict) and value.get("task") in tuple(RECORD) and {"id", "status"} <= value.keys():
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
    kinds = _EVERY | RECORD[task] | {name: kind for name, kind in _WHERE_THERE.items() if name in record}
    check(record, kinds, where, f"a record of {task} that is not whole: {RUN_AGAIN}")
