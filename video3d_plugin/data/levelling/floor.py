"""The height of the floor, where up is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.levelling.surfels import Surfels

HORIZONTAL = np.cos(np.radians(10))  # least cosine between up and the normal of an up-facing surface
_BIN_M, _HALF_BINS = 0.02, 3  # heights are counted within 6 cm
_LEAST_SHARE = 0.005  # of all surfels, in a plane
_LEAST_OF_LARGEST = 0.1  # of the surfels of the largest horizontal plane
_BELOW_M, _MOST_BELOW = 0.1, 0.03  # a floor has at most this share of all surfels this far below it
_SURE_SHARE = 0.02
_CAMERA_M = (0.8, 2.2)  # height of the cameras above a floor (median)
_LOWEST = 1.0  # percentile of heights that stands for a floor that is not seen


@dataclass(frozen=True)
class Floor:
    """The floor.

    Attributes:
        height_m: Its height along up, relative to the surfels' origin, metres.
        share: Share of all surfels that lie in its plane, 0 to 1.
        seen: Whether it was seen. If not, `height_m` is that of the lowest points.
    """

    height_m: float
    share: float
    seen: bool


def lowest_plane(heights: np.ndarray, facing: np.ndarray) -> tuple[float, float] | None:
    """Find the lowest horizontal plane with next to nothing below it.

    Args:
        heights: (S,) heights of all surfels, metres; not empty.
        facing: (S,) bool: which of them face up.

    Returns:
        Its height in metres and its share of all surfels; None if there is no such plane.
    """
    if not facing.any():
        return None
    base = heights.min()
    bins = ((heights[facing] - base) / _BIN_M).astype(np.int64)
    counts = np.bincount(bins, minlength=1)
    width = 2 * _HALF_BINS + 1
    near = np.convolve(counts, np.ones(width, np.int64), mode="same") if len(counts) >= width else None
    if near is None:
        near = np.array([counts[max(0, i - _HALF_BINS) : i + _HALF_BINS + 1].sum() for i in range(len(counts))])
    padded = np.pad(near, _HALF_BINS)
    local = np.lib.stride_tricks.sliding_window_view(padded, width).max(1)
    peaks = np.flatnonzero((near == local) & (near >= max(_LEAST_SHARE * len(heights), _LEAST_OF_LARGEST * near.max())))
    if not len(peaks):
        return None
    middle = base + (peaks[0] + 0.5) * _BIN_M
    members = facing & (np.abs(heights - middle) <= (_HALF_BINS + 0.5) * _BIN_M)
    if not members.any():
        return None
    height = float(np.median(heights[members]))
    if (heights < height - _BELOW_M).mean() > _MOST_BELOW:
        return None
    return height, float(members.mean())


def find_floor(surfels: Surfels, up: np.ndarray) -> Floor:
    """Find the floor.

    Args:
        surfels: At least one surfel.
        up: (3,) unit vector, scan frame.

    Returns:
        The floor; where it was not seen, the lowest points (first percentile).
    """
    heights = surfels.points @ up
    plane = lowest_plane(heights, surfels.normals @ up > HORIZONTAL)
    camera = float(np.median(surfels.cameras[:, :3, 3] @ up))
    if plane is not None and plane[1] >= _SURE_SHARE and _CAMERA_M[0] <= camera - plane[0] <= _CAMERA_M[1]:
        return Floor(plane[0], plane[1], seen=True)
    return Floor(float(np.percentile(heights, _LOWEST)), 0.0 if plane is None else plane[1], seen=False)
