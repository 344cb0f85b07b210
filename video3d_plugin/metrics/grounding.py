"""ScanRefer and Multi3DRefer: scores of single predictions and of a split.

Aggregates are percentages by name. A plain name is the official evaluator's number; numbers of other programs have a
prefix:

    (none)        ScanRefer benchmark/eval.py 9d74830; Multi3DRefer: M3DRef-CLIP babfcc4, whose authors made the set
    m3dref_       M3DRef-CLIP babfcc4 on ScanRefer: a query without a prediction is wrong
    v3d_          LaVi-Lab/Video-3D-LLM 3ff70e8
    torchmetrics_ torchmetrics_ext 0.4.2: as M3DRef-CLIP, over the answered queries

docs/metrics.md explains the differences.
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
    """The score of one ScanRefer description. An item of unknown group (None) counts in the overall number only.

    Attributes:
        iou: IoU in float64 (`metrics.iou.iou`).
        iou_float32: IoU in float32 (`metrics.iou.iou_float32`).
        multiple: Whether the scene has another object of its class, by the official grouping (18 classes).
        others: Whether its class is "others", by the official grouping.
        v3d_multiple: `multiple` by the grouping of Video-3D-LLM and M3DRef-CLIP (NYU40 ids).
        submitted: False without a prediction. Empty and unreadable predictions are submitted, with IoU 0.
        known: False for a prediction of an item that the ground truth does not have.
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
    """Compute the official accuracies and counts (benchmark/eval.py 9d74830).

    Accuracies are means over the submitted predictions, in {all, unique, multiple} x {all, not_in_others, in_others}.
    An empty group has accuracy 0. A prediction of an unknown item counts with IoU 0.

    Args:
        items: Items of the split.

    Returns:
        `{group}{other}acc@{iou}` in per cent, and `count_{group}{other}`.
    """
    items = [item for item in items if item.submitted]
    numbers = {}
    for group, in_group in _GROUPS.items():
        for other, in_other in _OTHERS.items():
            members = [item for item in items if in_group(item.multiple) and in_other(item.others)]
            for t in THRESHOLDS:
                numbers[f"{group}{other}acc@{t}"] = 100 * _hits(members, t) / len(members) if members else 0.0
            numbers[f"count_{group}{other}".rstrip("_")] = float(len(members))
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
    """Compute the accuracies of M3DRef-CLIP (babfcc4): means over the ground truth; a missing prediction is wrong.

    M3DRef-CLIP leaves groups with missing predictions undefined; here they follow the same rule.

    Args:
        items: Items of the split.

    Returns:
        `m3dref_{group}acc@{iou}` in per cent; None for an empty group.
    """
    return _by_eval_type([item for item in items if item.known], "m3dref_", "iou_float32")


def scanrefer_v3d(items: Iterable[ScanReferItem]) -> dict[str, float | None]:
    """Compute the accuracies of Video-3D-LLM (3ff70e8): means over the submitted predictions.

    Args:
        items: Items of the split.

    Returns:
        `v3d_{group}acc@{iou}` in per cent; None for an empty group.
    """
    return _by_eval_type([item for item in items if item.known and item.submitted], "v3d_", "iou")


def _by_eval_type(items: list[ScanReferItem], prefix: str, field: str) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for group, in_group in _GROUPS.items():
        members = [item for item in items if in_group(item.v3d_multiple)]
        for t in THRESHOLDS:
            numbers[f"{prefix}{group}acc@{t}"] = 100 * _hits(members, t, field) / len(members) if members else None
    return numbers


def matched_ious(ious: np.ndarray) -> np.ndarray:
    """Assign predicted to true boxes by the largest sum of IoU.

    Args:
        ious: (P, G) IoU of predicted and true boxes.

    Returns:
        (P,) IoU of each prediction with its true box; 0 without one.
    """
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
    """Compute F1 as Video-3D-LLM does (eval_multi3drefer.py 3ff70e8).

    IoUs are computed in float64 and rounded to float32, so that an IoU of exactly 0.5 counts here though not in
    ScanRefer.

    Args:
        predicted: (P, 6) predicted boxes.
        truth: (G, 6) true boxes.

    Returns:
        F1 at IoU 0.25 and 0.5. It is 1 if both sets are empty, and 0 if one is.
    """
    predicted, truth = as_boxes(predicted, "predicted boxes"), as_boxes(truth, "ground-truth boxes")
    if not len(predicted) or not len(truth):
        f1 = float(len(predicted) == len(truth))
        return f1, f1
    return _f1(predicted, truth, iou_matrix(predicted, truth))


def f1_m3dref(predicted: Sequence | np.ndarray, truth: Sequence | np.ndarray, eval_type: str) -> tuple[float, float]:
    """Compute F1 as M3DRef-CLIP does (babfcc4), with IoUs in float32.

    Args:
        predicted: (P, 6) predicted boxes.
        truth: (G, 6) true boxes.
        eval_type: One of TARGET_TYPES.

    Returns:
        F1 at IoU 0.25 and 0.5. For the zero-target types it is 1 if nothing is predicted, else 0.
    """
    predicted, truth = as_boxes(predicted, "predicted boxes"), as_boxes(truth, "ground-truth boxes")
    if eval_type.startswith("zt"):
        f1 = float(len(predicted) == 0)
        return f1, f1
    if not len(predicted) or not len(truth):
        return 0.0, 0.0
    return _f1(predicted, truth, iou_matrix_float32(predicted, truth))


@dataclass(frozen=True)
class Multi3DReferItem:
    """The scores of one Multi3DRefer query.

    Attributes:
        eval_type: One of TARGET_TYPES.
        m3dref: F1 at IoU 0.25 and 0.5 by M3DRef-CLIP.
        v3d: F1 at IoU 0.25 and 0.5 by Video-3D-LLM.
        submitted: False without a prediction.
    """

    eval_type: str
    m3dref: tuple[float, float]
    v3d: tuple[float, float]
    submitted: bool = True


def multi3drefer_official(items: Iterable[Multi3DReferItem], prefix: str = "") -> dict[str, float | None]:
    """Average F1 as M3DRef-CLIP does (babfcc4). A missing prediction scores 0.

    The original leaves the types of missing predictions undefined; here they follow the same rule.

    Args:
        items: Items of the split.
        prefix: Prefix of the names.

    Returns:
        `{prefix}{type}_f1@{iou}` in per cent; None for a type without queries.
    """
    return _f1_means([(item.eval_type, item.m3dref if item.submitted else (0.0, 0.0)) for item in items], prefix)


def multi3drefer_torchmetrics(
    items: Iterable[Multi3DReferItem], prefix: str = "torchmetrics_"
) -> dict[str, float | None]:
    """Average M3DRef-CLIP's F1 over the answered queries, as torchmetrics_ext 0.4.2 does.

    Args:
        items: Items of the split.
        prefix: Prefix of the names.

    Returns:
        `{prefix}{type}_f1@{iou}` in per cent; None for a type without queries.
    """
    return _f1_means([(item.eval_type, item.m3dref) for item in items if item.submitted], prefix)


def multi3drefer_v3d(items: Iterable[Multi3DReferItem], prefix: str = "v3d_") -> dict[str, float | None]:
    """Average Video-3D-LLM's F1 over the answered queries, as its evaluator does (3ff70e8).

    Args:
        items: Items of the split.
        prefix: Prefix of the names.

    Returns:
        `{prefix}{type}_f1@{iou}` in per cent; None for a type without queries.
    """
    return _f1_means([(item.eval_type, item.v3d) for item in items if item.submitted], prefix)


def _f1_means(scored: list[tuple[str, tuple[float, float]]], prefix: str) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for group in ("", *TARGET_TYPES):
        members = [f1 for eval_type, f1 in scored if not group or eval_type == group]
        for i, t in enumerate(THRESHOLDS):
            name = f"{prefix}{group}_f1@{t}" if group else f"{prefix}f1@{t}"
            numbers[name] = 100 * float(np.mean([f1[i] for f1 in members])) if members else None
    return numbers
