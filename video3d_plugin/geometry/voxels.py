"""Voxels: integer cells of a regular grid, and look-up tables of sets of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_OUTSIDE = np.int32(-1)
_ROWS_AT_ONCE = 64
_MARKED_CELLS = 1 << 24  # marking as many cells as these costs less than sorting the points of a frame
_MAX_CELLS = 1 << 27  # 134 million cells = 512 MB of look-up table: above it the extent is not a room


def voxel_indices(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """Round points to voxels, ties to even; a voxel is centred on a multiple of its size.

    float32 arithmetic as in LaVi-Lab/Video-3D-LLM at 3ff70e8, convert_pcd_to_voxel.py.

    Args:
        points: (..., 3) metres.
        voxel_size_m: Side of a voxel, metres.

    Returns:
        (..., 3) int32.
    """
    assert points.shape[-1] == 3, f"points must be (..., 3), got {points.shape}"
    return np.rint(np.asarray(points, np.float32) / np.float32(voxel_size_m)).astype(np.int32)


def unique_voxels(points: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """Return the distinct voxels of finite points (M, 3), metres: (K, 3) int32 in lexicographic order."""
    planes = np.ascontiguousarray(voxel_indices(points.reshape(-1, 3), voxel_size_m).T, np.int64)
    if not planes.shape[1]:
        return np.zeros((0, 3), np.int32)
    low = planes.min(1)
    span = planes.max(1) - low + 1
    volume = float(span[0]) * float(span[1]) * float(span[2])
    if volume > 1 << 62:  # more than a code below holds
        return np.unique(planes.T, axis=0).astype(np.int32)
    codes = ((planes[0] - low[0]) * span[1] + (planes[1] - low[1])) * span[2] + (planes[2] - low[2])
    if volume <= _MARKED_CELLS:
        occupied = np.zeros(int(volume), bool)
        occupied[codes] = True
        codes = np.flatnonzero(occupied)
    else:
        codes = np.unique(codes)
    z, rest = codes % span[2], codes // span[2]
    return (np.stack([rest // span[1], rest % span[1], z], 1) + low).astype(np.int32)


@dataclass(frozen=True)
class VoxelTable:
    """A set of K voxels with a dense look-up table.

    The table spans the set's bounding box and one voxel around it, so that clipping an index maps every point outside
    the box to a voxel that is not in the set.

    Attributes:
        cells: (K, 3) int32 voxels, in lexicographic order.
        origin: (3,) int32 voxel of the table's first entry.
        table: (X, Y, Z) int32 rank of each voxel in `cells`, -1 for voxels that are not in the set.
        voxel_size_m: Side of a voxel, metres.
    """

    cells: np.ndarray
    origin: np.ndarray
    table: np.ndarray
    voxel_size_m: float

    @classmethod
    def build(cls, cells: np.ndarray, voxel_size_m: float) -> VoxelTable:
        """Build the table of a set of voxels.

        Args:
            cells: (K, 3) distinct voxels, K >= 1.
            voxel_size_m: Side of a voxel, metres.

        Raises:
            ValueError: There are none, or they span more than 134 million voxels.
        """
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

    def ranks(self, cells: np.ndarray) -> np.ndarray:
        """Return the ranks (K,) int32 of voxels of the set, (K, 3) in lexicographic order: ascending."""
        return self.table[tuple((cells - self.origin).T)]

    def seen_by(self, points: np.ndarray) -> np.ndarray:
        """Return the ranks, ascending int32, of the voxels that contain at least one of the points (M, 3), metres."""
        planes = np.ascontiguousarray(points.reshape(-1, 3).T, np.float32)
        seen = np.zeros(len(self.cells) + 1, bool)
        self._mark(planes, seen)
        return np.nonzero(seen[:-1])[0].astype(np.int32)

    def seen_through(
        self,
        depth_m: np.ndarray,
        intrinsics: np.ndarray,
        world_from_camera: np.ndarray,
    ) -> np.ndarray:
        """Return the ranks of the voxels that a depth image sees.

        Computes the points as `cameras.back_project` does, but a few rows at a time, so that they stay in the CPU's
        cache. A point within a rounding error of a voxel's face may fall on its other side.

        Args:
            depth_m: (H, W) float32 depth along z, metres; 0 where it was not measured.
            intrinsics: (4, 4) pixels.
            world_from_camera: (4, 4) rigid transform, metres.

        Returns:
            Ascending int32.
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
        """Set `seen` at the ranks of the points (3, M), and its extra last entry for others. Overwrites the points."""
        flat = np.zeros(planes.shape[1], np.int32)
        for plane, size, first in zip(planes, self.table.shape, self.origin, strict=True):
            plane /= np.float32(self.voxel_size_m)
            np.rint(plane, out=plane)
            plane -= np.float32(first)
            np.clip(plane, 0, np.float32(size - 1), out=plane)
            flat *= np.int32(size)
            flat += plane.astype(np.int32)
        seen[self.table.ravel()[flat]] = True
