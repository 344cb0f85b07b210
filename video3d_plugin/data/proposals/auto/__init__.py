"""The maker "auto": proposals from depth and poses alone, without a detector and without learned weights.

surfels      fuses the depth images into small surface elements with normals
shell        finds floor, ceiling and walls
graph        connects surfels, and cuts their graph very finely, by gaps, bends and steps
merge_tree   joins the pieces again; every union on the way is a candidate
boxes        boxes of the candidates, grown back to the floor and the walls
ranking      chooses by size, agreement of the cuts, fill and border
"""

from __future__ import annotations

import numpy as np

from video3d_plugin.data.proposals.auto import boxes, graph, merge_tree, ranking
from video3d_plugin.data.proposals.auto.shell import find_shell
from video3d_plugin.data.proposals.auto.surfels import Surfels, fuse
from video3d_plugin.data.proposals.maker import Proposals
from video3d_plugin.errors import DataError
from video3d_plugin.scene import Scene

_TOLERANCES_CELLS = (1.25, 2.5)  # from the shell, ascending, both kept: 2.5 and 5 cm where a cell has 2 cm
_VIEW_SHARE = 0.2  # of an object's surfels that a frame must show
NOTE = "proposals are made from depth and poses (auto)"


def make_proposals(scene: Scene, limit: int, argument: str = "") -> Proposals:
    """Find boxes of objects. Deterministic; the same for a scan that is shifted or whose frames come in another order.

    Args:
        scene: The scene; up to 100 of its depth images are decoded.
        limit: Largest number of boxes.
        argument: Must be empty.

    Raises:
        DataError: There is an argument, or a depth image cannot be decoded.
    """
    if argument:
        raise DataError(f"proposals auto:{argument}", remedy="auto takes no argument")
    surfels = fuse(scene)
    candidates = find_candidates(surfels)
    chosen, scores = ranking.ranked(candidates, surfels.area_m2, limit)
    best = candidates.take(chosen)
    centre_size = np.concatenate([(best.low + best.high) / 2 + surfels.origin, best.high - best.low], axis=1)
    return Proposals(centre_size.astype(np.float32), scores, views=_views(best, surfels), note=NOTE)


def find_candidates(surfels: Surfels) -> boxes.Candidates:
    """Return all boxes that may be objects."""
    if len(surfels.points) < merge_tree.SMALLEST_SURFELS:
        return boxes.NONE
    shell = find_shell(surfels)
    masks = [shell.holds(surfels, cells * surfels.cell_m) for cells in _TOLERANCES_CELLS]
    full = graph.build(surfels, ~masks[0])
    segments = []
    for in_shell in masks:
        rest = full.without(in_shell)
        bends = graph.bend_partitions(rest)
        partitions = graph.gap_partitions(rest) + bends
        segments += [merge_tree.segments_of(labels, rest, ~in_shell) for labels in partitions]
        segments.append(merge_tree.unions(bends[0], rest, ~in_shell))
    return boxes.candidates_of(surfels, shell, segments)


def _views(best: boxes.Candidates, surfels: Surfels) -> tuple[tuple[str, ...], ...]:
    """Return for each box the frames that show a part of it, those that show most of it first."""
    shown = np.zeros((len(best), len(surfels.frames)), np.int64)
    for row, members in enumerate(best.members):
        inside = np.zeros(len(surfels.points), bool)
        inside[members] = True
        shown[row] = [np.count_nonzero(inside[seen]) for seen in surfels.seen]
    order = np.argsort(-shown, axis=1, kind="stable")
    enough = shown >= np.maximum(_VIEW_SHARE * best.counts, 1)[:, None]
    return tuple(tuple(surfels.frames[i] for i in places if enough[row, i]) for row, places in enumerate(order))
