"""Finds the planes of a room's shell in its surface: floor, ceiling and walls, from histograms of offsets.

A plane belongs to the shell if it carries enough surface and hardly anything lies behind it. No random numbers are
drawn, so the result does not depend on the order of the points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.geometry.voxels import unique_voxels

TOLERANCE_M = 0.06  # of points on a plane
_BIN_M = 0.05
_PEAK_BINS = 4
_AZIMUTHS = 90  # over half a turn
_FLOOR_M2, _WALL_M2 = 1.5, 2.0  # least surface on a plane
_BEHIND = 0.03  # largest share of the surface behind a plane
_MAX_WALLS = 12
_COLUMN_M = 0.8  # surface above a spot of a wall's foot


@dataclass(frozen=True)
class ShellPlanes:
    """Planes with the room on their positive side: `points @ normals.T - offsets` is above 0 inside the room.

    Attributes:
        normals: (P, 3) float64 unit normals, world frame.
        offsets: (P,) float64 metres.
    """

    normals: np.ndarray
    offsets: np.ndarray

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) bool: which of (N, 3) points, in metres, lie on a plane or behind one."""
        on = np.zeros(len(points), bool)
        for normal, offset in zip(self.normals, self.offsets, strict=True):
            on |= points @ normal - offset < TOLERANCE_M
        return on


def find_shell(points: np.ndarray) -> ShellPlanes:
    """Find floor, ceiling and walls.

    Args:
        points: (N, 3) surface, world frame (z up), metres.

    Returns:
        The planes; none where nothing is large enough, as for a scan of a table.
    """
    cells = unique_voxels(points, _BIN_M) * _BIN_M
    planes = [plane for sign in (1.0, -1.0) if (plane := _outermost(cells, np.array([0, 0, sign]), _FLOOR_M2))]
    rest = _columns(cells[~_stack(planes).contains(cells)])
    walls = [
        wall
        for azimuth in np.arange(2 * _AZIMUTHS) * np.pi / _AZIMUTHS
        if (wall := _outermost(rest, np.array([np.cos(azimuth), np.sin(azimuth), 0]), _WALL_M2))
    ]
    walls.sort(key=lambda wall: (-wall[2], *wall[0]))
    for normal, _, _ in walls:  # without the surface of heavier walls, neighbouring azimuths carry too little
        if len(planes) < 2 + _MAX_WALLS and (wall := _outermost(rest, normal, _WALL_M2)):
            planes.append(wall)
            rest = rest[~_stack([wall]).contains(rest)]
    return _stack(planes)


def _outermost(cells: np.ndarray, normal: np.ndarray, least_m2: float) -> tuple[np.ndarray, float, int] | None:
    """Return (normal, offset, cells on it) of the first plane along a direction that carries enough surface.

    None if more than a few percent of the surface lie before it.
    """
    if not len(cells):
        return None
    along = cells @ normal
    counts = np.bincount(np.floor((along - along.min()) / _BIN_M).astype(np.int64))
    pairs = counts + np.append(counts[1:], 0)  # a plane may lie at the border of two bins
    heavy = np.flatnonzero(pairs * _BIN_M**2 >= least_m2)
    if not len(heavy) or counts[: heavy[0]].sum() > _BEHIND * len(cells):
        return None
    peak = heavy[0] + pairs[heavy[0] : heavy[0] + _PEAK_BINS].argmax()  # noise makes a surface several bins thick
    low = along.min() + peak * _BIN_M
    on = along[(along >= low) & (along < low + 2 * _BIN_M)]
    return normal, float(np.median(on)), len(on)


def _columns(cells: np.ndarray) -> np.ndarray:
    """Return the cells that stand in vertical columns as high as a wall's."""
    columns, counts = np.unique(np.rint(cells[:, :2] / _BIN_M).astype(np.int64), axis=0, return_inverse=True)
    counts = np.bincount(counts.reshape(-1), minlength=len(columns))[counts.reshape(-1)]
    return cells[counts * _BIN_M >= _COLUMN_M]


def _stack(planes: list[tuple[np.ndarray, float, int]]) -> ShellPlanes:
    normals = np.array([normal for normal, _, _ in planes], np.float64).reshape(-1, 3)
    return ShellPlanes(normals, np.array([offset for _, offset, _ in planes], np.float64))
