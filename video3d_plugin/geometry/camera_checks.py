"""Checks of intrinsics, poses and boxes that were read from files. NumPy only, so that readers need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError

_FARTHEST_M = 1e8  # in the scan's own frame: no coordinates on Earth are larger
_FARTHEST_IN_WORLD_M = 1e6  # after alignment
_SHORTEST_FOCAL, _LONGEST = 1.0, 1e6  # pixels
_STEEPEST = 100.0  # tangent of the angle between a ray and the optical axis: 89.4 degrees
_MOST_DISTORTED = 0.05  # of the image's width
_FINEST_UNIT_M, _COARSEST_UNIT_M = 1e-6, 0.1  # metres of one step: the farthest depth is then 6.5 cm to 6.5 km


def check_intrinsics(matrix: np.ndarray, where: Path | str) -> np.ndarray:
    """Check that a matrix is that of a pinhole camera.

    Args:
        matrix: (4, 4) intrinsics in pixels.
        where: What errors name.

    Returns:
        The matrix itself.

    Raises:
        DataError: It is not finite, a focal length is not above zero, or the principal point lies so far out that the
            rays of the image are nearly parallel to it.
    """
    remedy = "expected fx 0 cx 0 / 0 fy cy 0 / 0 0 1 0 / 0 0 0 1, in pixels"
    focal, centre = matrix[[0, 1], [0, 1]], matrix[[0, 1], [2, 2]]
    if not np.isfinite(matrix).all() or focal.min() <= 0:
        what = f"not camera intrinsics: focal lengths {focal[0]:g} and {focal[1]:g}"
        raise DataError(what, where=where, remedy=remedy)
    if focal.min() < _SHORTEST_FOCAL or focal.max() > _LONGEST or np.abs(centre).max() > _LONGEST:
        what = f"not camera intrinsics: {focal[0]:g} {focal[1]:g} {centre[0]:g} {centre[1]:g}"
        raise DataError(what, where=where, remedy=remedy)
    if (np.abs(centre) / focal).max() > _STEEPEST:
        what = (
            f"principal point ({centre[0]:g}, {centre[1]:g}) is too far out for focal lengths {focal[0]:g} {focal[1]:g}"
        )
        raise DataError(what, where=where, remedy=remedy)
    return matrix


def pinhole_matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Return the (4, 4) float64 intrinsics of focal lengths and principal point, pixels."""
    matrix = np.eye(4)
    matrix[[0, 1, 0, 1], [0, 1, 2, 2]] = fx, fy, cx, cy
    return matrix


def distortion_note(
    coefficients: Sequence[float], matrix: np.ndarray, size: tuple[int, int], where: Path | str
) -> str | None:
    """Return what the user should know about a lens whose distortion is not corrected; None without distortion.

    Args:
        coefficients: k1, k2, p1, p2, k3 of OpenCV's model; fewer where the last ones are 0.
        matrix: (4, 4) intrinsics, pixels.
        size: (height, width) of their image.
        where: What errors name.

    Raises:
        DataError: The distortion moves a corner of the image by more than 5 % of its width.
    """
    k1, k2, p1, p2, k3 = (*coefficients, *[0.0] * 5)[:5]
    if not any((k1, k2, p1, p2, k3)):
        return None
    height, width = size
    x = (np.array([0, width - 1, 0, width - 1]) - matrix[0, 2]) / matrix[0, 0]
    y = (np.array([0, 0, height - 1, height - 1]) - matrix[1, 2]) / matrix[1, 1]
    with np.errstate(over="ignore", invalid="ignore"):
        r = x * x + y * y
        radial = r * (k1 + r * (k2 + r * k3))
        across = x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x)
        down = y * radial + p1 * (r + 2 * y * y) + 2 * p2 * x * y
        moved = np.hypot(across * matrix[0, 0], down * matrix[1, 1]).max()
    if not moved <= _MOST_DISTORTED * width:  # false for NaN
        what = f"lens distortion moves the corners of the images by {moved:.0f} pixels, and is not corrected"
        raise DataError(what, where=where, remedy="undistort the images first")
    return f"lens distortion is not corrected: up to {moved:.1f} pixels of {width} at the corners"


def check_depth_unit(unit_m: float, where: Path | str, coarsest_m: float = _COARSEST_UNIT_M) -> float:
    """Check the metres of one step of 16-bit depth and return them.

    Args:
        unit_m: Metres a step.
        where: What errors name.
        coarsest_m: Largest value; 1 for depth that is stored as floats.

    Raises:
        DataError: It is not between 1e-6 and 0.1 m, which would put the largest depth below 6.5 cm or above 6.5 km.
    """
    if not (np.isfinite(unit_m) and _FINEST_UNIT_M <= unit_m <= coarsest_m):
        what = f"a step of depth is {unit_m:g} m"
        raise DataError(what, where=where, remedy=f"expected {_FINEST_UNIT_M:g} to {coarsest_m:g}, mostly 0.001")
    return unit_m


def world_pose_fault(pose: np.ndarray) -> str | None:
    """Return why a (4, 4) camera pose in the world frame cannot be used, or None.

    Points are float32: exact to a centimetre at 1e5 m, to a metre at 1e7 m.
    """
    farthest = np.abs(pose[:3, 3]).max()
    if not np.isfinite(pose).all() or farthest > _FARTHEST_IN_WORLD_M:
        return f"camera is {farthest:.3g} m from the world's origin, more than {_FARTHEST_IN_WORLD_M:g}"
    return None


def check_points(points: np.ndarray, where: Path | str, what: str) -> np.ndarray:
    """Check coordinates of any shape, world frame, metres, and return them.

    Args:
        points: The coordinates.
        where: What errors name.
        what: What they belong to, for errors.

    Raises:
        DataError: A coordinate is not finite, or beyond 1e6 m.
    """
    if points.size and not np.abs(points).max() <= _FARTHEST_IN_WORLD_M:  # false for NaN
        raise DataError(f"{what} has coordinates that are not finite or beyond {_FARTHEST_IN_WORLD_M:g} m", where=where)
    return points


def check_boxes(boxes: np.ndarray, where: Path | str, what: str) -> np.ndarray:
    """Check boxes (N, 6), centre and size, world frame, metres, and return them.

    Args:
        boxes: The boxes.
        where: What errors name.
        what: What they belong to, for errors.

    Raises:
        DataError: A number is not finite or beyond 1e6 m, or a size is negative.
    """
    check_points(boxes, where, what)
    if boxes.size and boxes[:, 3:].min() < 0:
        raise DataError(f"{what} has a size below zero", where=where)
    return boxes


def resized_intrinsics(matrix: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """Scale intrinsics with the image.

    Args:
        matrix: (4, 4) intrinsics, pixels.
        size: (height, width) of their image.
        new_size: (height, width) of the resized image.

    Returns:
        (4, 4) float64 intrinsics of the resized image.
    """
    down, across = new_size[0] / size[0], new_size[1] / size[1]
    resized = np.array(matrix, np.float64)
    resized[0, 0], resized[1, 1] = matrix[0, 0] * across, matrix[1, 1] * down
    # pixel centres lie at integers: the image's edge is at -0.5
    resized[0, 2], resized[1, 2] = (matrix[0, 2] + 0.5) * across - 0.5, (matrix[1, 2] + 0.5) * down - 0.5
    return resized


def pose_fault(pose: np.ndarray) -> str | None:
    """Return why a (4, 4) pose, scan from camera, cannot be used, or None."""
    if not np.isfinite(pose).all():
        return "pose is not finite (tracking was lost)"
    return None if is_rigid(pose) else "pose is not a rotation and a translation"


def is_rigid(matrix: np.ndarray, tolerance: float = 0.05) -> bool:
    """Return whether a (4, 4) matrix is a rotation and a translation in metres, up to the rounding of text files."""
    if not np.isfinite(matrix).all() or np.abs(matrix[3] - (0, 0, 0, 1)).max() > tolerance:
        return False
    if np.abs(matrix[:3, 3]).max() > _FARTHEST_M:
        return False
    rotation = matrix[:3, :3]
    if np.abs(rotation).max() > 2:  # before the product, which could overflow
        return False
    return bool(np.abs(rotation @ rotation.T - np.eye(3)).max() <= tolerance and np.linalg.det(rotation) > 0)
