"""A coloured point cloud of a scene's frames, thinned to voxels so that it renders smoothly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOXEL_M = 0.015
MAX_POINTS = 450_000
POINT_BYTES = 12  # of the page: position, colour and normal
SAMPLES = 8_000_000  # pixels read from all frames together, before thinning
_EDGE = 0.04  # relative depth difference to a neighbour above which a pixel lies between two surfaces
_MERGE_ROWS = 3_000_000
_VALUES = 10  # of a voxel: sums of position, colour and normal, and the number of points
_HALF = 1 << 20  # voxels on either side of the origin that a code can hold


@dataclass(frozen=True)
class Cloud:
    """A point cloud with one point for each occupied voxel.

    Attributes:
        points: (K, 3) float32 positions in the world frame, in metres.
        colors: (K, 3) uint8 RGB.
        facing: (K, 3) float32 mean normals of the voxels, towards the cameras: nearly unit length on a surface,
            shorter where a voxel holds both sides of something thin.
        voxel_m: Size of a voxel, in metres.
    """

    points: np.ndarray
    colors: np.ndarray
    facing: np.ndarray
    voxel_m: float

    def __len__(self) -> int:
        return len(self.points)


class CloudBuilder:
    """Builds a point cloud frame by frame, as mean position, colour and normal of each voxel.

    Args:
        stride: Step in rows and columns of the depth images.
        voxel_m: Size of a voxel, in metres.
    """

    def __init__(self, stride: int = 1, voxel_m: float = VOXEL_M):
        self.stride, self.voxel_m = stride, voxel_m
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._rows = 0

    def add(
        self,
        depth_m: np.ndarray,
        color: np.ndarray,
        intrinsics: np.ndarray,
        world_from_camera: np.ndarray,
    ) -> None:
        """Add a frame.

        Args:
            depth_m: (H, W) float32 depth in metres, 0 where nothing was measured.
            color: (H, W, 3) uint8 image with the same field of view.
            intrinsics: (4, 4) intrinsics in pixels of the depth image.
            world_from_camera: (4, 4) pose.
        """
        step = self.stride
        solid = _solid(depth_m, step)
        planes = _back_projected(depth_m[::step, ::step].astype(np.float64), step, intrinsics)
        rotation, position = world_from_camera[:3, :3], world_from_camera[:3, 3:]
        pixels = np.flatnonzero(solid)
        values = np.ones((_VALUES, len(pixels)))
        values[:3] = rotation @ planes.reshape(3, -1).take(pixels, 1) + position
        values[3:6] = color[::step, ::step].reshape(-1, 3).take(pixels, 0).T
        values[6:9] = rotation @ _normals(planes, solid).reshape(3, -1).take(pixels, 1)
        part = _reduced(_codes(values[:3], self.voxel_m), values)
        self._parts.append(part)
        self._rows += len(part[0])
        if self._rows > _MERGE_ROWS:
            self._parts = [self._merged()]
            self._rows = len(self._parts[0][0])

    def cloud(self, max_points: int = MAX_POINTS) -> Cloud:
        """Return the point cloud, in a fixed random order: any part of it shows the whole room.

        Args:
            max_points: Maximum number of points. Voxels are enlarged until it is met.
        """
        codes, values = self._merged()
        voxel_m = self.voxel_m
        while len(codes) > max_points:
            voxel_m *= max(1.02, (len(codes) / max_points) ** 0.5)  # points lie on surfaces
            codes, values = _reduced(_codes(values[:3] / values[-1], voxel_m), values)
        means = (values[:-1] / values[-1]).T[np.random.RandomState(0).permutation(len(codes))]
        points, colors, facing = means[:, :3], np.rint(means[:, 3:6]), means[:, 6:]
        return Cloud(points.astype(np.float32), colors.astype(np.uint8), facing.astype(np.float32), float(voxel_m))

    def _merged(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros((_VALUES, 0))
        codes, values = (np.concatenate(arrays, axis=-1) for arrays in zip(*self._parts, strict=True))
        return _reduced(codes, values)


def stride_for(pixels: int) -> int:
    """Return the step in rows and columns that reads about SAMPLES pixels.

    Args:
        pixels: Number of pixels of all frames together.
    """
    return max(1, int(np.ceil(np.sqrt(pixels / SAMPLES))))


def voxel_for(depth_m: np.ndarray, focal_px: float, stride: int) -> float:
    """Return a voxel size that is not below the distance of neighbouring samples, so that surfaces have no gaps.

    Args:
        depth_m: (H, W) depth of a typical frame, in metres.
        focal_px: Focal length in pixels of the depth image.
        stride: Step in rows and columns.

    Returns:
        The size in metres, at least VOXEL_M.
    """
    measured = depth_m[depth_m > 0]
    between_m = float(np.median(measured)) * stride / focal_px if len(measured) else 0.0
    return min(max(VOXEL_M, between_m), 20 * VOXEL_M)


def _back_projected(depth_m: np.ndarray, step: int, intrinsics: np.ndarray) -> np.ndarray:
    """(3, h, w) points in the camera frame, of every `step`-th pixel."""
    height, width = depth_m.shape
    x = (np.arange(width) * step - intrinsics[0, 2])[None] * depth_m / intrinsics[0, 0]
    y = (np.arange(height) * step - intrinsics[1, 2])[:, None] * depth_m / intrinsics[1, 1]
    return np.stack([x, y, depth_m])


def _normals(points: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """(3, h, w) unit normals towards the camera; the direction to the camera itself where a neighbour is missing.

    Args:
        points: (3, h, w) in the camera frame.
        solid: (h, w) bool, see `_solid`.
    """
    normals = points / -np.maximum(_length(points), 1e-9)
    if min(solid.shape) < 3:
        return normals
    across, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    inner = np.stack([down[i - 2] * across[i - 1] - down[i - 1] * across[i - 2] for i in range(3)])
    length = _length(inner)
    known = solid[1:-1, 2:] & solid[1:-1, :-2] & solid[2:, 1:-1] & solid[:-2, 1:-1] & (length > 1e-12)
    towards = np.einsum("ihw,ihw->hw", inner, normals[:, 1:-1, 1:-1])
    inner /= np.copysign(np.maximum(length, 1e-12), towards)
    np.copyto(normals[:, 1:-1, 1:-1], inner, where=known)
    for border, beside in ((0, 1), (-1, -2)):  # pixels at an image's edge have the normal of their neighbours
        normals[:, border] = normals[:, beside]
        normals[:, :, border] = normals[:, :, beside]
    return normals


def _length(vectors: np.ndarray) -> np.ndarray:
    """(h, w) lengths of (3, h, w) vectors."""
    return np.sqrt(np.einsum("ihw,ihw->hw", vectors, vectors))


def _solid(depth_m: np.ndarray, step: int) -> np.ndarray:
    """(h, w) bool of every `step`-th pixel: measured, and not between a near and a far surface."""
    sampled = depth_m[::step, ::step]
    solid, limit = sampled > 0, sampled * _EDGE
    padded = np.pad(depth_m, 1, mode="edge")
    height, width = depth_m.shape
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = padded[down : down + height : step, right : right + width : step]
        solid &= np.abs(beside - sampled) <= limit
    return solid


def _codes(points: np.ndarray, voxel_m: float) -> np.ndarray:
    """(M,) int64 codes of the voxels of (3, M) points; those beyond 10 km (at 1 cm) fall into the outermost ones."""
    x, y, z = np.clip(np.floor(points / voxel_m), -_HALF, _HALF - 1).astype(np.int64) + _HALF
    return (x << 42) | (y << 21) | z


def _reduced(codes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the columns of `values` of each distinct code."""
    if not len(codes):
        return codes, values
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    is_first = np.r_[True, codes[1:] != codes[:-1]]
    place = np.empty(len(codes), np.int64)
    place[order] = np.cumsum(is_first) - 1
    return codes[is_first], np.stack([np.bincount(place, row) for row in values])
