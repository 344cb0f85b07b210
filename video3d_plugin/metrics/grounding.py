"""ScanRefer and Multi3DRefer: what one prediction scores, and the numbers of a whole split.

Aggregates are percentages by name. A plain name is the official evaluator's number; where another program defines
it differently, its number carries a prefix:

    (none)        ScanRefer benchmark/eval.py 9d74830; Multi3DRefer: M3DRef-CLIP babfcc4, whose authors made the set
    m3dref_       M3DRef-CLIP babfcc4 on ScanRefer: a query without a prediction is wrong
    v3d_          LaVi-Lab/Video-3D-LLM 3ff70e8
    torchmetrics_ torchmetrics_ext 0.4.2: as M3DRef-CLIP, over the queries that were answered

How they differ: docs/metrics.md. Pure numpy and scipy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from video3d_plugin.metrics.iou import as_boxes, iou_matrix, iou_matrix_float32

THRESHOLDS = (0.25, 0.5)
TARGET_TYPES = ("zt_w_d", "zt_wo_d", "st_w_d", "st_wo_d", "mt")


@dataclass(frozen=True)
class ScanReferItem:
    """One ScanRefer description and what was predicted for it.

    multiple, others   the official grouping (18 classes): not the only one of its class; class "others"
    v3d_multiple       grouping of Video-3D-LLM and M3DRef-CLIP (NYU40 ids): eval_type == "multiple"
                       (None where the group is not known: the item counts in "all" alone)
    submitted          False where no prediction was made at all (an empty or unreadable one is submitted, IoU 0)
    known              False where a prediction names an item that the ground truth does not have
    """

    iou: float
    iou_float32: float
    multiple: bool | None
    others: bool | None
    v3d_multiple: bool | None
    submitted: bool = True
    known: bool = True


def _hits(items: Sequence[ScanReferItem], threshold: float, field: str = "iou") -> float:
    return float(sum(getattr(item, field) >= threshold for item in items))


def scanrefer_official(items: Iterable[ScanReferItem]) -> dict[str, float]:
    """Mean over the submitted predictions, {all, unique, multiple} x {all, not_in_others, in_others}; empty group: 0.

    A prediction for an unknown item counts with IoU 0.
    """
    items = [item for item in items if item.submitted]
    numbers = {}
    for group, in_group in _GROUPS.items():
        for other, in_other in _OTHERS.items():
            chosen = [item for item in items if in_group(item.multiple) and in_other(item.others)]
            for t in THRESHOLDS:
                numbers[f"{group}{other}acc@{t}"] = 100 * _hits(chosen, t) / len(chosen) if chosen else 0.0
            numbers[f"count_{group}{other}".rstrip("_")] = float(len(chosen))
    return numbers


_GROUPS = {
    "": lambda _: True,
    "unique_": lambda multiple: multiple is False,
    "multiple_": lambda multiple: multiple is True,
}
_OTHERS = {
    "": lambda _: True,
    "not_in_others_": lambda others: others is False,
    "in_others_": lambda others: others is True,
}


def scanrefer_m3dref(items: Iterable[ScanReferItem]) -> dict[str, float | None]:
    """Mean over the ground truth: what was not predicted is wrong. None for an empty group.

    M3DRef-CLIP leaves its sub-groups undefined when predictions are missing; here they follow the same rule.
    """
    return _by_eval_type([item for item in items if item.known], "m3dref_", "iou_float32")


def scanrefer_v3d(items: Iterable[ScanReferItem]) -> dict[str, float | None]:
    """Mean over the lines of the output file, no "others". None for an empty group."""
    return _by_eval_type([item for item in items if item.known and item.submitted], "v3d_", "iou")


def _by_eval_type(items: list[ScanReferItem], prefix: str, field: str) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for group, in_group in _GROUPS.items():
        chosen = [item for item in items if in_group(item.v3d_multiple)]
        for t in THRESHOLDS:
            numbers[f"{prefix}{group}acc@{t}"] = 100 * _hits(chosen, t, field) / len(chosen) if chosen else None
    return numbers


def matched_ious(ious: np.ndarray) -> np.ndarray:
    """IoU of each prediction with the box assigned to it (0 if none), for an (P, G) matrix: largest sum of IoU."""
    side = max(ious.shape)
    square = np.zeros((side, side), np.float32)
    square[: ious.shape[0], : ious.shape[1]] = ious
    rows, columns = linear_sum_assignment(-square)
    return square[rows, columns][: ious.shape[0]]


def _f1(predicted: np.ndarray, truth: np.ndarray, ious: np.ndarray) -> tuple[float, float]:
    matched = matched_ious(ious)
    low, high = (2 * int((matched >= t).sum()) / (len(predicted) + len(truth)) for t in THRESHOLDS)
    return low, high


def f1_v3d(predicted: Sequence | np.ndarray, truth: Sequence | np.ndarray) -> tuple[float, float]:
    """F1 at IoU 0.25 and 0.5 of (P, 6) against (G, 6) boxes. Both empty: 1. One empty: 0. (Video-3D-LLM)

    The matrix is float64 IoU rounded to float32, so an exact 0.5 passes here though it fails in ScanRefer.
    """
    found, there = as_boxes(predicted, "predicted boxes"), as_boxes(truth, "ground-truth boxes")
    if not len(found) or not len(there):
        both = float(len(found) == len(there))
        return both, both
    return _f1(found, there, iou_matrix(found, there))


def f1_m3dref(predicted: Sequence | np.ndarray, truth: Sequence | np.ndarray, eval_type: str) -> tuple[float, float]:
    """F1 at IoU 0.25 and 0.5; for the zero-target types 1 if nothing is predicted, else 0. (M3DRef-CLIP)"""
    found, there = as_boxes(predicted, "predicted boxes"), as_boxes(truth, "ground-truth boxes")
    if eval_type.startswith("zt"):
        none = float(len(found) == 0)
        return none, none
    if not len(found) or not len(there):
        return 0.0, 0.0
    return _f1(found, there, iou_matrix_float32(found, there))


@dataclass(frozen=True)
class Multi3DReferItem:
    """F1 at 0.25 and 0.5 of one Multi3DRefer query in both conventions; `submitted` is False for a missing one."""

    eval_type: str
    m3dref: tuple[float, float]
    v3d: tuple[float, float]
    submitted: bool = True


def multi3drefer_official(items: Iterable[Multi3DReferItem], prefix: str = "") -> dict[str, float | None]:
    """M3DRef-CLIP: a missing prediction scores 0, overall and in its type (where the original leaves it undefined)."""
    return _f1_means([(item.eval_type, item.m3dref if item.submitted else (0.0, 0.0)) for item in items], prefix)


def multi3drefer_torchmetrics(
    items: Iterable[Multi3DReferItem], prefix: str = "torchmetrics_"
) -> dict[str, float | None]:
    """torchmetrics_ext: the same per query, averaged over the queries that were answered."""
    return _f1_means([(item.eval_type, item.m3dref) for item in items if item.submitted], prefix)


def multi3drefer_v3d(items: Iterable[Multi3DReferItem], prefix: str = "v3d_") -> dict[str, float | None]:
    """Video-3D-LLM: over the lines of the output file."""
    return _f1_means([(item.eval_type, item.v3d) for item in items if item.submitted], prefix)


def _f1_means(scored: list[tuple[str, tuple[float, float]]], prefix: str) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for group in ("", *TARGET_TYPES):
        chosen = [f1 for eval_type, f1 in scored if not group or eval_type == group]
        for i, t in enumerate(THRESHOLDS):
            name = f"{prefix}{group}_f1@{t}" if group else f"{prefix}f1@{t}"
            numbers[name] = 100 * float(np.mean([f1[i] for f1 in chosen])) if chosen else None
    return numbers
