"""Voxels: integer cells of a regular grid, as small integers that sort and compare fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_OUTSIDE = np.int32(-1)
_ROWS_AT_ONCE = 64
_MAX_CELLS = 1 << 27  # 134 million cells = 512 MB of look-up table: above it the extent is not a room


def voxel_indices(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """(..., 3) int32 cells of (..., 3) points in metres: the nearest multiple of the size, ties to even.

    Float32 arithmetic as in Video-3D LLM (LaVi-Lab/Video-3D-LLM at 3ff70e8, convert_pcd_to_voxel.py), so a cell is
    centred on a multiple of the size.
    """
    assert points.shape[-1] == 3, f"points must be (..., 3), got {points.shape}"
    return np.rint(np.asarray(points, np.float32) / np.float32(voxel_size_m)).astype(np.int32)


def unique_voxels(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """(K, 3) int32 distinct cells of (M, 3) finite points, in lexicographic order."""
    cells = voxel_indices(points.reshape(-1, 3), voxel_size_m).astype(np.int64)
    if not len(cells):
        return np.zeros((0, 3), np.int32)
    low = cells.min(0)
    span = cells.max(0) - low + 1
    if float(span[0]) * float(span[1]) * float(span[2]) > 1 << 62:  # more than a code below holds
        return np.unique(cells, axis=0).astype(np.int32)
    codes = ((cells[:, 0] - low[0]) * span[1] + (cells[:, 1] - low[1])) * span[2] + (cells[:, 2] - low[2])
    codes = np.unique(codes)
    z, rest = codes % span[2], codes // span[2]
    return (np.stack([rest // span[1], rest % span[1], z], 1) + low).astype(np.int32)


@dataclass(frozen=True)
class VoxelTable:
    """A set of K cells with a dense look-up table: cell -> its rank in `cells`, -1 for cells not in the set.

    The table spans the bounding box of the set and one cell around it, so that clipping an index sends every
    point outside the box to a cell that is not in the set.
    """

    cells: np.ndarray  # (K, 3) int32, lexicographic
    origin: np.ndarray  # (3,) int32
    table: np.ndarray  # (X, Y, Z) int32
    voxel_size_m: float

    @classmethod
    def build(cls, cells: np.ndarray, voxel_size_m: float) -> VoxelTable:
        """From (K, 3) distinct cells, K >= 1; ValueError if they span more than 134 million cells."""
        cells = np.asarray(cells, np.int32).reshape(-1, 3)
        if not len(cells):
            raise ValueError("a voxel table needs at least one voxel")
        cells = cells[np.lexsort(cells.T[::-1])]
        origin = cells.min(0) - 1
        shape = cells.max(0).astype(np.int64) - origin + 2
        if int(np.prod(shape, dtype=object)) > _MAX_CELLS:
            raise ValueError(f"voxels span {'x'.join(map(str, shape))} cells of {voxel_size_m} m: not one room")
        table = np.full(tuple(shape), _OUTSIDE)
        table[tuple((cells - origin).T)] = np.arange(len(cells), dtype=np.int32)
        return cls(cells, origin, table, float(voxel_size_m))

    def seen_by(self, points: np.ndarray) -> np.ndarray:
        """Ranks, ascending int32, of the set's cells that hold at least one of the (M, 3) float32 points, metres."""
        planes = np.ascontiguousarray(points.reshape(-1, 3).T, np.float32)
        seen = np.zeros(len(self.cells) + 1, bool)
        self._mark(planes, seen)
        return np.nonzero(seen[:-1])[0].astype(np.int32)

    def seen_through(
        self,
        depth_m: np.ndarray,  # (H, W) float32 metres, 0 where nothing was measured
        intrinsics: np.ndarray,  # (4, 4) pixels
        world_from_camera: np.ndarray,  # (4, 4) rigid
    ) -> np.ndarray:
        """`seen_by` the measured pixels of a depth image, without keeping its points.

        The arithmetic is that of `cameras.back_project`, a few rows at a time so that they stay in the cache; a point
        within a rounding error of a cell's edge may fall on the other side.
        """
        assert depth_m.ndim == 2, f"depth_m must be (H, W), got {depth_m.shape}"
        height, width = depth_m.shape
        k, pose = intrinsics.astype(np.float32), world_from_camera.astype(np.float32)
        across = np.arange(width, dtype=np.float32) - k[0, 2]
        down = (np.arange(height, dtype=np.float32) - k[1, 2])[:, None]
        seen = np.zeros(len(self.cells) + 1, bool)
        for start in range(0, height, _ROWS_AT_ONCE):
            z = np.asarray(depth_m[start : start + _ROWS_AT_ONCE], np.float32)
            x, y = across * z, down[start : start + _ROWS_AT_ONCE] * z
            x /= k[0, 0]
            y /= k[1, 1]
            planes = np.empty((3, *z.shape), np.float32)
            part = np.empty_like(z)
            for axis, plane in enumerate(planes):
                np.multiply(x, pose[axis, 0], out=plane)
                plane += np.multiply(y, pose[axis, 1], out=part)
                plane += np.multiply(z, pose[axis, 2], out=part)
                plane += pose[axis, 3]
            planes[0][z <= 0] = np.inf  # not measured: outside of every set
            self._mark(planes.reshape(3, -1), seen)
        return np.nonzero(seen[:-1])[0].astype(np.int32)

    def _mark(self, planes: np.ndarray, seen: np.ndarray) -> None:
        """Mark the ranks that the points (3, M) fall on; points outside mark the extra last entry. Overwrites them."""
        flat = np.zeros(planes.shape[1], np.int32)
        for plane, size, first in zip(planes, self.table.shape, self.origin, strict=True):
            plane /= np.float32(self.voxel_size_m)
            np.rint(plane, out=plane)
            plane -= np.float32(first)
            np.clip(plane, 0, np.float32(size - 1), out=plane)
            flat *= np.int32(size)
            flat += plane.astype(np.int32)
        seen[self.table.ravel()[flat]] = True
