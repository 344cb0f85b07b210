"""Boxes of objects from their surface."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.data.proposals.detector.object_boxes import box_of_cells


@pytest.fixture
def surface():
    return np.random.RandomState(0).uniform([1, 2, 0], [2, 2.6, 0.8], (3000, 3))


def test_a_box_holds_the_surface(surface):
    assert box_of_cells(surface) == pytest.approx([1.5, 2.3, 0.4, 1, 0.6, 0.8], abs=0.03)


def test_stray_points_do_not_widen_it(surface):
    stray = np.random.RandomState(1).uniform([4, 4, 1], [4.2, 4.2, 1.2], (150, 3))
    scattered = np.random.RandomState(2).uniform([-5, -5, 0], [5, 5, 2.5], (60, 3))
    assert np.allclose(box_of_cells(np.concatenate([surface, stray, scattered])), box_of_cells(surface), atol=0.03)


def test_a_part_beyond_a_gap_belongs_to_it(surface):
    far = surface + [1.5, 0, 0]
    assert box_of_cells(np.concatenate([surface, far]))[3] == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize("count", [0, 1, 11])
def test_too_few_points_have_no_box(count):
    assert box_of_cells(np.zeros((count, 3))) is None


def test_a_flat_thing_has_a_flat_box(surface):
    surface[:, 1] = 2
    assert box_of_cells(surface)[4] == pytest.approx(0, abs=1e-6)
