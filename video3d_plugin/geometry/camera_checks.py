"""Checks of intrinsics and poses that files give. NumPy only: readers need no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError

_FARTHEST_M = 1e8  # no coordinates on Earth are larger, and voxels of it are still 32-bit integers


def check_intrinsics(matrix: np.ndarray, where: Path | str) -> np.ndarray:
    """The (4, 4) matrix, if it is a pinhole camera's: finite, focal lengths above zero."""
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(
            f"not camera intrinsics: focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g}",
            where=where,
            remedy="expected fx 0 cx 0 / 0 fy cy 0 / 0 0 1 0 / 0 0 0 1, in pixels",
        )
    return matrix


def resized_intrinsics(matrix: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """(4, 4) intrinsics, pixels, of an image of `size` (height, width) for the same view at `new_size`."""
    down, across = new_size[0] / size[0], new_size[1] / size[1]
    resized = np.array(matrix, np.float64)
    resized[0, 0], resized[1, 1] = matrix[0, 0] * across, matrix[1, 1] * down
    # pixel centres lie at integers: the image's edge is at -0.5
    resized[0, 2], resized[1, 2] = (matrix[0, 2] + 0.5) * across - 0.5, (matrix[1, 2] + 0.5) * down - 0.5
    return resized


def pose_fault(pose: np.ndarray) -> str | None:
    """Why a (4, 4) pose, scan from camera, cannot be used; None for one that can."""
    if not np.isfinite(pose).all():
        return "pose is not finite (tracking was lost)"
    return None if is_rigid(pose) else "pose is not a rotation and a translation"


def is_rigid(matrix: np.ndarray, tolerance: float = 0.05) -> bool:
    """Whether a (4, 4) matrix is a rotation and a translation, metres, up to the rounding of text files."""
    if not np.isfinite(matrix).all() or np.abs(matrix[3] - (0, 0, 0, 1)).max() > tolerance:
        return False
    if np.abs(matrix[:3, 3]).max() > _FARTHEST_M:
        return False
    rotation = matrix[:3, :3]
    if np.abs(rotation).max() > 2:  # before the product, which could overflow
        return False
    return bool(np.abs(rotation @ rotation.T - np.eye(3)).max() <= tolerance and np.linalg.det(rotation) > 0)
