"""Maximum-coverage sampling: greedily selects the frame that shows most of the surface not shown by earlier ones.

Source: Video-3D LLM (arXiv 2412.00493), LaVi-Lab/Video-3D-LLM at 3ff70e8,
scripts/3d/preprocessing/max_coverage_sampling.py. Voxels have 0.1 m. Of a frame's voxels only those of the scan's mesh
count. Every second frame is a candidate if that leaves 32 or more (here: or as many as are asked for, if that is more).
The official script breaks ties by an unseeded random choice; here the earlier frame wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.voxels import VoxelTable, unique_voxels

if TYPE_CHECKING:
    from video3d_plugin.scene import Scene

VOXEL_SIZE_M = 0.1
REFERENCE_FRAMES = 32


@dataclass(frozen=True)
class Selection:
    """Frames selected by coverage.

    Attributes:
        order: Frame indices in the order of selection.
        gains: Number of voxels that each of them added.
        visible: Number of voxels that all candidates see together.
    """

    order: tuple[int, ...]
    gains: tuple[int, ...]
    visible: int

    def first(self, count: int) -> Selection:
        """Return the selection of the first `count` frames."""
        return Selection(self.order[:count], self.gains[:count], self.visible)


@dataclass
class Coverage:
    """The voxels that the frames of a scan see, computed on demand.

    Attributes:
        frame_points: Returns the (M, 3) float32 world points of the frame with the given index, metres.
        frame_count: Number of frames of the scan.
        surface_cells: Returns the (K, 3) voxels of the scan's surface; None if it has none, and all voxels that a frame
            sees count.
        voxel_size_m: Side of a voxel in metres.
        stored: A selection among the reference's candidates that was released or computed earlier. It is never
            replaced by another.
        visible_voxels: Called with a frame index and the table; returns the same as
            `table.seen_by(frame_points(index))`. None if there is no faster way.
        scene_id: Named in errors.
    """

    frame_points: Callable[[int], np.ndarray]
    frame_count: int
    surface_cells: Callable[[], np.ndarray | None] = lambda: None
    voxel_size_m: float = VOXEL_SIZE_M
    stored: Selection | None = None
    visible_voxels: Callable[[int, VoxelTable], np.ndarray] | None = None
    scene_id: str | None = None
    _seen: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _own_cells: Sequence[np.ndarray] = field(default=(), repr=False)  # of each frame, where the table is their union
    _computed: dict[int, Selection] = field(default_factory=dict, repr=False)  # by number of candidates

    @cached_property
    def table(self) -> VoxelTable:
        """The voxels that count.

        Raises:
            DataError: There are none, or they span more than a room.
        """
        cells = self.surface_cells()
        if cells is None or not len(cells):
            own = [unique_voxels(self.frame_points(i), self.voxel_size_m) for i in range(self.frame_count)]
            cells, self._own_cells = _union(own), own
        if not len(cells):
            remedy = "coverage needs depth, the sampler `uniform` does not"
            raise DataError("no frame has a measured depth", where=self.scene_id, remedy=remedy)
        try:
            return VoxelTable.build(cells, self.voxel_size_m)
        except ValueError as error:
            remedy = "correct the pose or the depth that is far off, or use the sampler `uniform`"
            raise DataError(str(error), where=self.scene_id, remedy=remedy) from error

    @property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest of the centres of the voxels that count: (3,) and (3,) float32, metres.

        Raises:
            DataError: As `table`.
        """
        cells, per_metre = self.table.cells.astype(np.float32), np.float32(1 / self.voxel_size_m)
        return cells.min(0) / per_metre, cells.max(0) / per_metre

    def seen(self, index: int) -> np.ndarray:
        """Return the voxels that a frame sees, as ascending int32 ranks in `table`."""
        if index not in self._seen:
            self._seen[index] = self._compute_seen(index)
        return self._seen[index]

    def _compute_seen(self, index: int) -> np.ndarray:
        table = self.table
        if self._own_cells:
            return table.ranks(self._own_cells[index])
        visible_voxels = self.visible_voxels or (lambda i, table: table.seen_by(self.frame_points(i)))
        return visible_voxels(index, table)

    def select(self, max_frames: int) -> Selection:
        """Select up to `max_frames` frames greedily. The result does not depend on earlier calls.

        A selection of more frames begins with that of fewer if both have the same candidates. `stored` is used if it
        has the same candidates and is long enough.

        Raises:
            DataError: As `table`.
        """
        limit = max(max_frames, REFERENCE_FRAMES)
        pool = candidates(self.frame_count, limit)
        needed = min(limit, len(pool))
        if self.stored is not None and len(self.stored.order) >= needed and len(pool) == self._reference_pool_size:
            return self.stored.first(max_frames)
        selection = self._computed.get(len(pool))
        if selection is None or len(selection.order) < needed:
            order, gains, visible = greedy_cover([self.seen(i) for i in pool], len(self.table.cells), limit)
            selection = Selection(tuple(pool[i] for i in order), tuple(gains), visible)
            self._computed[len(pool)] = selection
        return selection.first(max_frames)

    @property
    def computed(self) -> Selection | None:
        """The selection to store: one computed here among the reference's candidates that extends `stored`, if any.

        None if no such selection was computed.
        """
        selection = self._computed.get(self._reference_pool_size)
        if selection is None:
            return None
        extends = self.stored is None or selection.first(len(self.stored.order)) == self.stored
        return selection if extends else None

    @property
    def _reference_pool_size(self) -> int:
        return len(candidates(self.frame_count))


def candidates(frame_count: int, limit: int = REFERENCE_FRAMES) -> list[int]:
    """Return the indices of every second frame if those are `limit` or more; else of all frames."""
    every_second = list(range(0, frame_count, 2))
    return every_second if len(every_second) >= limit else list(range(frame_count))


def greedy_cover(sets: Sequence[np.ndarray], universe: int, limit: int) -> tuple[list[int], list[int], int]:
    """Cover elements greedily by sets.

    Each element is subtracted once from the gain of every set that holds it, when it is first covered. The time is that
    of reading all sets once, whatever the number of rounds.

    Args:
        sets: One array of distinct integers in [0, universe) for each set. Ties go to the earlier set.
        universe: Number of elements.
        limit: Largest number of sets to select.

    Returns:
        The indices of the sets in the order of selection, the number of elements that each one adds, and the number of
        elements of the union of all sets.
    """
    lengths = np.array([len(s) for s in sets], np.int64)
    elements = np.concatenate(sets).astype(np.int64) if len(sets) else np.zeros(0, np.int64)
    owners = np.repeat(np.arange(len(sets)), lengths)[np.argsort(elements, kind="stable")]
    start = np.zeros(universe + 1, np.int64)
    np.cumsum(np.bincount(elements, minlength=universe), out=start[1:])
    gains, covered = lengths.copy(), np.zeros(universe, bool)
    order: list[int] = []
    added: list[int] = []
    for _ in range(min(limit, len(sets))):
        best = int(np.argmax(gains))
        order.append(best)
        added.append(int(gains[best]))
        fresh = sets[best][~covered[sets[best]]]
        covered[fresh] = True
        gains -= np.bincount(owners[_ranges(start[fresh], start[fresh + 1])], minlength=len(sets))
        gains[best] = -1 - universe  # selected: never the best again, also when all others add nothing
    return order, added, int((np.diff(start) > 0).sum())


def _ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the integers of all half-open ranges [first, last), one range after the other."""
    lengths = last - first
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - lengths), lengths)


def _union(cells: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(cells), axis=0) if cells else np.zeros((0, 3), np.int32)


def mc(scene: Scene, max_frames: int, coverage: Coverage) -> list[int]:
    """Sample up to `max_frames` frames by maximum coverage; returns their indices in capture order."""
    return sorted(coverage.select(max_frames).order)


def mc_ratio90(scene: Scene, max_frames: int, coverage: Coverage) -> list[int]:
    """Sample as `mc`, but stop when 90 % of the voxels that all candidates see are covered."""
    return _until(coverage.select(max_frames), 0.9)


def mc_ratio95(scene: Scene, max_frames: int, coverage: Coverage) -> list[int]:
    """Sample as `mc`, but stop when 95 % of the voxels that all candidates see are covered."""
    return _until(coverage.select(max_frames), 0.95)


def _until(selection: Selection, ratio: float) -> list[int]:
    total = np.cumsum(selection.gains)
    enough = np.nonzero(total >= selection.visible * ratio)[0]
    stop = int(enough[0]) + 1 if len(enough) else len(total)
    return sorted(selection.order[:stop])
