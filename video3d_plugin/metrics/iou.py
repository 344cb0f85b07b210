"""Overlap of axis-aligned boxes as each benchmark's evaluator computes it.

A box is (6,): centre x, y, z and size x, y, z, in metres, in any common frame. Corners are (8, 3). The evaluators
differ in precision and in the term that avoids division by zero, which decides exact ties at a threshold:

    iou          float64, eps 1e-8        ScanRefer benchmark/eval.py (9d74830), Scan2Cap, Video-3D-LLM (3ff70e8)
    iou_float32  float32, eps 2**-23      M3DRef-CLIP (babfcc4), torchmetrics_ext 0.4.2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError

LARGEST_M = 1e9  # beyond any scene; products of three such numbers are within float32
_KINDS = {"b": "true or false", "U": "text", "S": "text", "c": "complex numbers"}
_SIGNS = np.array([[1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1], [1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1]])


def finite_numbers(values: Any, what: str, largest: float = LARGEST_M) -> np.ndarray:
    """Convert values to a float64 array.

    Args:
        values: Numbers in any nesting that numpy takes.
        what: Name of the values, for the error message.
        largest: Largest absolute value.

    Raises:
        DataError: A value is not a number, not finite or beyond `largest`.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" and array.size:  # numpy would convert text and booleans to numbers
            raise TypeError(_KINDS.get(array.dtype.kind, "values of several types"))
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{what}: not numbers: {error!s:.200}") from None
    if not (np.abs(array) <= largest).all():
        raise DataError(f"{what}: a number is not finite or beyond {largest:g}")
    return array


def as_boxes(boxes: Sequence | np.ndarray, what: str = "boxes") -> np.ndarray:
    """Convert boxes to an array.

    Args:
        boxes: (N, 6) boxes, one box (6,), or an empty list.
        what: Name of the boxes, for the error message.

    Returns:
        (N, 6) float64.

    Raises:
        DataError: The shape is another, or a number is not a coordinate.
    """
    array = finite_numbers(boxes, what)
    if array.size == 0:
        return np.zeros((0, 6))
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 6:
        raise DataError(f"{what}: shape {array.shape}, expected (N, 6)", remedy="give six numbers a box: centre, size")
    return array


def as_box(box: Sequence | np.ndarray, what: str = "box") -> np.ndarray:
    """Convert a box to an array.

    Args:
        box: Six numbers, a list of one such box, or eight corners (8, 3).
        what: Name of the box, for the error message.

    Returns:
        (6,) float64.

    Raises:
        DataError: It is none of these.
    """
    array = finite_numbers(box, what)
    if array.shape == (8, 3):
        return box_of_corners(array)
    boxes = as_boxes(array, what)
    if len(boxes) != 1:
        raise DataError(f"{what}: {len(boxes)} boxes, expected one")
    return boxes[0]


def corners_of_box(box: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the corners of a box in ScanRefer's order.

    Args:
        box: (6,) centre and size.

    Returns:
        (8, 3) float64.
    """
    numbers = np.asarray(box, dtype=np.float64)
    return numbers[:3] + _SIGNS * numbers[3:] / 2


def box_of_corners(corners: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Return the axis-aligned box around points.

    Args:
        corners: (K, 3) points in any order.

    Returns:
        (6,) centre and size.

    Raises:
        DataError: The shape is another, or a number is not a coordinate.
    """
    points = finite_numbers(corners, "corners")
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise DataError(f"corners have shape {points.shape}, expected (8, 3)")
    low, high = points.min(0), points.max(0)
    return np.concatenate([(low + high) / 2, high - low])


def bounds(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest corner of boxes. Negative sizes act as positive, as in the evaluators.

    Args:
        boxes: (..., 6) boxes.

    Returns:
        Two arrays (..., 3).
    """
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
    """Compute the IoU of ScanRefer, Scan2Cap and Video-3D-LLM: float64 with eps 1e-8.

    Args:
        a: (N, 6) boxes.
        b: (M, 6) boxes.

    Returns:
        (N, M) float64.
    """
    return _pairwise(as_boxes(a), as_boxes(b), np.float64, 1e-8)


def iou_matrix_float32(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the IoU of M3DRef-CLIP: float32 with its machine epsilon.

    Args:
        a: (N, 6) boxes.
        b: (M, 6) boxes.

    Returns:
        (N, M) float32.
    """
    return _pairwise(as_boxes(a), as_boxes(b), np.float32, float(np.finfo(np.float32).eps))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute `iou_matrix` for two boxes (6,)."""
    return float(iou_matrix(np.asarray(a), np.asarray(b))[0, 0])


def iou_float32(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute `iou_matrix_float32` for two boxes (6,)."""
    return float(iou_matrix_float32(np.asarray(a), np.asarray(b))[0, 0])


def giou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute generalised IoU (Rezatofighi et al., 2019): IoU minus the empty share of the box around both.

    Args:
        a: (N, 6) boxes.
        b: (M, 6) boxes.

    Returns:
        (N, M) float64, -1 to 1.
    """
    a, b = as_boxes(a), as_boxes(b)
    (a_low, a_high), (b_low, b_high) = bounds(a), bounds(b)
    inter = np.clip(np.minimum(a_high[:, None], b_high) - np.maximum(a_low[:, None], b_low), 0, None).prod(-1)
    union = (a_high - a_low).prod(-1)[:, None] + (b_high - b_low).prod(-1) - inter
    hull = (np.maximum(a_high[:, None], b_high) - np.minimum(a_low[:, None], b_low)).prod(-1)
    tiny = np.finfo(np.float64).tiny
    return inter / np.maximum(union, tiny) - (hull - union) / np.maximum(hull, tiny)
