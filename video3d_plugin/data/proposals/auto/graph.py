"""The graph of neighbouring surfels and its partitions: by gaps, and by bends and steps of the surface.

Partitions cut far too finely on purpose: `merge_tree` joins the pieces again, and `ranking` chooses among all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from video3d_plugin.data.proposals.auto.surfels import Surfels, pack

_REACH_CELLS = 3.5  # 7 cm where a cell has 2 cm
GAPS_CELLS = (1.5, 2.25, 3.5)  # ascending
SCALES = (0.05, 0.15, 0.5)  # of Felzenszwalb's rule, in radians for a piece of _SCALE_SURFELS
_SCALE_SURFELS = 30
_BEND_REACH_CELLS = 2.5  # longer edges lead past a bend
_CONVEX_SHARE = 0.25  # of the angle counts where the surface bends outwards
_STEP_PER_CELL = 0.24  # radians for a step of one cell along the normals: 12 per metre at 2 cm


@dataclass(frozen=True)
class Graph:
    """E edges between neighbouring surfels.

    Attributes:
        first: (E,) int64 surfel at one end.
        second: (E,) int64 surfel at the other.
        gaps: (E,) distances in cells.
        weights: (E,) how little the two belong together: 0 for a flat surface; about radians.
        nodes: Number of surfels.
    """

    first: np.ndarray
    second: np.ndarray
    gaps: np.ndarray
    weights: np.ndarray
    nodes: int

    def without(self, dropped: np.ndarray) -> Graph:
        """The graph without the edges at surfels of a mask (S,). Surfels keep their numbers."""
        stay = ~(dropped[self.first] | dropped[self.second])
        return Graph(self.first[stay], self.second[stay], self.gaps[stay], self.weights[stay], self.nodes)


def build(surfels: Surfels, use: np.ndarray) -> Graph:
    """Connect surfels of a mask (S,) whose cells are within _REACH_CELLS, and weight the edges."""
    used = np.flatnonzero(use)
    points = (surfels.points[used] / surfels.cell_m).astype(np.float32)
    normals = surfels.normals[used].astype(np.float32)
    parts = [
        (used[first], used[second], *_gaps_and_weights(points[second] - points[first], normals[first], normals[second]))
        for first, second in _neighbours(surfels.cells[used])
    ]
    first, second, gaps, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Graph(first, second, gaps, weights, len(surfels.points))


def _neighbours(cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (E,) and (E,) indices of the ends of edges; `cells` (S, 3) are in lexicographic order.

    Each pair of arrays holds the edges along one offset between cells: few enough for a processor's cache.
    """
    keys = pack(cells)
    reach = int(_REACH_CELLS)
    around = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(around, around, around, indexing="ij"), -1).reshape(-1, 3)
    offsets = offsets[(offsets**2).sum(1) <= _REACH_CELLS**2]
    offsets = offsets[len(offsets) // 2 + 1 :]  # one of each two opposite ones
    for offset in pack(offsets) - pack(np.zeros((1, 3), np.int64)):
        wanted = keys + offset
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        there = np.flatnonzero(keys[at] == wanted)
        yield there, at[there]


def _gaps_and_weights(between: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (E,) lengths of edges and (E,) weights.

    Args:
        between: (E, 3) from one end to the other, cells.
        one: (E, 3) unit normals at the one end.
        other: (E, 3) unit normals at the other.
    """
    cos = np.einsum("ij,ij->i", one, other)
    along_one, along_other = np.einsum("ij,ij->i", between, one), np.einsum("ij,ij->i", between, other)
    angle = np.arccos(np.clip(cos, -1, 1))
    length = np.sqrt(np.maximum(2 + 2 * cos, 0.25))  # of the sum of the two normals
    step = np.abs(along_one + along_other) / length
    outwards = along_other > along_one
    weights = np.where(outwards, np.float32(_CONVEX_SHARE), 1) * angle + np.float32(_STEP_PER_CELL) * step
    return np.sqrt(np.einsum("ij,ij->i", between, between)), weights


def gap_partitions(graph: Graph) -> list[np.ndarray]:
    """Partition into parts that lie farther apart than a gap, once for each of GAPS_CELLS, finest first.

    Returns:
        A (S,) int label of each surfel, for each gap.
    """
    partitions, labels = [], np.arange(graph.nodes)
    for gap in GAPS_CELLS:  # the parts of a gap are unions of those of a smaller one
        one, other = labels[graph.first], labels[graph.second]
        joined = (graph.gaps <= gap) & (one != other)
        count = labels.max(initial=-1) + 1
        pairs = coo_matrix((np.ones(joined.sum(), bool), (one[joined], other[joined])), (count, count))
        labels = connected_components(pairs, directed=False)[1][labels]
        partitions.append(labels)
    return partitions


def bend_partitions(graph: Graph) -> list[np.ndarray]:
    """Partition by bends and steps, once for each of SCALES, finest first.

    Felzenszwalb's rule: two pieces are joined where the edge between them is no heavier than the heaviest inside either
    plus scale / size. On the edges of the minimum spanning tree alone the result is the same. Edges longer than
    _BEND_REACH_CELLS are left out; `merge_tree` joins across them.

    Returns:
        A (S,) int label of each surfel, for each scale.
    """
    near = graph.gaps <= _BEND_REACH_CELLS
    pairs = (graph.first[near], graph.second[near])
    weights = coo_matrix(
        (graph.weights[near] + np.float32(1e-6), pairs), (graph.nodes,) * 2
    ).tocsr()  # 0 would be no edge
    tree = minimum_spanning_tree(weights).tocoo()
    order = np.argsort(tree.data, kind="stable")
    edges = tree.row[order].tolist(), tree.col[order].tolist(), tree.data[order].tolist()
    return [_felzenszwalb(*edges, graph.nodes, scale * _SCALE_SURFELS) for scale in SCALES]


def _felzenszwalb(firsts: list[int], seconds: list[int], weights: list[float], nodes: int, scale: float) -> np.ndarray:
    """Partition by the edges of a tree, lightest first; (S,) int label of each node."""
    parent, size, bound = list(range(nodes)), [1] * nodes, [scale] * nodes
    for a, b, weight in zip(firsts, seconds, weights, strict=True):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        if a != b and weight <= bound[a] and weight <= bound[b]:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            bound[a] = weight + scale / size[a]
    roots = np.array(parent)
    while (roots[roots] != roots).any():
        roots = roots[roots]
    return np.unique(roots, return_inverse=True)[1].reshape(-1)
