"""Joins the pieces of a fine partition, cheapest border first. Every union on the way may be an object."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.proposals.auto.graph import Graph

SMALLEST_SURFELS = 25


@dataclass(frozen=True)
class Segments:
    """N sets of surfels, as ranges of one order of all surfels.

    Attributes:
        order: (S,) int64 surfels.
        starts: (N,) int64 first place of each set in `order`.
        stops: (N,) int64 place after its last.
        borders: (N,) mean weight of the graph's edges that leave the set; NaN where none does.
    """

    order: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    borders: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> np.ndarray:
        """(N,) number of surfels of each set."""
        return self.stops - self.starts


def segments_of(labels: np.ndarray, graph: Graph, use: np.ndarray) -> Segments:
    """Return the sets of equal labels.

    Args:
        labels: (S,) int labels from 0.
        graph: The graph, without edges at surfels that are not used.
        use: (S,) bool, the surfels that count.
    """
    one, other = labels[graph.first], labels[graph.second]
    leaves = one != other
    ends = np.concatenate([one[leaves], other[leaves]])
    count = labels.max(initial=-1) + 1
    weights = np.bincount(ends, np.tile(graph.weights[leaves], 2), minlength=count)
    edges = np.bincount(ends, minlength=count)
    order = np.flatnonzero(use)
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels[order], minlength=count)
    stops = np.cumsum(sizes)
    borders = np.where(edges > 0, weights / np.maximum(edges, 1), np.nan)
    large = sizes >= SMALLEST_SURFELS
    return Segments(order, (stops - sizes)[large], stops[large], borders[large])


def unions(labels: np.ndarray, graph: Graph, use: np.ndarray) -> Segments:
    """Join neighbouring sets of equal labels, the cheapest pair first, and return every union.

    A pair costs the mean weight of the edges between the two, times powers of the smaller one's size and of how much of
    its border is with others.

    Args:
        labels: (S,) int labels from 0.
        graph: The graph, without edges at surfels that are not used.
        use: (S,) bool, the surfels that count.
    """
    pieces = np.bincount(labels[use], minlength=labels.max(initial=-1) + 1)
    children, borders, sizes = _joined(pieces.tolist(), *_borders(labels, graph))
    return _laid_out(labels, use, len(pieces), children, borders, sizes)


def _borders(labels: np.ndarray, graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the P pairs of neighbouring labels, and of the edges between the two the sum of weights and the number.

    Returns:
        (P,) int64 lower labels, (P,) int64 higher labels, (P,) float64 sums, (P,) int64 numbers.
    """
    one, other = labels[graph.first], labels[graph.second]
    leaves = one != other
    low, high = np.minimum(one, other)[leaves].astype(np.int64), np.maximum(one, other)[leaves].astype(np.int64)
    count = int(labels.max(initial=0)) + 1
    pairs = low * count + high
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    weights = np.add.reduceat(graph.weights[leaves][order].astype(np.float64), starts)
    return *np.divmod(pairs[starts], count), weights, np.diff(starts, append=len(pairs))


def _joined(
    sizes: list[int], low: np.ndarray, high: np.ndarray, weights: np.ndarray, edges: np.ndarray
) -> tuple[list[tuple[int, int]], list[float], list[int]]:
    """Join until no neighbours are left; return children, border and size of each union, in order.

    Piece k is node k; union k is node len(sizes) + k. The other arguments are what `_borders` returns.
    """
    sizes, ends = list(sizes), np.concatenate([high, low])
    sums = np.bincount(ends, np.tile(weights, 2), minlength=len(sizes)).tolist()
    perimeters = np.bincount(ends, np.tile(edges, 2), minlength=len(sizes)).tolist()
    near: list[dict[int, tuple[float, int]]] = [{} for _ in sizes]  # neighbour -> sum of weights, number of edges
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    for (a, b), weight, count in zip(pairs, weights.tolist(), edges.tolist(), strict=True):
        near[a][b] = near[b][a] = (weight, count)

    def cost(a: int, b: int) -> float:
        weight, count = near[a][b]
        smaller = min(sizes[a], sizes[b])
        return weight / count * smaller**0.25 * (min(perimeters[a], perimeters[b]) / count) ** 0.5

    heap = [(cost(a, b), a, b) for a, b in pairs]
    heapq.heapify(heap)
    nodes = list(range(len(sizes)))  # a union keeps the slot of that part which has more neighbours
    children: list[tuple[int, int]] = []
    borders: list[float] = []
    union_sizes: list[int] = []
    while heap:
        before, a, b = heapq.heappop(heap)
        if b not in near[a]:
            continue
        now = cost(a, b)
        if now > before * 1.001:  # one of them has grown since
            heapq.heappush(heap, (now, a, b))
            continue
        if len(near[a]) < len(near[b]):
            a, b = b, a
        weight, count = near[a][b]
        sizes[a] += sizes[b]
        sums[a] += sums[b] - 2 * weight
        perimeters[a] += perimeters[b] - 2 * count
        children.append((nodes[a], nodes[b]))
        borders.append(sums[a] / perimeters[a] if perimeters[a] else float("nan"))
        union_sizes.append(sizes[a])
        nodes[a] = len(nodes) + len(children) - 1
        for other in _take_neighbours(near, a, b):
            heapq.heappush(heap, (cost(a, other), min(a, other), max(a, other)))
    return children, borders, union_sizes


def _take_neighbours(near: list[dict[int, tuple[float, int]]], a: int, b: int) -> list[int]:
    """Make the neighbours of b those of a, and return them."""
    taken, near[b] = near[b], {}
    taken.pop(a)
    near[a].pop(b)
    for other, (weight, count) in taken.items():
        before = near[a].get(other, (0.0, 0))
        near[a][other] = near[other][a] = (before[0] + weight, before[1] + count)
        near[other].pop(b)
    return list(taken)


def _laid_out(
    labels: np.ndarray,
    use: np.ndarray,
    pieces: int,
    children: list[tuple[int, int]],
    borders: list[float],
    sizes: list[int],
) -> Segments:
    """Order the surfels so that every union is a range."""
    in_union = {child for pair in children for child in pair}
    roots = [node for node in range(pieces + len(children)) if node not in in_union]
    piece_sizes = np.bincount(labels[use], minlength=pieces).tolist()
    starts, place, rank = [0] * len(children), 0, [0] * pieces
    stack, next_rank = roots[::-1], 0
    while stack:
        node = stack.pop()
        if node < pieces:
            rank[node] = next_rank
            next_rank += 1
            place += piece_sizes[node]
        else:
            starts[node - pieces] = place
            stack.extend(reversed(children[node - pieces]))
    order = np.flatnonzero(use)
    if len(order):
        order = order[np.argsort(np.array(rank)[labels[order]], kind="stable")]
    first, count = np.array(starts, np.int64), np.array(sizes, np.int64)
    large = count >= SMALLEST_SURFELS
    return Segments(order, first[large], (first + count)[large], np.array(borders)[large])
