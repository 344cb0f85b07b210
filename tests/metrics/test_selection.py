from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.selection import best_object, objects_by_mass, objects_by_share


def test_the_best_object_is_taken_even_if_nothing_is_there_scores_highest():
    assert best_object([0.1, 0.3, 0.9], 2, True) == 1
    assert best_object([0.1, 0.3, 0.9], 3, False) == 2


def test_no_proposal_gives_no_object():
    assert best_object([0.5], 0, True) is None
    assert objects_by_mass([0.5], 0, True) == []


def test_mass_by_hand():
    # Shares of the softmax at temperature 0.07, the zero-target slot included.
    scores = np.log([0.5, 0.3, 0.15, 0.05]) * 0.07
    assert objects_by_mass(scores, 3, True, mass=0.4) == [0]
    assert objects_by_mass(scores, 3, True, mass=0.6) == [0, 1]
    assert objects_by_mass(scores, 3, True, mass=0.9) == [0, 1, 2]
    assert objects_by_mass(scores, 3, True, mass=0.99) == [0, 1, 2]  # more than the objects hold


def test_share_of_the_best_by_hand():
    scores = np.log([0.4, 0.24, 0.1, 0.26]) * 0.07
    assert objects_by_share(scores, 3) == [0, 1]
    assert objects_by_share(scores, 3, share=0.2) == [0, 1, 2]
    assert objects_by_share(scores, 3, share=0.7) == [0]
    assert objects_by_share(scores, 4, False) == [0, 3, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_all_that_fit_equally_are_chosen_by_share_and_not_by_mass(count):
    scores = [0.9] * count + [-0.5, 0.1]  # and one that does not fit, and "nothing is there"
    assert objects_by_share(scores, count + 1) == list(range(count))
    assert len(objects_by_mass(scores, count + 1, mass=0.25)) == -(-count // 4)


def test_share_of_the_best_of_nothing():
    assert objects_by_share([0.5], 0) == []
    assert objects_by_share([0.2, 0.1, 0.9], 2) == []
    with pytest.raises(DataError):
        objects_by_share([0.1, float("nan"), 0.0], 2)


def test_the_zero_target_slot_wins_alone():
    assert objects_by_mass([0.2, 0.1, 0.9], 2, True) == []
    assert objects_by_mass([0.2, 0.1, 0.9], 3, False) == [2]


def test_ties_go_to_the_earlier_proposal():
    assert best_object([0.3, 0.3, 0.1], 2, True) == 0
    assert objects_by_mass([0.3, 0.3, -1.0], 2, True, mass=0.9) == [0, 1]
    many = [0.1, 0.3] * 50  # enough that an unstable sort would mix them
    assert objects_by_mass([*many, -9.0], 100, True, mass=0.15) == [2 * i + 1 for i in range(8)]


def test_huge_scores_do_not_overflow():
    with np.errstate(over="raise"):
        assert objects_by_mass([1e4, -1e4, 0.0], 2, True) == [0]


@pytest.mark.parametrize(
    "scores, proposals",
    [
        ([0.1, 0.2], 3),
        ([0.1, float("nan"), 0.0], 2),
        ([float("inf"), 0.1, 0.0], 2),
        ([-1e39, -1e39, -1e39], 2),
        ([10**400, 0.1, 0.0], 2),
        (["a", 0.1, 0.0], 2),
        ([], 1),
    ],
)
def test_scores_that_do_not_fit_the_proposals_are_an_error(scores, proposals):
    with pytest.raises(DataError):
        objects_by_mass(scores, proposals, True)
