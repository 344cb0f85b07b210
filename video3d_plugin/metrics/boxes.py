"""Overlap of axis-aligned boxes as each benchmark's evaluator computes it.

A box is (6,): centre x, y, z and size x, y, z, in metres, in any one frame. Corners are (8, 3). The evaluators
differ in precision and in the term that keeps the quotient finite, which decides exact ties at a threshold:

    iou          float64, eps 1e-8        ScanRefer benchmark/eval.py (9d74830), Scan2Cap, Video-3D-LLM (3ff70e8)
    iou_float32  float32, eps 2**-23      M3DRef-CLIP (babfcc4), torchmetrics_ext 0.4.2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError

LARGEST_M = 1e9  # no place on Earth is further off; products of three such numbers are far within float32
_KINDS = {"b": "true or false", "U": "text", "S": "text", "c": "complex numbers"}
_SIGNS = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1], [1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1]])


def finite_numbers(values: Any, what: str, largest: float = LARGEST_M) -> np.ndarray:
    """A float64 array of any shape; DataError where something is no number, not finite or beyond `largest`."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" and array.size:  # text and truth values would pass as numbers
            raise TypeError(_KINDS.get(array.dtype.kind, "values of several types"))
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{what}: not numbers: {error!s:.200}") from None
    if not (np.abs(array) <= largest).all():
        raise DataError(f"{what}: a number is not finite or beyond {largest:g}")
    return array


def as_boxes(boxes: Sequence | np.ndarray, what: str = "boxes") -> np.ndarray:
    """(N, 6) float64; an empty list gives (0, 6). DataError where the shape is another or a number no coordinate."""
    array = finite_numbers(boxes, what)
    if array.size == 0:
        return np.zeros((0, 6))
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 6:
        raise DataError(f"{what}: shape {array.shape}, expected (N, 6)", remedy="give six numbers a box: centre, size")
    return array


def as_box(box: Sequence | np.ndarray, what: str = "box") -> np.ndarray:
    """(6,) float64 of six numbers, of a list of one such box, or of eight corners (8, 3); DataError otherwise."""
    array = finite_numbers(box, what)
    if array.shape == (8, 3):
        return box_of_corners(array)
    boxes = as_boxes(array, what)
    if len(boxes) != 1:
        raise DataError(f"{what}: {len(boxes)} boxes, expected one")
    return boxes[0]


def corners_of_box(box: Sequence[float] | np.ndarray) -> np.ndarray:
    """(8, 3) corners of a (6,) box, in ScanRefer's order."""
    numbers = np.asarray(box, dtype=np.float64)
    return numbers[:3] + _SIGNS * numbers[3:] / 2


def box_of_corners(corners: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """(6,) box around (K, 3) corners; the order of the corners does not matter."""
    points = finite_numbers(corners, "corners")
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise DataError(f"corners have shape {points.shape}, expected (8, 3)")
    low, high = points.min(0), points.max(0)
    return np.concatenate([(low + high) / 2, high - low])


def bounds(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner, (..., 3) each. A negative size acts as positive, as in the evaluators."""
    half = np.abs(boxes[..., 3:]) / 2
    return boxes[..., :3] - half, boxes[..., :3] + half


def _pairwise(a: np.ndarray, b: np.ndarray, dtype: type[np.floating], eps: float) -> np.ndarray:
    a_low, a_high = [corner.astype(dtype) for corner in bounds(a)]
    b_low, b_high = [corner.astype(dtype) for corner in bounds(b)]
    side = np.minimum(a_high[:, None], b_high[None]) - np.maximum(a_low[:, None], b_low[None])
    inter = np.clip(side, 0, None).prod(-1)
    volume_a, volume_b = (a_high - a_low).prod(-1), (b_high - b_low).prod(-1)
    return inter / (volume_a[:, None] + volume_b[None] - inter + dtype(eps))


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) IoU in float64 with eps 1e-8: ScanRefer, Scan2Cap, Video-3D-LLM."""
    return _pairwise(as_boxes(a), as_boxes(b), np.float64, 1e-8)


def iou_matrix_float32(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) IoU in float32 with float32's machine epsilon: M3DRef-CLIP."""
    return _pairwise(as_boxes(a), as_boxes(b), np.float32, float(np.finfo(np.float32).eps))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    return float(iou_matrix(np.asarray(a), np.asarray(b))[0, 0])


def iou_float32(a: Sequence[float], b: Sequence[float]) -> float:
    return float(iou_matrix_float32(np.asarray(a), np.asarray(b))[0, 0])


def giou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) generalised IoU (Rezatofighi et al., 2019): IoU less the empty share of the smallest box around both."""
    a, b = as_boxes(a), as_boxes(b)
    (a_low, a_high), (b_low, b_high) = bounds(a), bounds(b)
    inter = np.clip(np.minimum(a_high[:, None], b_high) - np.maximum(a_low[:, None], b_low), 0, None).prod(-1)
    union = (a_high - a_low).prod(-1)[:, None] + (b_high - b_low).prod(-1) - inter
    hull = (np.maximum(a_high[:, None], b_high) - np.minimum(a_low[:, None], b_low)).prod(-1)
    tiny = np.finfo(np.float64).tiny
    return inter / np.maximum(union, tiny) - (hull - union) / np.maximum(hull, tiny)
