"""Boxes of sets of surfels, grown back to the floor and the walls that the cut took away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.proposals.auto.merge_tree import Segments
from video3d_plugin.data.proposals.auto.shell import Plane, Shell
from video3d_plugin.data.proposals.auto.surfels import Surfels

_TRIM = 0.01  # of a set's surfels on each side are outside of its box
_NEAR_SHARE = 0.02
_FLOOR_M, _WALL_M = 0.09, 0.05  # a set that comes this close to the shell reaches it
_FACING = 0.9  # cosine to a wall's normal from which a surfel faces like it
_FACING_SHARE, _DRIFT_M = 0.7, 0.2  # a set on a wall is flat if so many of its surfels face like it, within this depth
_FRONT_TRIM = 0.25  # of a flat set's surfels are in front of its box
_SMALLEST_SIDE_M = 0.05  # a box has one side at most that is shorter
_LARGEST_FLOOR_SHARE = 0.4
_FLOATS_M = 0.1
_COLUMN_BIN_M = 0.05
_COLUMN_FILLED = 0.7
_HIGHEST_COLUMN_M = 2.5
_LARGEST_ROOM_BINS = 1000
STANDING_FACTOR = 0.8  # of the score of a box that was grown down a column


@dataclass(frozen=True)
class Candidates:
    """N boxes that may be objects.

    Attributes:
        low: (N, 3) lowest corner, metres, relative to `Surfels.origin`.
        high: (N, 3) highest corner.
        counts: (N,) surfels.
        borders: (N,) mean weight of the edges that leave the set; NaN where none does.
        factors: (N,) factor of the score.
        members: For each the (K,) indices of its surfels.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    borders: np.ndarray
    factors: np.ndarray
    members: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.low)

    def take(self, index: np.ndarray) -> Candidates:
        """Those at these indices."""
        return Candidates(
            low=self.low[index],
            high=self.high[index],
            counts=self.counts[index],
            borders=self.borders[index],
            factors=self.factors[index],
            members=[self.members[i] for i in index],
        )


NONE = Candidates(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, int), np.zeros(0), np.zeros(0), [])


def candidates_of(surfels: Surfels, shell: Shell, segments: list[Segments]) -> Candidates:
    """Return the boxes of all sets, without those that are lines or cover much of the floor."""
    planes = shell.planes
    near, facing = np.zeros((2, len(planes), len(surfels.points)), bool)
    for row, plane in enumerate(planes):
        near[row] = plane.distances(surfels.points) < (_FLOOR_M if _axis(plane) == 2 else _WALL_M)
        facing[row] = surfels.normals @ plane.normal > _FACING
    parts = []
    for part in segments:
        low, high = _extents(surfels.points, part)
        reaching = reaching_segments(near, part)
        flat = reaching & (_counts(facing, part) > _FACING_SHARE * part.sizes[:, None])
        _trim_fronts(low, high, flat, surfels.points, part, planes)
        parts.append((low, high, reaching, part.borders))
    low, high, reaching, borders = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    members = [part.order[a:b] for part in segments for a, b in zip(part.starts, part.stops, strict=True)]
    missing = np.maximum(surfels.cell_m - (high - low), 0) / 2  # a flat thing is as thick as a cell
    low, high = _grown(low - missing, high + missing, reaching, planes)
    counts = np.array([len(one) for one in members])
    made = Candidates(low, high, counts, borders, np.ones(len(low)), members)
    made = made.take(np.flatnonzero(_may_be_objects(made, surfels)))
    return _with_standing(made, surfels, shell)


def _extents(points: np.ndarray, segments: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 3) lowest and (N, 3) highest places of sets without the outermost `_TRIM` of their surfels."""
    low, high = np.zeros((len(segments), 3)), np.zeros((len(segments), 3))
    laid_out = np.ascontiguousarray(points[segments.order].T)
    for row, (start, stop) in enumerate(zip(segments.starts.tolist(), segments.stops.tolist(), strict=True)):
        last = stop - start - 1
        trim = round(_TRIM * last)
        block = np.partition(laid_out[:, start:stop], (trim, last - trim), axis=1)
        low[row], high[row] = block[:, trim], block[:, last - trim]
    return low, high


def reaching_segments(near: np.ndarray, segments: Segments) -> np.ndarray:
    """Return (N, P) bool: which sets have more than `_NEAR_SHARE` of their surfels near a plane.

    Args:
        near: (P, S) bool, the surfels near each plane.
        segments: N sets of surfels.
    """
    return _counts(near, segments) > np.round(_NEAR_SHARE * (segments.sizes - 1))[:, None]


def _counts(masks: np.ndarray, segments: Segments) -> np.ndarray:
    """(N, P) how many surfels of each set are in each of P masks (P, S)."""
    counts = np.pad(np.cumsum(masks[:, segments.order], axis=1), ((0, 0), (1, 0)))
    return (counts[:, segments.stops] - counts[:, segments.starts]).T


def _trim_fronts(
    low: np.ndarray,
    high: np.ndarray,
    flat: np.ndarray,
    points: np.ndarray,
    segments: Segments,
    planes: tuple[Plane, ...],
) -> None:
    """Take the front of flat sets on a wall nearer to the middle of their surfels: drift of the poses spreads these.

    Args:
        low: (N, 3) lowest places of the sets; changed.
        high: (N, 3) highest places of the sets; changed.
        flat: (N, P) bool, the sets that reach a plane and face like it.
        points: (S, 3) surfels.
        segments: The N sets.
        planes: The P planes.
    """
    for column, plane in enumerate(planes):
        axis = _axis(plane)
        if axis == 2 or not _is_along_axis(plane):
            continue
        for row in np.flatnonzero(flat[:, column] & (high[:, axis] - low[:, axis] < _DRIFT_M)):
            places = points[segments.order[segments.starts[row] : segments.stops[row]], axis]
            if plane.normal[axis] > 0:
                high[row, axis] = np.quantile(places, 1 - _FRONT_TRIM)
            else:
                low[row, axis] = np.quantile(places, _FRONT_TRIM)


def _axis(plane: Plane) -> int:
    return int(np.abs(plane.normal).argmax())


def _is_along_axis(plane: Plane) -> bool:
    return bool(np.abs(plane.normal).max() >= 0.97)


def _grown(
    low: np.ndarray, high: np.ndarray, reaching: np.ndarray, planes: tuple[Plane, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Grow boxes to the planes that their sets reach."""
    low, high = low.copy(), high.copy()
    for column, plane in enumerate(planes):
        axis = _axis(plane)
        if not _is_along_axis(plane):
            continue
        near = reaching[:, column]
        centre = (low[near] + high[near]) / 2
        others = [other for other in range(3) if other != axis]
        place = (plane.offset - centre[:, others] @ plane.normal[others]) / plane.normal[axis]
        if plane.normal[axis] > 0:
            low[near, axis] = np.minimum(low[near, axis], place)
        else:
            high[near, axis] = np.maximum(high[near, axis], place)
    return low, high


def _may_be_objects(made: Candidates, surfels: Surfels) -> np.ndarray:
    size = made.high - made.low
    extent = np.percentile(surfels.points[:, :2], 99, axis=0) - np.percentile(surfels.points[:, :2], 1, axis=0)
    thick = (size < _SMALLEST_SIDE_M).sum(1) < 2
    return thick & (size[:, 0] * size[:, 1] <= _LARGEST_FLOOR_SHARE * extent.prod())


def _with_standing(made: Candidates, surfels: Surfels, shell: Shell) -> Candidates:
    """Add a copy that reaches the floor for each box that floats over a column of surfels: a leg, a pole, a pot."""
    if shell.floor is None:
        return made
    floor = shell.floor
    occupied, origin = _occupied(surfels, shell)
    bottoms = floor.distances((made.low + made.high) / 2) - (made.high - made.low)[:, 2] / 2
    low = np.floor((made.low[:, :2] - origin) / _COLUMN_BIN_M).astype(int)
    high = np.ceil((made.high[:, :2] - origin) / _COLUMN_BIN_M).astype(int)
    standing = []
    for row in np.flatnonzero((bottoms > _FLOATS_M) & (low >= 0).all(1)):
        bins = int(bottoms[row] / _COLUMN_BIN_M)
        below = occupied[low[row, 0] : high[row, 0], low[row, 1] : high[row, 1], :bins]
        if below.any((0, 1)).sum() >= _COLUMN_FILLED * bins:
            standing.append(row)
    copies = made.take(np.array(standing, np.int64))
    copies.low[:, 2] -= bottoms[standing]
    return Candidates(
        low=np.concatenate([made.low, copies.low]),
        high=np.concatenate([made.high, copies.high]),
        counts=np.concatenate([made.counts, copies.counts]),
        borders=np.concatenate([made.borders, copies.borders]),
        factors=np.concatenate([made.factors, STANDING_FACTOR * copies.factors]),
        members=made.members + copies.members,
    )


def _occupied(surfels: Surfels, shell: Shell) -> tuple[np.ndarray, np.ndarray]:
    """Return (X, Y, Z) bool, which bins above the floor hold surfels, and the (2,) place of the first bin."""
    assert shell.floor is not None, "boxes are grown down to a floor"
    height = shell.floor.distances(surfels.points)
    use = (height > 0.03) & (height < _HIGHEST_COLUMN_M) & ~shell.holds(surfels, 0.025)
    points, height = surfels.points[use], height[use]
    low, high = np.percentile(surfels.points[:, :2], [0.5, 99.5], axis=0)
    shape = (np.minimum((high - low) / _COLUMN_BIN_M, _LARGEST_ROOM_BINS)).astype(int) + 1
    place = np.floor((points[:, :2] - low) / _COLUMN_BIN_M).astype(int)
    inside = ((place >= 0) & (place < shape)).all(1)
    occupied = np.zeros((*shape, int(_HIGHEST_COLUMN_M / _COLUMN_BIN_M) + 1), bool)
    occupied[place[inside, 0], place[inside, 1], (height[inside] / _COLUMN_BIN_M).astype(int)] = True
    return occupied, low
