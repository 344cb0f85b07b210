"""Max-coverage sampling. The twin is the definition in Python sets; the package counts each voxel once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.voxels import unique_voxels, voxel_indices
from video3d_plugin.sampling.coverage import Coverage, Selection, candidates, greedy_cover, mc, mc_ratio90, mc_ratio95


def twin(sets, limit):
    """Every round: the set that adds most; the earlier one on a tie."""
    used, order, gains, left = set(), [], [], dict(enumerate(map(set, sets)))
    while left and len(order) < limit:
        best = max(left, key=lambda i: (len(left[i] - used), -i))
        order.append(best)
        gains.append(len(left[best] - used))
        used |= left.pop(best)
    return order, gains, len(set().union(*map(set, sets))) if sets else 0


def as_arrays(sets):
    return [np.array(sorted(s), np.int32) for s in sets]


@settings(max_examples=300)
@given(st.lists(st.sets(st.integers(0, 30)), max_size=12), st.integers(0, 12))
def test_the_selection_is_that_of_the_twin(sets, limit):
    assert greedy_cover(as_arrays(sets), 31, limit) == twin(sets, limit)


def test_a_selection_by_hand():
    sets = [{1, 2}, {1, 2, 3}, {4}, {3, 4}]
    assert greedy_cover(as_arrays(sets), 5, 4) == ([1, 2, 0, 3], [3, 1, 0, 0], 4)


def test_ties_go_to_the_earlier_frame():
    assert greedy_cover(as_arrays([{1}, {2}, {3}]), 4, 2)[0] == [0, 1]


def test_no_frames_and_empty_frames():
    assert greedy_cover([], 3, 5) == ([], [], 0)
    assert greedy_cover(as_arrays([set(), set()]), 3, 5) == ([0, 1], [0, 0], 0)


def frames(count, seed=0):
    """Overlapping clouds along a line, so that far frames add more than near ones."""
    rng = np.random.RandomState(seed)
    return [(rng.rand(400, 3) + [0.3 * i, 0, 0]).astype(np.float32) for i in range(count)]


def coverage_of(clouds, surface=None):
    return Coverage(lambda i: clouds[i], len(clouds), lambda: surface)


def test_selection_by_voxels_is_that_of_sets_of_tuples():
    clouds = frames(20)
    surface = unique_voxels(np.concatenate(clouds[3:]), 0.1)
    mesh = {tuple(c) for c in surface.tolist()}
    sets = [{tuple(c) for c in voxel_indices(cloud, 0.1).tolist()} & mesh for cloud in clouds]
    order, gains, visible = twin(sets, 8)
    selection = coverage_of(clouds, surface).select(8)
    assert (list(selection.order), list(selection.gains), selection.visible) == (order, gains, visible)


def test_without_a_surface_all_visible_voxels_count():
    clouds = frames(5)
    everything = {tuple(c) for cloud in clouds for c in voxel_indices(cloud, 0.1).tolist()}
    assert coverage_of(clouds).select(5).visible == len(everything)


def test_frames_are_decoded_only_on_demand():
    clouds, read = frames(5), []
    coverage = Coverage(lambda index: read.append(index) or clouds[index], len(clouds))
    assert read == []
    coverage.select(2)
    assert sorted(set(read)) == list(range(5))


def test_a_selection_of_fewer_frames_begins_that_of_more():
    coverage = coverage_of(frames(40))
    assert coverage.select(32).order[:5] == coverage_of(frames(40)).select(5).order


@pytest.mark.parametrize("before", [48, 33, 90])
def test_a_selection_does_not_depend_on_earlier_ones(before):
    """Of 70 frames every second one is a candidate for 32, and all are for 48."""
    clouds = frames(70)
    expected = {count: coverage_of(clouds).select(count) for count in (5, 32, 48)}
    coverage = coverage_of(clouds)
    coverage.select(before)
    assert {count: coverage.select(count) for count in expected} == expected


def test_a_stored_selection_is_used_for_its_candidates_alone():
    clouds, stored = frames(70), Selection(tuple(range(0, 64, 2)), (10,) * 32, 320)
    coverage = Coverage(lambda i: clouds[i], 70, stored=stored)
    assert coverage.select(48) == coverage_of(clouds).select(48)
    assert coverage.select(33) == coverage_of(clouds).select(33)  # the same candidates, but it is too short
    assert coverage.select(5) == Selection(stored.order[:5], stored.gains[:5], 320)


@pytest.mark.parametrize("count, expected", [(5, 5), (63, 32), (62, 62), (64, 32), (300, 150), (0, 0)])
def test_every_second_frame_is_a_candidate_if_that_leaves_32(count, expected):
    assert len(candidates(count)) == expected


@pytest.mark.parametrize(
    "clouds, message",
    [
        ([np.zeros((0, 3), np.float32)] * 3, "no frame has a measured depth"),
        ([*frames(3), np.full((5, 3), 500, np.float32)], "voxels span .* not one room"),
    ],
)
def test_a_scan_without_usable_depth_is_an_error_that_names_the_scene(clouds, message):
    coverage = Coverage(lambda i: clouds[i], len(clouds), scene_id="scene0000_00")
    with pytest.raises(DataError, match=f"^scene0000_00: {message}.*sampler `uniform`"):
        coverage.select(2)


def test_ratios_stop_when_enough_is_covered():
    clouds = frames(30)
    full = coverage_of(clouds).select(30)
    for ratio, sampler in ((0.9, mc_ratio90), (0.95, mc_ratio95)):
        chosen = sampler(None, 30, coverage_of(clouds))
        assert chosen == sorted(chosen)
        total = sum(full.gains[: len(chosen)])
        assert total >= ratio * full.visible > total - full.gains[len(chosen) - 1]
    assert mc(None, 30, coverage_of(clouds)) == list(range(30))


def test_max_frames_bounds_every_sampler():
    for sampler in (mc, mc_ratio90, mc_ratio95):
        assert len(sampler(None, 3, coverage_of(frames(30)))) == 3


def test_frames_are_read_once_where_their_own_voxels_are_the_surface():
    clouds, reads = frames(6), []
    coverage = Coverage(lambda i: reads.append(i) or clouds[i], len(clouds))
    mc(None, 3, coverage)
    assert sorted(reads) == list(range(6))
    for index, points in enumerate(clouds):
        assert coverage.seen(index).tolist() == coverage.table.seen_by(points).tolist()
