"""Fuses depth images into surfels: one mean point with a mean normal for each occupied cell of a grid.

Normals are taken from the depth images, not from neighbours in the fused cloud: where poses drift, a surface is there
twice, and neighbours would give it the normals of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from video3d_plugin.data.frames import read_depth_m
from video3d_plugin.scene import Frame, Scene

MAX_FRAMES = 100
MAX_SURFELS = 250_000  # more are fused into larger cells; bounds time and memory
_COLUMNS = 320  # pixels of a depth image in use along a row
_NEAREST_M = 0.3
_FARTHEST_M = 4.0  # real sensors are noisy beyond
_STEP_SHARE, _STEP_M = 0.04, 0.01  # a larger depth step within 3x3 pixels is a depth edge
_SMALLEST_CELL_M = 0.02
_CELL_PIXELS = 1.5  # side of a cell in distances between used pixels at the median depth
_LOWEST_COS = 0.1  # of the angle between normal and ray: flatter views measure badly
_FEW_VIEWS = 3  # of the median cell
_KEY_BITS = 21  # of a cell's index along an axis: 20 km to each side


@dataclass(frozen=True)
class Surfels:
    """S surface elements of a scene.

    Attributes:
        cells: (S, 3) int64 distinct cells in lexicographic order; cell k is centred on k times the cell's side.
        points: (S, 3) float64 mean points, metres, world axes, relative to `origin`.
        normals: (S, 3) float64 unit normals, towards the cameras.
        cell_m: Side of a cell, metres.
        origin: (3,) float64 mean of the cameras' places, world frame, metres.
        frames: Names of the fused frames.
        seen: For each of these frames the (K,) int64 indices of the surfels that it shows.
    """

    cells: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    cell_m: float
    origin: np.ndarray
    frames: tuple[str, ...]
    seen: tuple[np.ndarray, ...]

    @property
    def area_m2(self) -> float:
        """The surface that a surfel stands for."""
        return self.cell_m**2


def fuse(scene: Scene) -> Surfels:
    """Fuse up to MAX_FRAMES depth images. The result does not depend on the order of the frames.

    Cells that one frame alone shows are likely flying pixels; they are dropped where most cells are seen more often.

    Args:
        scene: The scene. The grid is anchored to its cameras, so that it moves with the scan.

    Raises:
        DataError: The depth of a frame cannot be decoded.
    """
    frames, poses = _ordered(scene)
    origin = np.array([_exact_mean(axis) for axis in poses[:, :3, 3].T])
    poses = poses.copy()
    poses[:, :3, 3] -= origin
    images = [_used_pixels(frame) for frame in frames]
    cell_m = _cell_size(images, frames)
    rows: list[np.ndarray] = []
    keys: list[np.ndarray] = []
    frame_keys: list[np.ndarray] = []
    for image, pose in zip(images, poses, strict=True):
        frame_cells, sums = _fused(*image.measured(pose), cell_m)
        frame_keys.append(frame_cells)
        keys.append(frame_cells)
        rows.append(sums)
        if sum(map(len, rows)) > 1 << 20:  # bounds memory
            keys, rows = _merged(keys, rows)
    keys, rows = _merged(keys, rows)
    views = rows[0][:, 7]
    enough = views >= (2 if len(views) and np.median(views) >= _FEW_VIEWS else 1)
    key, sums = keys[0][enough], rows[0][enough]
    while len(key) > MAX_SURFELS:
        cell_m *= 1.25
        coarse = _keys(sums[:, :3].T / sums[:, 6], cell_m)
        frame_keys = [np.unique(coarse[_positions(key, one)]) for one in frame_keys]
        (key,), (sums,) = _merged([coarse], [sums])
    points, normals = sums[:, :3] / sums[:, 6:7], sums[:, 3:6]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return Surfels(
        cells=_cells(key),
        points=points,
        normals=normals / np.maximum(length, 1e-12),
        cell_m=cell_m,
        origin=origin,
        frames=tuple(frame.name for frame in frames),
        seen=tuple(_positions(key, one) for one in frame_keys),
    )


@dataclass(frozen=True)
class _Pixels:
    """The pixels of a frame in use: raw and smoothed depth (h, w), 0 where there is none, and rays (3, h, w) at z 1."""

    depth: np.ndarray
    smooth: np.ndarray
    rays: np.ndarray

    def measured(self, world_from_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (3, M) points, (3, M) unit normals towards the camera, and (M,) weights."""
        surface, there = self.rays * self.smooth, self.smooth > 0
        across = surface[:, 2:-2, 4:] - surface[:, 2:-2, :-4]
        down = surface[:, 4:, 2:-2] - surface[:, :-4, 2:-2]
        depth, rays, normals = self.depth[2:-2, 2:-2], self.rays[:, 2:-2, 2:-2], np.cross(down, across, axis=0)
        cos = -_dot(normals, rays) / np.maximum(np.sqrt(_dot(normals, normals) * _dot(rays, rays)), 1e-12)
        use = (depth > 0) & (np.abs(cos) > _LOWEST_COS)
        use &= there[2:-2, 4:] & there[2:-2, :-4] & there[4:, 2:-2] & there[:-4, 2:-2]
        z, rays, cos = depth[use], rays[:, use], cos[use]
        normals = normals[:, use] * np.sign(cos)
        normals /= np.sqrt(_dot(normals, normals))
        rotation, place = world_from_camera[:3, :3], world_from_camera[:3, 3:]
        points = rotation @ (rays * z).astype(np.float64) + place
        return points, rotation.astype(np.float32) @ normals, np.abs(cos) / z**2


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the scalar products of vectors (3, ...)."""
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _ordered(scene: Scene) -> tuple[list[Frame], np.ndarray]:
    """Return the frames to fuse and their (V, 4, 4) float64 world_from_camera, in an order of their poses alone.

    Of more than MAX_FRAMES, those are taken whose views differ most: each next one is the farthest from all taken.
    """
    poses = np.array([scene.world_from_scan @ frame.scan_from_camera for frame in scene.frames])
    flat = np.array([frame.scan_from_camera[:3].ravel() for frame in scene.frames])
    order = np.lexsort(flat.T[::-1])
    frames, poses = [scene.frames[i] for i in order], poses[order]
    if len(frames) <= MAX_FRAMES:
        return frames, poses
    views = np.concatenate([poses[:, :3, 3], poses[:, :3, 2]], axis=1)  # place in metres, direction of view
    taken = [int(np.linalg.norm(views[:, :3] - np.median(views[:, :3], axis=0), axis=1).argmin())]
    distance = np.linalg.norm(views - views[taken[0]], axis=1)
    while len(taken) < MAX_FRAMES:
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(views - views[taken[-1]], axis=1))
    taken.sort()
    return [frames[i] for i in taken], poses[taken]


def _exact_mean(values: np.ndarray) -> float:
    from math import fsum

    return fsum(values.tolist()) / max(len(values), 1)


def _used_pixels(frame: Frame) -> _Pixels:
    """Decode a depth image; drop what is too near, too far or at a depth edge; smooth; thin."""
    depth = read_depth_m(frame)
    valid = (depth > _NEAREST_M) & (depth < _FARTHEST_M)
    flat = valid & ~_at_edge(depth, valid)
    stride = max(1, round(depth.shape[1] / _COLUMNS))
    window = (4 * stride + 1, 4 * stride + 1)
    share = cv2.blur(flat.astype(np.float32), window)
    smooth = cv2.blur(np.where(flat, depth, 0), window) / np.maximum(share, 1e-6)
    rows, columns = (np.arange(stride // 2, size, stride) for size in depth.shape)
    taken = np.ix_(rows, columns)
    return _Pixels(
        np.where(flat, depth, 0)[taken],
        np.where(share > 0.2, smooth, 0)[taken],
        _rays(frame.depth_intrinsics, rows, columns),
    )


def _at_edge(depth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels with a depth step within 3x3 pixels that is no slope.

    On a plane, however flat the view, inverse depth is linear in the pixel. Its second differences are large at steps.
    """
    neighbourhood = np.ones((3, 3), np.uint8)
    largest = cv2.dilate(np.where(valid, depth, 0), neighbourhood)
    smallest = cv2.erode(np.where(valid, depth, np.float32(2 * _FARTHEST_M)), neighbourhood)
    allowed = _STEP_SHARE * depth + _STEP_M
    inverse = 1 / np.where(valid, depth, np.float32(2 * _FARTHEST_M))
    bend = np.zeros_like(depth)
    bend[:, 1:-1] = np.abs(inverse[:, 2:] + inverse[:, :-2] - 2 * inverse[:, 1:-1])
    bend[1:-1] = np.maximum(bend[1:-1], np.abs(inverse[2:] + inverse[:-2] - 2 * inverse[1:-1]))
    bent = (bend * depth**2 > allowed).astype(np.uint8)
    return (largest - smallest > allowed) & (cv2.dilate(bent, neighbourhood) > 0)


def _rays(intrinsics: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    x = (columns - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (rows - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = np.ones((3, len(rows), len(columns)), np.float32)
    rays[0], rays[1] = x[None, :], y[:, None]
    return rays


def _cell_size(images: Sequence[_Pixels], frames: Sequence[Frame]) -> float:
    """Return the side of a cell in metres, from the distance between used pixels at the median depth."""
    pitches = []
    for image, frame in zip(images, frames, strict=True):
        depth = image.depth[image.depth > 0]
        if len(depth):
            stride = max(1, round(frame.depth_size[1] / _COLUMNS))
            pitches.append(float(np.median(depth)) * stride / frame.depth_intrinsics[0, 0])
    return max(_SMALLEST_CELL_M, _CELL_PIXELS * float(np.median(pitches))) if pitches else _SMALLEST_CELL_M


def _fused(
    points: np.ndarray, normals: np.ndarray, weights: np.ndarray, cell_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (K,) keys of the cells that a frame's points lie in, ascending, and (K, 8) sums for each.

    A row holds the weighted sums of points and normals, the sum of the weights, and 1 for the frame.
    """
    near = (np.abs(points) < cell_m * ((1 << _KEY_BITS - 1) - 2)).all(0)
    points, normals, weights = points[:, near], normals[:, near], weights[near]
    rows = np.zeros((len(weights), 8))
    rows[:, :3], rows[:, 3:6], rows[:, 6] = (points * weights).T, (normals * weights).T, weights
    (keys,), (sums,) = _merged([_keys(points, cell_m)], [rows])
    sums[:, 7] = 1
    return keys, sums


def _merged(keys: list[np.ndarray], rows: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Add up the rows of equal keys; the keys come out in ascending order."""
    key, row = np.concatenate(keys), np.concatenate(rows)
    if not len(key):
        return [key], [row]
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    return [key[starts]], [np.add.reduceat(row[order], starts, axis=0)]


def _keys(points: np.ndarray, cell_m: float) -> np.ndarray:
    """Return the (M,) int64 key of the cell of each point (3, M); keys are in lexicographic order of the cells."""
    return pack(np.rint(points / cell_m).astype(np.int64).T)


def pack(cells: np.ndarray) -> np.ndarray:
    """Return the (S,) int64 key of each cell (S, 3); keys are in lexicographic order of the cells."""
    shifted = cells + (1 << _KEY_BITS - 1)
    return (shifted[:, 0] << 2 * _KEY_BITS) + (shifted[:, 1] << _KEY_BITS) + shifted[:, 2]


def _cells(keys: np.ndarray) -> np.ndarray:
    mask, half = (1 << _KEY_BITS) - 1, 1 << _KEY_BITS - 1
    return np.stack([keys >> 2 * _KEY_BITS, (keys >> _KEY_BITS) & mask, keys & mask], 1) - half


def _positions(keys: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return where those of `some` that occur in the ascending `keys` stand in it."""
    if not len(keys):
        return np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(keys, some), len(keys) - 1)
    return at[keys[at] == some]
