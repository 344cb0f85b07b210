"""The shell of a room: floor, ceiling and walls as planes that are fitted to the surfels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.proposals.auto.surfels import Surfels

_FACING = 0.9  # cosine to a plane's normal from which a surfel faces like it
_BIN_M = 0.02
_LEAST_LEVEL_M2 = 0.5  # of a floor or ceiling
_LEAST_WALL_M2 = 1.0
_WALL_TOP_M, _WALL_TOP_SHARE = 1.6, 0.7  # a wall reaches this height, or this share of the scan's
_BEHIND_M = (0.15, 2.0)  # where hardly anything faces like a wall
_BEHIND_SHARE = 0.12
_BEYOND_ENDS_M = 0.5
_FIT_M = 0.1
_FIT_ROUNDS = 6


@dataclass(frozen=True)
class Plane:
    """A part of the shell: points p with normal . p = offset.

    Attributes:
        normal: (3,) unit normal into the room.
        offset: Metres, relative to `Surfels.origin`.
        along: (3,) unit vector along a wall; zeros for floor and ceiling.
        ends: Lowest and highest place along it, metres.
    """

    normal: np.ndarray
    offset: float
    along: np.ndarray
    ends: tuple[float, float] = (-np.inf, np.inf)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """(M,) signed distances in metres, positive inside the room; infinite beyond a wall's ends."""
        place = points @ self.along
        return np.where((place >= self.ends[0]) & (place <= self.ends[1]), points @ self.normal - self.offset, np.inf)


@dataclass(frozen=True)
class Shell:
    """The planes that were found.

    Attributes:
        floor: The floor, or None.
        ceiling: The ceiling, or None.
        walls: The walls.
    """

    floor: Plane | None
    ceiling: Plane | None
    walls: tuple[Plane, ...]

    @property
    def planes(self) -> tuple[Plane, ...]:
        """All planes."""
        return (*(plane for plane in (self.floor, self.ceiling) if plane is not None), *self.walls)

    def holds(self, surfels: Surfels, tolerance_m: float) -> np.ndarray:
        """(S,) bool: surfels on a plane and facing like it, closer to it still, or behind it."""
        shell = np.zeros(len(surfels.points), bool)
        for plane in self.planes:
            distance, facing = plane.distances(surfels.points), surfels.normals @ plane.normal > 0.8
            shell |= (np.abs(distance) < tolerance_m) & facing
            shell |= distance < 0.7 * tolerance_m
        return shell


def find_shell(surfels: Surfels) -> Shell:
    """Find floor, ceiling and walls."""
    up = np.array([0.0, 0.0, 1.0])
    floor, ceiling = _level(surfels, up), _level(surfels, -up)
    if floor is not None and ceiling is not None and -ceiling.offset - floor.offset < 1.5:
        ceiling = None  # the underside of a table
    heights = surfels.points[:, 2]
    if not len(heights):
        return Shell(None, None, ())
    bottom, top = np.percentile(heights, [1, 99])
    bottom = floor.offset if floor is not None else bottom
    needed = min(bottom + _WALL_TOP_M, bottom + _WALL_TOP_SHARE * (top - bottom))
    walls = [
        wall
        for angle in _wall_angles(surfels)
        for quarter in range(4)
        for wall in _walls_facing(surfels, angle + quarter * np.pi / 2, needed)
    ]
    return Shell(floor, ceiling, tuple(walls))


def _level(surfels: Surfels, normal: np.ndarray) -> Plane | None:
    """Return the lowest plane that faces along `normal`, measured along it: the floor for up, the ceiling for down."""
    facing = surfels.normals @ normal > _FACING
    heights = surfels.points[facing] @ normal
    peaks = _peaks(heights, surfels.area_m2, _LEAST_LEVEL_M2)
    if not len(peaks):
        return None
    below = (surfels.points @ normal < peaks[0] - _FIT_M).mean()
    if below > 0.1:  # most of the room is on one side of it
        return None
    fitted = _fitted(surfels.points[facing], normal, peaks[0])
    return Plane(*fitted, np.zeros(3))


def _wall_angles(surfels: Surfels) -> list[float]:
    """Return the azimuths, modulo a quarter turn, of one or two right-angled sets of walls."""
    upright = np.abs(surfels.normals[:, 2]) < 0.3
    normals = surfels.normals[upright]
    if not len(normals):
        return []
    bins = 90
    azimuth = np.arctan2(normals[:, 1], normals[:, 0]) % (np.pi / 2) / (np.pi / 2) * bins
    histogram = np.bincount(np.minimum(azimuth.astype(int), bins - 1), minlength=bins).astype(float)
    smooth = np.sum([np.roll(histogram, shift) for shift in range(-3, 4)], axis=0)
    angles: list[float] = []
    least = max(_LEAST_WALL_M2 / surfels.area_m2, 0.3 * smooth.max())
    for _ in range(2):
        best = int(smooth.argmax())
        if smooth[best] < least:
            break
        offsets = np.arange(-3, 4)
        near = histogram[(best + offsets) % bins]
        angles.append((best + 0.5 + (near * offsets).sum() / max(near.sum(), 1)) / bins * np.pi / 2)
        apart = (np.arange(bins) - best + bins // 2) % bins - bins // 2
        smooth = np.where(np.abs(apart) < 15, 0, smooth)
    return angles


def _walls_facing(surfels: Surfels, azimuth: float, needed_top: float) -> list[Plane]:
    """Return the walls that face along an azimuth and reach the height `needed_top`."""
    normal = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    along = np.array([-normal[1], normal[0], 0.0])
    facing = surfels.normals @ normal > _FACING
    points = surfels.points[facing]
    offsets, places = points @ normal, points @ along
    walls: list[Plane] = []
    for peak in _peaks(offsets, surfels.area_m2, _LEAST_WALL_M2):
        on = np.abs(offsets - peak) < 2 * _BIN_M
        if not on.any() or np.percentile(points[on, 2], 95) < needed_top:
            continue
        low, high = np.percentile(places[on], [1, 99])
        beside = (places > low - _BEYOND_ENDS_M) & (places < high + _BEYOND_ENDS_M)
        behind = beside & (offsets < peak - _BEHIND_M[0]) & (offsets > peak - _BEHIND_M[1])
        if behind.sum() > _BEHIND_SHARE * on.sum():
            continue
        ends = (float(low) - 0.1, float(high) + 0.1)
        if any(abs(wall.offset - peak) < 0.15 and wall.ends[0] < ends[1] and ends[0] < wall.ends[1] for wall in walls):
            continue
        within = (places >= ends[0]) & (places <= ends[1])
        walls.append(Plane(*_fitted(points[within], normal, peak), along, ends))
    return walls


def _peaks(values: np.ndarray, area_m2: float, least_m2: float) -> np.ndarray:
    """Return the local maxima of the histogram of values, in metres, that stand for `least_m2` or more, ascending."""
    if not len(values):
        return np.zeros(0)
    low = np.floor(values.min() / _BIN_M) - 3
    index = (np.floor(values / _BIN_M) - low).astype(int)
    if index.max() > 1 << 20:
        return np.zeros(0)
    histogram = np.bincount(index, minlength=index.max() + 4).astype(float)
    smooth = np.convolve(histogram, np.ones(5), "same")  # within 5 cm
    wide = np.array([smooth[max(0, i - 3) : i + 4].max() for i in range(len(smooth))])
    at = np.flatnonzero((smooth >= wide) & (smooth * area_m2 >= least_m2))
    return (at + low + 0.5) * _BIN_M


def _fitted(points: np.ndarray, normal: np.ndarray, offset: float) -> tuple[np.ndarray, float]:
    """Fit a plane to the points near (normal, offset), with Tukey's weights; return its normal and offset."""
    axes = np.linalg.svd(normal[None])[2][1:]  # two directions within the plane
    tilt, width = np.zeros(3), _FIT_M
    height = points @ normal - offset
    flat = np.concatenate([points @ axes.T, np.ones((len(points), 1))], axis=1)
    for _ in range(_FIT_ROUNDS):
        residual = height - flat @ tilt
        weight = np.maximum(1 - (residual / width) ** 2, 0) ** 2
        if (weight > 0).sum() < 10:
            break
        scaled = flat * weight[:, None]
        tilt = np.linalg.lstsq(scaled.T @ flat, scaled.T @ height, rcond=None)[0]
        width = max(0.7 * width, 0.03)
    fitted = normal - tilt[:2] @ axes
    length = np.linalg.norm(fitted)
    return fitted / length, float((offset + tilt[2]) / length)
