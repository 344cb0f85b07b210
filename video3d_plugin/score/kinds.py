"""The types that the metrics count on, of what a file of predictions may hold beside predictions.

A kind is a type, (kind, kind) for either, [kind] for a list of any length, [kind, kind] for one of that length, or
{name: kind} for a mapping with at least these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.task_grounding import RULES

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
# `gt_response` in a line of Video-3D-LLM.
TRUTH: dict[str, Any] = {"scanrefer": BOX, "multi3drefer": [BOX], "scan2cap": [str], "sqa3d": str}
# `scores` and `objects` there.
SCORED = {"scores": list, "objects": list}


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


def check_record(task: str, record: Mapping[str, Any], where: str) -> None:
    """DataError where a record of a samples file cannot be scored."""
    kinds = _EVERY | RECORD[task] | {name: kind for name, kind in _WHERE_THERE.items() if name in record}
    check(record, kinds, where, f"a record of {task} that is not whole: run lmms-eval again")
