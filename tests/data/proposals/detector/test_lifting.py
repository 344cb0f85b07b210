"""Masks and image boxes of single frames as cells of the surface that all frames share."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.data.proposals.detector.lifting import (
    View,
    cell_size,
    connected_pieces,
    fuse_surface,
    lift_box,
    lift_mask,
    visible_cells,
)

SIZE = (60, 80)
CAMERA = np.array([[80, 0, 39.5, 0], [0, 80, 29.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
CELL_M = 0.05


def facing(depth_m, shift=(0, 0, 0)):
    """A camera in the world's own frame, looking along z."""
    pose = np.eye(4)
    pose[:3, 3] = shift
    return View(np.asarray(depth_m, np.float32), CAMERA, pose)


@pytest.fixture
def thing():
    """(view, mask): a square, 1 m away, before a wall 2 m away."""
    depth, mask = np.full(SIZE, 2.0), np.zeros(SIZE, bool)
    mask[20:40, 30:50] = True
    depth[mask] = 1.0
    return facing(depth), mask


def test_the_surface_lies_where_the_depth_says(thing):
    points = fuse_surface([thing[0]], CELL_M)
    near = points[points[:, 2] < 1.5]
    assert near[:, 2] == pytest.approx(1.0) and points[points[:, 2] > 1.5][:, 2] == pytest.approx(2.0)
    assert near[:, 0].min() == pytest.approx(-9 / 80, abs=0.03) and near[:, 0].max() == pytest.approx(10 / 80, abs=0.03)


def test_the_surface_is_the_same_in_any_order_of_the_views():
    rng = np.random.RandomState(0)
    views = [facing(rng.uniform(1, 1.01, SIZE), rng.uniform(-0.3, 0.3, 3)) for _ in range(5)]
    assert np.array_equal(fuse_surface(views, CELL_M), fuse_surface(views[::-1], CELL_M))


def test_depth_that_is_missing_far_or_at_a_step_makes_no_surface(thing):
    assert fuse_surface([facing(np.zeros(SIZE)), facing(np.full(SIZE, 60.0))], CELL_M).shape == (0, 3)
    assert fuse_surface([], CELL_M).shape == (0, 3)
    depth = thing[0].depth_m.copy()
    depth[20:40, 29] = 1.5  # flying pixels between the thing and the wall
    points = fuse_surface([facing(depth)], CELL_M)
    assert not ((points[:, 2] > 1.1) & (points[:, 2] < 1.9)).any()


def test_cells_have_about_two_pixels_and_two_to_five_centimetres():
    assert cell_size([facing(np.full(SIZE, 2.0))]) == pytest.approx(1.7 * 2 / 80)
    assert cell_size([facing(np.full(SIZE, 5.9))]) == 0.05 and cell_size([facing(np.zeros(SIZE))]) == 0.02


def test_a_mask_holds_the_things_cells_and_none_of_the_wall(thing):
    view, mask = thing
    points = fuse_surface([view], CELL_M)
    cells = lift_mask(mask, visible_cells(points, view), SIZE)
    assert set(cells) == set(np.flatnonzero(points[:, 2] < 1.5))


def test_a_mask_of_another_size_than_the_depth_covers_the_same_view(thing):
    view, mask = thing
    points = fuse_surface([view], CELL_M)
    visibility = visible_cells(points, view)
    large = mask.repeat(3, 0).repeat(3, 1)
    assert np.array_equal(lift_mask(large, visibility, SIZE), lift_mask(mask, visibility, SIZE))


def test_a_hidden_cell_is_not_visible(thing):
    view, mask = thing
    wall_alone = facing(np.full(SIZE, 2.0))
    points = fuse_surface([wall_alone], CELL_M)
    behind = lift_mask(mask, visible_cells(points, wall_alone), SIZE)
    assert len(behind) and not set(behind) & set(visible_cells(points, view).cells)


def test_an_image_box_holds_the_foreground_without_a_mask(thing):
    view, _ = thing
    points = fuse_surface([view], CELL_M)
    visibility, wall = visible_cells(points, view), points[:, 2] > 1.5
    loose = np.array([24 / 80, 14 / 60, 56 / 80, 46 / 60])
    cells = lift_box(loose, visibility, SIZE, points, CELL_M, wall)
    assert set(cells) == set(np.flatnonzero(~wall))
    beside = lift_box(np.array([0, 0, 0.2, 0.2]), visibility, SIZE, points, CELL_M, wall)
    assert len(beside) and wall[beside].all()  # nothing but wall: a picture, a door


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.5, 0.5], [0.9, 0.9, 0.1, 0.1], [1, 1, 1, 1]])
def test_an_empty_image_box_holds_nothing(box, thing):
    points = fuse_surface([thing[0]], CELL_M)
    visibility = visible_cells(points, thing[0])
    assert len(lift_box(np.array(box, float), visibility, SIZE, points, CELL_M, np.zeros(len(points), bool))) == 0


def test_pieces_are_joined_over_short_gaps_only():
    points = np.array([[0, 0, 0], [0.05, 0, 0], [0.1, 0, 0], [1, 0, 0]])
    pieces = connected_pieces(points, 0.06)
    assert len(set(pieces[:3])) == 1 and pieces[3] != pieces[0]
