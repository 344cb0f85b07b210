"""Maximum-coverage sampling: greedily the frame that shows most of the surface not yet shown.

Source: Video-3D LLM, LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/preprocessing/max_coverage_sampling.py: voxels of
0.1 m; every second frame is a candidate if that leaves 32 or more (here: or as many as are asked for, if those are
more); of a frame's voxels only those of the scan's mesh count. That program breaks ties by an unseeded random choice;
here the earlier frame wins.
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
    """Frames in the order they were chosen, the voxels each one added, and the voxels all candidates see together."""

    order: tuple[int, ...]
    gains: tuple[int, ...]
    visible: int

    def first(self, count: int) -> Selection:
        """The beginning of the choice: its first `count` frames."""
        return Selection(self.order[:count], self.gains[:count], self.visible)


@dataclass
class Coverage:
    """What the frames of a scan see, computed when a sampler asks and not before.

    frame_points     index -> (M, 3) float32 world points of that frame, metres
    frame_count      frames of the scan
    surface_cells    () -> (K, 3) voxels of the scan's surface, or None: then all that the candidates see counts
    known            a choice made earlier among the reference's candidates, read or computed; it stays as it is
    look             (index, table) -> what `table.seen_by(frame_points(index))` gives, if there is a faster way
    scene_id         named in errors
    """

    frame_points: Callable[[int], np.ndarray]
    frame_count: int
    surface_cells: Callable[[], np.ndarray | None] = lambda: None
    voxel_size_m: float = VOXEL_SIZE_M
    known: Selection | None = None
    look: Callable[[int, VoxelTable], np.ndarray] | None = None
    scene_id: str | None = None
    _seen: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _made: dict[int, Selection] = field(default_factory=dict, repr=False)  # number of candidates -> choice

    @cached_property
    def table(self) -> VoxelTable:
        """The voxels that count; DataError if there are none, or if they span more than a room."""
        cells = self.surface_cells()
        if cells is None or not len(cells):
            frames = range(self.frame_count)
            cells = _union([unique_voxels(self.frame_points(i), self.voxel_size_m) for i in frames])
        if not len(cells):
            remedy = "coverage needs depth, the sampler `uniform` does not"
            raise DataError("no frame has a measured depth", where=self.scene_id, remedy=remedy)
        try:
            return VoxelTable.build(cells, self.voxel_size_m)
        except ValueError as error:
            remedy = "correct the pose or the depth that is far off, or use the sampler `uniform`"
            raise DataError(str(error), where=self.scene_id, remedy=remedy) from error

    def seen(self, index: int) -> np.ndarray:
        """Ranks in `table` of the counted voxels that frame `index` sees, ascending."""
        if index not in self._seen:
            look = self.look or (lambda i, table: table.seen_by(self.frame_points(i)))
            self._seen[index] = look(index, self.table)
        return self._seen[index]

    def select(self, max_frames: int) -> Selection:
        """The greedy choice of up to `max_frames` frames, the same whatever was asked for before.

        A choice for more frames begins with that for fewer as long as both have the same candidates, and `known`, where
        it is long enough, is one of them.
        """
        limit = max(max_frames, REFERENCE_FRAMES)
        pool = candidates(self.frame_count, limit)
        needed = min(limit, len(pool))
        if self.known is not None and len(self.known.order) >= needed and len(pool) == self._reference_pool:
            return self.known.first(max_frames)
        made = self._made.get(len(pool))
        if made is None or len(made.order) < needed:
            order, gains, visible = greedy_cover([self.seen(i) for i in pool], len(self.table.cells), limit)
            made = self._made[len(pool)] = Selection(tuple(pool[i] for i in order), tuple(gains), visible)
        return made.first(max_frames)

    @property
    def made(self) -> Selection | None:
        """What can be kept in the place of `known`: a choice computed here among the reference's candidates that begins
        with `known`, where there is one. None if none was made."""
        made = self._made.get(self._reference_pool)
        fits = made is not None and (self.known is None or made.first(len(self.known.order)) == self.known)
        return made if fits else None

    @property
    def _reference_pool(self) -> int:
        return len(candidates(self.frame_count))


def candidates(frame_count: int, limit: int = REFERENCE_FRAMES) -> list[int]:
    """Every second frame where that leaves `limit` or more, else all."""
    every_second = list(range(0, frame_count, 2))
    return every_second if len(every_second) >= limit else list(range(frame_count))


def greedy_cover(sets: Sequence[np.ndarray], universe: int, limit: int) -> tuple[list[int], list[int], int]:
    """(indices in the order chosen, elements each one adds, elements of the union) of greedy set cover.

    sets        distinct integers in [0, universe), one array a set; ties go to the earlier set
    Each element is subtracted from the gain of every set that holds it once, when it is first covered, so the whole
    choice costs as much as the sets are long together, whatever the number of rounds.
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
        gains[best] = -1 - universe  # chosen: out of the race, also when all others add nothing
    return order, added, int((np.diff(start) > 0).sum())


def _ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The integers of all half-open ranges [first, last), one range after the other."""
    lengths = last - first
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - lengths), lengths)


def _union(cells: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(cells), axis=0) if cells else np.zeros((0, 3), np.int32)


def mc(scene: Scene, max_frames: int, coverage: Coverage) -> list[int]:
    """Up to `max_frames` frames of largest coverage, in capture order."""
    return sorted(coverage.select(max_frames).order)


def mc_ratio90(scene: Scene, max_frames: int, coverage: Coverage) -> list[int]:
    """As `mc`, stopping when 90 % of what all candidates see is covered."""
    return _until(coverage.select(max_frames), 0.9)


def mc_ratio95(scene: Scene, max_frames: int, coverage: Coverage) -> list[int]:
    """As `mc`, stopping when 95 % of what all candidates see is covered."""
    return _until(coverage.select(max_frames), 0.95)


def _until(selection: Selection, ratio: float) -> list[int]:
    total = np.cumsum(selection.gains)
    enough = np.nonzero(total >= selection.visible * ratio)[0]
    stop = int(enough[0]) + 1 if len(enough) else len(total)
    return sorted(selection.order[:stop])
