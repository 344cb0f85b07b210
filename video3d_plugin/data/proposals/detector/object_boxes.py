"""Boxes of objects that are given as cells of a surface, robust to stray cells."""

from __future__ import annotations

import numpy as np

from video3d_plugin.data.proposals.detector.lifting import connected_pieces

_MIN_CELLS = 12
_PIECE_REACH_M = 0.1  # parts of an object that occlusion separates are rarely nearer
_PIECE = 0.08  # a piece with less than this share of the object's cells is stray
_TRIM = 0.01  # share of the cells outside the box, at each of its sides


def box_of_cells(points: np.ndarray) -> np.ndarray | None:
    """Return the box of an object.

    Stray pieces are dropped and each side is trimmed.

    Args:
        points: (N, 3) the object's surface, world frame, metres.

    Returns:
        (6,) float32 centre and size, metres; None if there are too few points.
    """
    if len(points) < _MIN_CELLS:
        return None
    pieces = connected_pieces(points, _PIECE_REACH_M)
    points = points[np.bincount(pieces)[pieces] >= _PIECE * len(points)]
    if len(points) < _MIN_CELLS:
        return None
    low, high = np.quantile(points, [_TRIM, 1 - _TRIM], axis=0)
    return np.concatenate([(low + high) / 2, high - low]).astype(np.float32)
