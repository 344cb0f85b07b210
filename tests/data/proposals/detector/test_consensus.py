"""Merging masks of many views. The surface is a row of cells: 0 to 99 one object, 100 to 199 the next."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.data.proposals.detector.consensus import merge_masks

CELLS = 300
FIRST, SECOND = np.arange(100), np.arange(100, 200)
ALL = np.arange(CELLS)


def merged(views, visible=None):
    """`views`: the masks of each view. Returns the objects' cells, as sorted lists of (first, last, count)."""
    masks = [np.asarray(mask) for view in views for mask in view]
    of_view = np.repeat(np.arange(len(views)), [len(view) for view in views])
    objects = merge_masks(masks, of_view, visible or [ALL] * len(views), CELLS)
    return objects, sorted((int(o.cells.min()), int(o.cells.max()), len(o.cells)) for o in objects if len(o.cells))


def test_masks_of_one_object_in_all_views_become_one():
    objects, found = merged([[FIRST, SECOND]] * 4)
    assert found == [(0, 99, 100), (100, 199, 100)]
    assert [o.masks.tolist() for o in objects] == [[0, 2, 4, 6], [1, 3, 5, 7]] and objects[0].seen_by == 4


def test_a_mask_split_in_one_view_is_joined_by_the_others():
    assert merged([[FIRST], [FIRST], [FIRST], [FIRST], [FIRST[:50], FIRST[50:]]])[1] == [(0, 99, 100)]


def test_a_mask_that_holds_two_objects_is_left_out():
    both = np.concatenate([FIRST, SECOND])
    objects, found = merged([[FIRST, SECOND]] * 3 + [[both]])
    assert found == [(0, 99, 100), (100, 199, 100)] and not any(6 in o.masks for o in objects)


def test_a_view_that_missed_an_object_has_no_say():
    assert merged([[FIRST], [FIRST], [SECOND], [SECOND], []])[1] == [(0, 99, 100), (100, 199, 100)]


def test_parts_seen_from_two_sides_are_joined_through_a_view_of_both():
    left, right = FIRST[:60], FIRST[40:]
    visible = [np.arange(60), np.arange(40, 100), np.arange(100)]
    assert merged([[left], [right], [FIRST]], visible)[1] == [(0, 99, 100)]


def test_stray_cells_of_one_mask_are_not_the_objects():
    bled = np.concatenate([FIRST, np.arange(250, 260)])
    assert merged([[FIRST], [FIRST], [FIRST], [bled]])[1] == [(0, 99, 100)]


def test_the_order_of_views_does_not_matter():
    rng = np.random.RandomState(0)
    views = [[FIRST, SECOND], [FIRST[:50], FIRST[50:], SECOND], [np.concatenate([FIRST, SECOND])], [SECOND], [FIRST]]
    views += [[np.flatnonzero(rng.rand(CELLS) < 0.1)], [FIRST[10:90], SECOND]]
    results = {tuple(merged([views[i] for i in rng.permutation(len(views))])[1]) for _ in range(6)}
    assert len(results) == 1 and {(0, 99, 100), (100, 199, 100)} <= set(*results)


@pytest.mark.parametrize("views", [[], [[]], [[[]]], [[np.zeros(0, np.int64)], []]])
def test_nothing_seen_is_no_object(views):
    assert merged([[np.asarray(mask, np.int64) for mask in view] for view in views])[1] == []


def test_one_view_gives_its_masks():
    assert merged([[FIRST, SECOND]])[1] == [(0, 99, 100), (100, 199, 100)]
