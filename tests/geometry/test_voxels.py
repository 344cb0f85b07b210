"""Voxels, against Python sets of rounded tuples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video3d_plugin.geometry.cameras import back_project
from video3d_plugin.geometry.voxels import VoxelTable, unique_voxels, voxel_indices


def cloud(count=5000, seed=0):
    return (np.random.RandomState(seed).standard_normal((count, 3)) * 2).astype(np.float32)


def test_a_voxel_is_the_nearest_multiple_ties_to_even():
    points = np.array([[0.05, 0.15, -0.25], [0.04, -0.06, 1.0]], np.float32)
    assert voxel_indices(points, 0.1).tolist() == [[0, 2, -2], [0, -1, 10]]


def test_unique_voxels_are_the_set_in_order():
    expected = sorted({tuple(cell) for cell in voxel_indices(cloud(), 0.1).tolist()})
    assert [tuple(cell) for cell in unique_voxels(cloud(), 0.1).tolist()] == expected


def test_points_that_are_far_apart_have_the_same_voxels_as_alone():
    near, far = cloud(500), cloud(500, 1) + np.float32(5000)  # too many voxels in between to mark each
    both = unique_voxels(np.concatenate([near, far]), 0.1)
    assert both.tolist() == [*unique_voxels(near, 0.1).tolist(), *unique_voxels(far, 0.1).tolist()]


def test_ranks_are_the_places_in_the_set():
    table = VoxelTable.build(unique_voxels(cloud(3000, 1), 0.1), 0.1)
    assert table.ranks(table.cells[[3, 5, 900]]).tolist() == [3, 5, 900]


def test_no_points_have_no_voxels():
    assert unique_voxels(np.zeros((0, 3), np.float32), 0.1).shape == (0, 3)


def test_seen_voxels_are_the_intersection_of_sets():
    table = VoxelTable.build(unique_voxels(cloud(3000, 1), 0.1), 0.1)
    points = np.concatenate([cloud(4000, 2), [[1e6, 0, 0], [-1e6, 2e6, -3e6]]]).astype(np.float32)
    seen = {tuple(cell) for cell in table.cells[table.seen_by(points)].tolist()}
    expected = {tuple(c) for c in table.cells.tolist()} & {tuple(c) for c in voxel_indices(points, 0.1).tolist()}
    assert seen == expected and expected


def test_seeing_nothing_is_no_voxel():
    table = VoxelTable.build(np.array([[0, 0, 0]]), 0.1)
    assert len(table.seen_by(np.zeros((0, 3), np.float32))) == 0
    assert table.seen_by(np.zeros((7, 3), np.float32)).tolist() == [0]


def test_looking_through_a_depth_image_sees_what_its_points_lie_in():
    rng = np.random.RandomState(0)
    depth = (rng.rand(150, 200) * 3 + 0.5).astype(np.float32)
    depth[rng.rand(150, 200) < 0.2] = 0
    k = np.array([[180.0, 0, 99.5, 0], [0, 175, 74.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.linalg.qr(rng.rand(3, 3))[0], [1, 2, 3]
    points = back_project(*(torch.from_numpy(a[None]) for a in (depth, k, pose)))[0].numpy()[depth > 0]
    table = VoxelTable.build(unique_voxels(points, 0.1)[::3], 0.1)
    seen, expected = set(table.seen_through(depth, k, pose)), set(table.seen_by(points))
    assert len(expected) > 500 and len(seen ^ expected) <= 2  # a point at a rounding edge
    depth[:] = 0
    assert len(table.seen_through(depth, k, pose)) == 0


def test_an_absurd_extent_is_refused_before_it_is_allocated():
    with pytest.raises(ValueError, match="not one room"):
        VoxelTable.build(np.array([[0, 0, 0], [10**6, 10**6, 10**6]]), 0.1)


def test_a_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        VoxelTable.build(np.zeros((0, 3)), 0.1)
