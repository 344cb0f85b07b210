"""The direction of the walls, modulo 90 degrees, where up is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_VERTICAL = np.sin(np.radians(10))  # largest cosine between up and the normal of a wall
_KERNELS_DEG = (6.0, 5.0, 4.0, 3.0)  # mean shift: half widths, the first also of the search
_NEAR_DEG = 5.0
_LEAST_SHARE = 0.4  # of vertical surfels within 5 degrees of the two directions; by chance it is 0.11
_LEAST_SURFELS = 100


@dataclass(frozen=True)
class Yaw:
    """The direction of the walls.

    Attributes:
        angle_deg: Angle about up from the x axis to the nearest wall normal, -45 to 45 degrees.
        share: Share of vertical surfels within 5 degrees of the walls' directions, 0 to 1.
        found: Whether the walls' direction is clear enough to turn the scan by it.
    """

    angle_deg: float
    share: float
    found: bool


def find_yaw(level_normals: np.ndarray) -> Yaw:
    """Find the direction that most vertical surfaces have, modulo 90 degrees.

    Args:
        level_normals: (S, 3) unit normals in a frame with z up.

    Returns:
        The direction.
    """
    normals = level_normals[np.abs(level_normals[:, 2]) < _VERTICAL]
    if not len(normals):
        return Yaw(0.0, 0.0, found=False)
    azimuth = np.degrees(np.arctan2(normals[:, 1], normals[:, 0]))
    candidates = np.arange(0, 90, 1.0)
    votes = [np.maximum(0, 1 - np.abs(_wrapped(azimuth - c)) / _KERNELS_DEG[0]).sum() for c in candidates]
    angle = float(candidates[int(np.argmax(votes))])
    for kernel in _KERNELS_DEG:
        for _ in range(2):
            offset = _wrapped(azimuth - angle)
            weight = np.maximum(0, 1 - np.abs(offset) / kernel)
            if weight.sum() > 0:
                angle += float((weight * offset).sum() / weight.sum())
    share = float((np.abs(_wrapped(azimuth - angle)) <= _NEAR_DEG).mean())
    found = share >= _LEAST_SHARE and len(normals) >= _LEAST_SURFELS
    return Yaw(float(_wrapped(np.array(angle))), share, found)


def _wrapped(angle_deg: np.ndarray) -> np.ndarray:
    """Reduce angles in degrees to -45 (inclusive) to 45 modulo 90."""
    return (angle_deg + 45) % 90 - 45
