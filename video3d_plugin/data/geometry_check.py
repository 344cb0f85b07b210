"""Checks the geometry of a scan by its own depth, and names the likely cause where something is wrong.

Surface points of one frame are projected into another that looks in a similar direction. Where both see the same
surface, the depth that is expected agrees with the depth that was measured. Wrong poses, units or intrinsics break
this. Each usual mistake is then undone in turn; the one after which the frames agree is named. On real and made-up
rooms, right geometry agrees at 70 % and more of the shared points, wrong geometry at less than 50 %
(benchmarks/geometry_check.py). At most sixteen frames are decoded, and few of their pixels are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from video3d_plugin.data.frames import read_depth_m
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame, Scene

_PAIRS = 8
_ANGLES = 8.0, 30.0  # degrees between the two frames of a pair: less tells little, more overlaps little
_SOURCE_SIDE, _TARGET_SIDE = 64, 640  # pixels along the longer side: those projected, and those looked up
_TOLERANCE_M, _TOLERANCE = 0.02, 0.02  # metres, and share of the distance
_GOOD = 0.8  # share of shared points that agree, above which nothing else is tried
_BAD = 0.35  # below which something is wrong
_PEAK = 0.05  # by which another way to read the scan may agree on a larger share of fewer points
_LEAST_SHARED = 0.02  # of the points: fewer tell nothing
_ENOUGH_SHARED = 0.1  # of the points: from here on, no agreement is an alarm without a cause
_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_SCALES = (0.001, 0.01, 0.0254, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 1.5, 2, 2.5, 3.3, 4, 5, 10, 39.37, 100, 1000)
_FOCALS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.4, 1.6, 2.0, 2.5)
_FARTHEST_M, _NEAREST_M = 20.0, 0.15  # of indoor depth
_MOST_FAR = 0.2  # share of the depth that may be farther: halls and windows
_MOST_SATURATED = 0.005
_HEIGHTS_M = 0.5, 12.0  # of what a scan shows
_CAMERA_HEIGHTS_M = 0.0, 10.0  # above the lowest points
_SATURATED = 0xFFFF
_LEAST_POINTS = 500  # that a height is taken from


class Cause(NamedTuple):
    """What is likely wrong with a scan.

    Attributes:
        kind: Which part of it.
        text: One sentence for the user.
    """

    kind: Literal["poses", "scale", "intrinsics", "unknown"]
    text: str


@dataclass(frozen=True)
class _View:
    """A decoded frame. Depth in metres, (h, w) at the pixels rows x columns of its depth image."""

    frame: Frame
    depth_m: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class _Reading:
    """One way to read a recording. `pose` is how poses are read, `scale` multiplies positions, `focal` the camera."""

    pose: Literal["given", "inverse", "opengl", "inverse opengl"] = "given"
    scale: float = 1.0
    focal: float = 1.0


@dataclass(frozen=True)
class _Agreement:
    """Numbers of points: projected, seen in the other frame as well, and there at the expected depth."""

    points: int
    shared: int
    agreeing: int

    @property
    def share(self) -> float:
        return self.agreeing / max(self.shared, 1) if self.shared > _LEAST_SHARED * self.points else 0.0


def with_geometry_notes(scene: Scene, is_level: bool) -> Scene:
    """Return the scene with a note for each thing in its geometry that is implausible.

    Args:
        scene: The scene, in its final world frame.
        is_level: Whether z points up in it; heights are not checked otherwise.
    """
    notes = geometry_notes(scene.frames, scene.world_from_scan if is_level else None)
    return replace(scene, notes=(*scene.notes, *(Note(note, "check") for note in notes)))


def geometry_notes(frames: Sequence[Frame], world_from_scan: np.ndarray | None = None) -> list[str]:
    """Return what is implausible in a scan, one sentence each, with the likely cause.

    Args:
        frames: Its frames. Those that cannot be decoded are ignored.
        world_from_scan: (4, 4) alignment, z up, metres; None if it is not known what is up: heights are not checked.
    """
    pairs = _pairs(frames)
    views = list({view.frame.name: view for pair in pairs for view in pair}.values())
    notes = [] if (cause := _cause(pairs)) is None else [cause.text]
    notes += _depth_notes(views)
    return notes if notes or world_from_scan is None else _room_notes(views, world_from_scan)


def likely_cause(frames: Sequence[Frame]) -> Cause | None:
    """Return what is likely wrong with poses, units or intrinsics; None if the frames agree or tell too little."""
    return _cause(_pairs(frames))


def _cause(pairs: list[tuple[_View, _View]]) -> Cause | None:
    given = _agreement(pairs, _Reading())
    if not given.points or given.share >= _GOOD:
        return None
    readings = {reading: _agreement(pairs, reading) for reading in _other_readings()}
    best = max(readings, key=lambda reading: readings[reading].agreeing)
    found = readings[best]
    # of a single wall, say, longer and longer focal lengths agree more and more: then nothing is named
    is_peak = found.share >= max(agreement.share for agreement in readings.values()) - _PEAK
    if is_peak and found.share >= max(0.5, given.share + 0.15) and found.agreeing > 1.3 * given.agreeing:
        return _named(best, given.share, found.share, pairs)
    if given.share < _BAD and given.shared > _ENOUGH_SHARED * given.points:
        what = f"neighbouring frames agree on {given.share:.0%} of the surface that both see"
        return Cause("unknown", f"{what}: poses, intrinsics or the depth unit are wrong, or poses are of other images")
    return None


def _other_readings() -> Iterator[_Reading]:
    yield from (_Reading("inverse"), _Reading("opengl"), _Reading("inverse opengl"))
    yield from (_Reading(scale=scale) for scale in _SCALES)
    yield from (_Reading(focal=focal) for focal in _FOCALS)


def _named(reading: _Reading, given: float, found: float, pairs: list[tuple[_View, _View]]) -> Cause:
    """Return the cause that a reading stands for, with the shares of shared surface that agree."""
    seen = f"neighbouring frames agree on {given:.0%} of the surface that both see, and on {found:.0%}"
    if reading.focal != 1:
        text = f"{seen} with focal lengths {reading.focal:g} times as long: the intrinsics seem to be of another camera"
        return Cause("intrinsics", f"{text} or image size")
    if reading.scale != 1:
        return Cause("scale", f"{seen} {_scale_text(reading.scale, pairs)}")
    texts = {
        "inverse": "with inverted poses: they seem to be world to camera, and have to be camera to world",
        "opengl": "with the camera axes of OpenGL: multiply the poses from the right by diag(1, -1, -1, 1)",
        "inverse opengl": "with inverted poses and the camera axes of OpenGL: they have to be camera to world",
    }
    return Cause("poses", f"{seen} {texts[reading.pose]}")


def _scale_text(scale: float, pairs: list[tuple[_View, _View]]) -> str:
    """Return whether positions or depth are of another unit: depth is at fault if it alone would be implausible.

    A factor of five is that between the units of TUM and of others.
    """
    depth = np.concatenate([view.depth_m[view.depth_m > 0] for pair in pairs for view in pair])
    unit_m = pairs[0][0].frame.depth_unit_m
    if scale in (0.2, 5) or not 0.3 < np.median(depth) < 8:
        return f"with a depth unit of {unit_m / scale:.3g} m instead of {unit_m:.3g}: give it with --depth-unit"
    return f"with positions {scale:g} times as large: the poses seem not to be in metres (or depth needs --depth-unit)"


def _pairs(frames: Sequence[Frame]) -> list[tuple[_View, _View]]:
    """Return pairs of views, spread over the recording, that look in similar directions.

    The angle between two frames does not depend on whether poses are inverted or have other axes.
    """
    if len(frames) < 2:
        return []
    rotations = np.stack([frame.scan_from_camera[:3, :3] for frame in frames])
    views: dict[int, _View | None] = {}
    pairs = []
    for first in np.unique(np.linspace(0, len(frames) - 1, min(_PAIRS, len(frames))).astype(int)):
        second = _partner(rotations, int(first))
        for index in (int(first), second):
            if index not in views:
                views[index] = _view(frames[index])
        if (a := views[int(first)]) is not None and (b := views[second]) is not None:
            pairs.append((a, b))
    return pairs


def _partner(rotations: np.ndarray, first: int) -> int:
    """Return the nearest frame in the recording that is turned a little against frame `first`."""
    cosines = (np.einsum("ij,nij->n", rotations[first], rotations) - 1) / 2
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    others = np.arange(len(rotations))
    apart = np.abs(others - first)
    suited = np.flatnonzero((angles >= _ANGLES[0]) & (angles <= _ANGLES[1]) & (apart > 0))
    if len(suited):
        return int(suited[np.argmin(apart[suited])])
    turned = np.flatnonzero((angles >= _ANGLES[0]) & (apart > 0))
    if len(turned):
        return int(turned[np.argmin(angles[turned])])
    step = max(1, len(rotations) // _PAIRS)  # a camera that only moves
    return first + step if first + step < len(rotations) else first - step


def _view(frame: Frame) -> _View | None:
    """Decode a frame's depth; None if it cannot be decoded."""
    stride = -(-max(frame.depth_size) // _TARGET_SIDE)
    rows, columns = (np.arange(stride // 2, size, stride) for size in frame.depth_size)
    try:
        return _View(frame, read_depth_m(frame, rows, columns), rows, columns)
    except (DataError, MissingError):
        return None


def _agreement(pairs: list[tuple[_View, _View]], reading: _Reading) -> _Agreement:
    counts = [_compare(a, b, reading) for a, b in pairs]
    return _Agreement(*(sum(values) for values in zip(*counts, strict=True))) if counts else _Agreement(0, 0, 0)


def _compare(a: _View, b: _View, reading: _Reading) -> tuple[int, int, int]:
    """Project points of one view into another: numbers of points, shared ones, and those that agree."""
    points = _points(a, reading.focal)
    b_from_a = _relative_pose(a.frame.scan_from_camera, b.frame.scan_from_camera, reading)
    x, y, z = (points @ b_from_a[:3, :3].T + b_from_a[:3, 3]).T
    fx, fy, cx, cy = _camera(b.frame, reading.focal)
    ahead = z > 0.05
    z_safe = np.where(ahead, z, 1.0)
    stride = b.rows[1] - b.rows[0] if len(b.rows) > 1 else 1
    row = np.rint((y / z_safe * fy + cy - b.rows[0]) / stride)
    column = np.rint((x / z_safe * fx + cx - b.columns[0]) / stride)
    height, width = b.depth_m.shape
    inside = ahead & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    measured = b.depth_m[row[inside].astype(int), column[inside].astype(int)]
    expected, measured = z[inside][measured > 0], measured[measured > 0]
    agree = np.abs(measured - expected) < _TOLERANCE_M + _TOLERANCE * expected
    return len(points), len(expected), int(agree.sum())


def _relative_pose(scan_from_a: np.ndarray, scan_from_b: np.ndarray, reading: _Reading) -> np.ndarray:
    """Return the (4, 4) transform from camera a to camera b as a reading has it."""
    if "inverse" in reading.pose:
        b_from_a = scan_from_b @ np.linalg.inv(scan_from_a)
    else:
        b_from_a = np.linalg.inv(scan_from_b) @ scan_from_a
    if "opengl" in reading.pose:
        b_from_a = _FROM_OPENGL @ b_from_a @ _FROM_OPENGL
    b_from_a[:3, 3] *= reading.scale
    return b_from_a


def _points(view: _View, focal: float) -> np.ndarray:
    """Return surface points of a view, (N, 3) float64, camera frame, metres."""
    step = -(-max(view.depth_m.shape) // _SOURCE_SIDE)
    depth = view.depth_m[step // 2 :: step, step // 2 :: step].astype(np.float64)
    v, u = np.meshgrid(view.rows[step // 2 :: step], view.columns[step // 2 :: step], indexing="ij")
    u, v, depth = u[depth > 0], v[depth > 0], depth[depth > 0]
    fx, fy, cx, cy = _camera(view.frame, focal)
    return np.stack([(u - cx) * depth / fx, (v - cy) * depth / fy, depth], 1)


def _camera(frame: Frame, focal: float) -> tuple[float, float, float, float]:
    matrix = frame.depth_intrinsics
    return matrix[0, 0] * focal, matrix[1, 1] * focal, matrix[0, 2], matrix[1, 2]


def _depth_notes(views: list[_View]) -> list[str]:
    """Return notes on depth that no indoor sensor gives."""
    depths = [view.depth_m[view.depth_m > 0] for view in views]
    depth = np.concatenate(depths) if depths else np.zeros(0)
    if not len(depth):
        return []
    unit_m, notes = views[0].frame.depth_unit_m, []
    saturated = np.mean(np.isclose(depth, _SATURATED * unit_m))
    if saturated > _MOST_SATURATED:
        notes.append(f"{saturated:.0%} of the depth has the value 65535: write 0 where nothing was measured")
        depth = depth[depth < _SATURATED * unit_m]
    far = np.mean(depth > _FARTHEST_M) if len(depth) else 0
    asked = f"which no indoor sensor gives: is the depth unit, {unit_m:.3g} m, right (--depth-unit)?"
    if far > _MOST_FAR:
        return [*notes, f"{far:.0%} of the depth is beyond {_FARTHEST_M:g} m, {asked}"]
    if len(depth) and np.median(depth) < _NEAREST_M:
        return [*notes, f"most of the depth is within {_NEAREST_M * 100:g} cm, {asked}"]
    return notes


def _room_notes(views: list[_View], world_from_scan: np.ndarray) -> list[str]:
    """Return a note if the height of what the frames see, or of the cameras above it, is not that of a room."""
    heights, cameras = [], []
    for view in views:
        world_from_camera = world_from_scan @ view.frame.scan_from_camera
        cameras.append(world_from_camera[2, 3])
        heights.append(_points(view, 1.0) @ world_from_camera[2, :3] + world_from_camera[2, 3])
    z = np.concatenate(heights) if heights else np.zeros(0)
    if len(z) < _LEAST_POINTS:
        return []
    lowest, highest = np.percentile(z, (1, 99))
    above = np.median(cameras) - lowest
    if not _HEIGHTS_M[0] <= highest - lowest <= _HEIGHTS_M[1]:
        return [f"what the frames see is {highest - lowest:.3g} m high: are poses and depth in metres, and is z up?"]
    if not _CAMERA_HEIGHTS_M[0] <= above <= _CAMERA_HEIGHTS_M[1]:
        side = f"{above:.1f} m above" if above > 0 else f"{-above:.1f} m below"
        return [f"the cameras are {side} the lowest points that they see: is z up, and are the poses in metres?"]
    return []
