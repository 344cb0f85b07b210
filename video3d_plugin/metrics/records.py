"""Records as files hold them: what is read of them, and the kinds (`files.schema`) that the metrics count on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.files.json import json_lines
from video3d_plugin.files.schema import Number, OneOf, Text, check
from video3d_plugin.metrics.boxes import LARGEST_M
from video3d_plugin.metrics.task_base import LONGEST_ANSWER, LONGEST_REFERENCE
from video3d_plugin.metrics.task_grounding import RULES

RUN_AGAIN = "run lmms-eval again, with --log_samples"
BOX = [Number(-LARGEST_M, LARGEST_M)] * 6
_SHARE = Number(0, 1.001)  # of an overlap, with room for rounding
_YES_NO = (bool, None)
_SAID = Text(LONGEST_ANSWER)
_TRUE = Text(LONGEST_REFERENCE)
_EVERY: dict[str, Any] = {
    "id": Text(2000, shortest=1),
    "status": OneOf(("ok", "missing", "empty", "unreadable")),
    "scene_id": Text(512),
    "reason?": Text(),
    "extra?": bool,
    "peculiar?": [str],
    "tokens?": ([Text(512)], None),
    "description?": _TRUE,
    "object_name?": Text(512),
    "situation?": _TRUE,
    "question_type?": (Text(512), None),
}

# What is read of a record when it is scored (metrics.task_grounding and metrics.task_text).
RECORD: dict[str, dict[str, Any]] = {
    "scanrefer": {
        "iou": _SHARE,
        "iou_float32": _SHARE,
        "box?": (BOX, None),
        "gt_box?": BOX,
        "multiple": _YES_NO,
        "others": _YES_NO,
        "v3d_multiple": _YES_NO,
    },
    "multi3drefer": {
        "ann_id": (Text(512), int),
        "eval_type": str,
        "gt_boxes": [BOX],
        "chosen": {rule.name: {"m3dref": [_SHARE] * 2, "v3d": [_SHARE] * 2, "boxes": [BOX]} for rule in RULES},
    },
    "scan2cap": {
        "object_id": str,
        "caption": _SAID,
        "box": (BOX, None),
        "gt_box": BOX,
        "iou": (_SHARE, None),
        "references": [_TRUE],
        "reference_tokens": [[Text(512)]],
    },
    "scanqa": {"question": _TRUE, "answers": [_TRUE], "answer": _SAID, "answers_top10": ([_SAID], None)},
    "sqa3d": {"question": _TRUE, "answer": _SAID, "reference": _TRUE},
}


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


def check_record(record: Mapping[str, Any], where: str) -> None:
    """DataError where a record of a samples file cannot be scored."""
    task = record["task"]
    check(record, _EVERY | RECORD[task], where, f"a record of {task} that is not whole: {RUN_AGAIN}")
