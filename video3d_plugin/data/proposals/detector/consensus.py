"""Merges instance masks of many views into objects, by the consensus of the views.

After MaskClustering (Yan et al., CVPR 2024, arXiv 2401.07745). Two masks belong to one object if most views that see
both show them inside one mask. The rate is computed for all pairs, masks are merged where many views can judge first,
and merged masks are judged again with what they have become. Nothing depends on the order of masks or views.

Masks are sets of cells of a surface (`lifting`). A view *judges* a mask if it sees enough of its cells and enough of
these lie in masks of that view, so a view in which the detector missed an object has no say. A view *contains* a mask
if one of its masks holds nearly all cells that it judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

_VISIBLE = 0.3  # share of a mask's cells that a view must see to judge it
_COVERED = 0.5  # share of the cells it sees that must lie in masks
_CONTAINED = 0.8  # share of the cells it judges that one mask must hold
_SPLIT = 0.3  # a mask that more than this share of its judges split holds several objects
_AGREEMENT = 0.8  # share of the judges of two masks that must contain both in one
_CELL_SUPPORT = 0.4  # share of the masks that could hold a cell and do, for the cell to be the object's


@dataclass(frozen=True)
class MergedObject:
    """An object that several views agree on.

    Attributes:
        masks: (K,) int64 indices of its masks, ascending.
        cells: (L,) int64 indices of its cells, ascending.
        seen_by: Number of views that see at least half of its cells.
    """

    masks: np.ndarray
    cells: np.ndarray
    seen_by: int


@dataclass(frozen=True)
class _Nodes:
    """Masks or groups of masks, one a row.

    Attributes:
        cells: (M, N) sparse 0/1: the cells of each.
        judges: (M, V) bool: views that judge it.
        inside: (M, K) bool: which of the K masks contain it.
    """

    cells: csr_matrix
    judges: np.ndarray
    inside: np.ndarray

    def grouped(self, group: np.ndarray) -> _Nodes:
        """Return the unions of the nodes with the same number in `group`."""
        count = int(group.max()) + 1
        join = csr_matrix((np.ones(len(group), np.float32), (group, np.arange(len(group)))), (count, len(group)))
        cells = (join @ self.cells).tocsr()
        cells.data[:] = 1
        return _Nodes(cells, join @ self.judges > 0, join @ self.inside > 0)


def merge_masks(
    masks: list[np.ndarray], view_of_mask: np.ndarray, visible: list[np.ndarray], cells: int
) -> list[MergedObject]:
    """Merge the masks of all views into objects.

    Args:
        masks: Indices of the cells of each of M masks; masks of one view may overlap.
        view_of_mask: (M,) int64 the view of each mask.
        visible: Indices of the cells that each of V views sees.
        cells: Number of cells of the surface.

    Returns:
        The objects, each of one or more masks. A mask that holds several objects, and one without cells, is in none.
    """
    if not any(len(mask) for mask in masks):
        return []
    of_mask, of_view = _incidence(masks, cells), _incidence(visible, cells)
    in_masks = _masked(of_mask, view_of_mask, len(visible))
    judges, inside = _judge(of_mask, view_of_mask, of_view, in_masks)
    whole = _is_whole(of_mask, view_of_mask, judges, inside)
    inside = inside & whole[None]
    judges = judges & _any_by_view(inside, view_of_mask, len(visible))
    members = np.flatnonzero(whole)
    if not len(members):
        return []
    group = _merge(_Nodes(of_mask[members], judges[members], inside[members]), view_of_mask)
    return [_object(members[group == number], of_mask, of_view, view_of_mask) for number in range(group.max() + 1)]


def _incidence(sets: list[np.ndarray], cells: int) -> csr_matrix:
    """Return (len(sets), cells) sparse float32 with 1 for each member."""
    starts = np.concatenate([[0], np.cumsum([len(each) for each in sets])])
    members = np.concatenate([*sets, np.zeros(0, np.int64)])
    return csr_matrix((np.ones(len(members), np.float32), members, starts), (len(sets), cells))


def _masked(of_mask: csr_matrix, view_of_mask: np.ndarray, views: int) -> csr_matrix:
    """Return (V, N) sparse 0/1: the cells in any mask of each view."""
    join = csr_matrix(
        (np.ones(len(view_of_mask), np.float32), (view_of_mask, np.arange(len(view_of_mask)))),
        (views, len(view_of_mask)),
    )
    union = (join @ of_mask).tocsr()
    union.data[:] = 1
    return union


def _judge(
    of_mask: csr_matrix, view_of_mask: np.ndarray, of_view: csr_matrix, in_masks: csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    """Return (M, V) bool which views judge each mask, and (M, M) bool which masks contain it."""
    size = np.asarray(of_mask.sum(1)).reshape(-1, 1)
    seen = (of_mask @ of_view.T).toarray()
    covered = (of_mask @ in_masks.T).toarray()
    judges = (size > 0) & (seen >= _VISIBLE * size) & (covered >= _COVERED * seen)
    shared = (of_mask @ of_mask.T).toarray()
    inside = (shared >= _CONTAINED * covered[:, view_of_mask]) & judges[:, view_of_mask]
    return judges, inside


def _is_whole(of_mask: csr_matrix, view_of_mask: np.ndarray, judges: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return (M,) bool: masks with cells that few of their judges split between several masks."""
    contained = _any_by_view(inside, view_of_mask, judges.shape[1])
    split = (judges & ~contained).sum(1) / np.maximum(judges.sum(1), 1)
    return (split <= _SPLIT) & (np.diff(of_mask.indptr) > 0)


def _any_by_view(inside: np.ndarray, view_of_mask: np.ndarray, views: int) -> np.ndarray:
    """Return (M, V) bool: whether any mask of the view contains the row's."""
    of_view = np.zeros((len(view_of_mask), views), np.float32)
    of_view[np.arange(len(view_of_mask)), view_of_mask] = 1
    return inside.astype(np.float32) @ of_view > 0


def _merge(nodes: _Nodes, view_of_mask: np.ndarray) -> np.ndarray:
    """Return (M,) the group of each node, numbered from 0 in the order of their first members."""
    group = np.arange(nodes.judges.shape[0])
    fewest = nodes.judges.shape[1]
    while fewest >= 1:
        common, agreed = _agreement(nodes, view_of_mask)
        joined = (common >= fewest) & (agreed >= _AGREEMENT * common)
        count, step = connected_components(csr_matrix(joined), directed=False)
        if count == len(step):
            fewest = min(fewest - 1, int(fewest * 0.7)) if fewest > 1 else 0
            continue
        nodes, group = nodes.grouped(step), step[group]
    return group


def _agreement(nodes: _Nodes, view_of_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pair of nodes the number of views that judge both, and of those that contain both in one mask."""
    judged = nodes.judges.astype(np.float32)
    agreed = np.zeros((len(judged), len(judged)), np.float32)
    for view in np.unique(view_of_mask):
        inside = nodes.inside[:, view_of_mask == view].astype(np.float32)
        agreed += inside @ inside.T > 0
    return judged @ judged.T, agreed


def _object(members: np.ndarray, of_mask: csr_matrix, of_view: csr_matrix, view_of_mask: np.ndarray) -> MergedObject:
    """Return the object of these masks, with the cells that enough of the masks hold whose views see them."""
    held = np.asarray(of_mask[members].sum(0)).reshape(-1)
    seen = np.asarray(of_view[np.unique(view_of_mask[members])].sum(0)).reshape(-1)
    is_of_object = (held > 0) & (held >= _CELL_SUPPORT * seen)
    cells = np.flatnonzero(is_of_object)
    return MergedObject(members, cells, int((of_view @ is_of_object.astype(np.float32) * 2 >= len(cells)).sum()))
