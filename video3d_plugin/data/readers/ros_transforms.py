"""Transforms between the coordinate frames of a ROS bag: a tree whose edges are fixed or move with time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from video3d_plugin.data.readers.capture_format import quaternion_rotation, rigid_matrix

_LONGEST_CHAIN = 64
_LARGEST_GAP_NS = 500_000_000  # between two transforms that are interpolated
_EXTRAPOLATION_NS = 50_000_000  # before the first and behind the last one


@dataclass
class _Edge:
    """Transforms from a frame to its parent: times in nanoseconds, positions in metres, quaternions x y z w."""

    parent: str
    is_static: bool
    times: list[int] = field(default_factory=list)
    positions: list[tuple[float, float, float]] = field(default_factory=list)
    quaternions: list[tuple[float, float, float, float]] = field(default_factory=list)


class TransformTree:
    """Collects transforms and looks them up by time. A frame keeps the first parent that it is given."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}
        self._sorted: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(
        self,
        parent: str,
        child: str,
        time_ns: int,
        position: tuple[float, float, float],
        quaternion: tuple[float, float, float, float],
        is_static: bool = False,
    ) -> None:
        """Add the pose of `child` in `parent` at a time; a static one holds at any time."""
        if child == parent:
            return
        edge = self._edges.setdefault(child, _Edge(parent, is_static))
        if edge.parent == parent and not (edge.is_static and edge.times):
            edge.times.append(time_ns)
            edge.positions.append(position)
            edge.quaternions.append(quaternion)
            self._sorted.pop(child, None)

    def root_of(self, frame: str) -> str:
        """Return the frame at the top of the chain of parents."""
        return self._chain(frame)[-1]

    def moves(self, frame: str) -> bool:
        """Return whether a transform between a frame and its root changes with time."""
        return any(not self._edges[name].is_static for name in self._chain(frame)[:-1])

    def between(self, target: str, source: str, time_ns: int) -> np.ndarray | str:
        """Return the (4, 4) transform, target from source, at a time; or the reason why there is none."""
        chains = self._chain(target), self._chain(source)
        common = next((name for name in chains[1] if name in chains[0]), None)
        if common is None:
            return f"no transform from {source} to {target}"
        common_from_target, common_from_source = (self._to_ancestor(chain, common, time_ns) for chain in chains)
        if isinstance(common_from_target, str):
            return common_from_target
        if isinstance(common_from_source, str):
            return common_from_source
        return np.linalg.inv(common_from_target) @ common_from_source

    def _chain(self, frame: str) -> list[str]:
        """Return the frame and its ancestors; cut where they form a circle."""
        chain = [frame]
        while chain[-1] in self._edges and len(chain) < _LONGEST_CHAIN:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                break
            chain.append(parent)
        return chain

    def _to_ancestor(self, chain: list[str], ancestor: str, time_ns: int) -> np.ndarray | str:
        matrix = np.eye(4)
        for name in chain[: chain.index(ancestor)]:
            step = self._at(name, time_ns)
            if isinstance(step, str):
                return step
            matrix = step @ matrix
        return matrix

    def _at(self, child: str, time_ns: int) -> np.ndarray | str:
        """Return the transform from a frame to its parent at a time, interpolated between its neighbours."""
        edge = self._edges[child]
        if child not in self._sorted:
            order = np.argsort(edge.times, kind="stable")
            self._sorted[child] = (
                np.array(edge.times, np.int64)[order],
                np.array(edge.positions, np.float64)[order],
                np.array(edge.quaternions, np.float64)[order],
            )
        times, positions, quaternions = self._sorted[child]
        after = int(np.searchsorted(times, time_ns))
        before = max(0, after - 1)
        after = min(after, len(times) - 1)
        if edge.is_static or before == after:
            if not edge.is_static and abs(int(times[after]) - time_ns) > _EXTRAPOLATION_NS:
                return "no pose at that time"
            return rigid_matrix(quaternion_rotation(*quaternions[after]), positions[after])
        gap = int(times[after] - times[before])
        outside = max(int(times[before]) - time_ns, time_ns - int(times[after]))
        if gap > _LARGEST_GAP_NS or outside > _EXTRAPOLATION_NS:
            return "no pose at that time"
        share = min(1.0, max(0.0, (time_ns - int(times[before])) / gap)) if gap else 0.0
        position = positions[before] * (1 - share) + positions[after] * share
        return rigid_matrix(_between_rotations(quaternions[before], quaternions[after], share), position)


def _between_rotations(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return the (3, 3) rotation between two quaternions, a share of 0 to 1 on the shorter way."""
    if first @ second < 0:  # the same rotation has two quaternions
        second = -second
    return quaternion_rotation(*(first * (1 - share) + second * share))  # near to slerp: neighbours differ little
