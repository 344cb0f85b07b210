"""The cloud: where points lie, how many there are, which way they face, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from video3d_plugin.view.cloud import MAX_POINTS, POINT_BYTES, CloudBuilder, stride_for, voxel_for
from video3d_plugin.view.page import page
from video3d_plugin.view.scene_view import IMAGE_BYTES, fitting_points, frames_to_show, gather, up_axis, upright

K = np.array([[100.0, 0, 31.5, 0], [0, 100.0, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def wall(depth=2.0, shape=(48, 64)):
    return np.full(shape, depth, np.float32), np.full((*shape, 3), (200, 100, 50), np.uint8)


def test_a_wall_before_the_camera_is_a_plane_that_faces_it():
    builder = CloudBuilder(voxel_m=0.02)
    builder.add(*wall(), K, np.eye(4))
    cloud = builder.cloud()
    assert np.allclose(cloud.points[:, 2], 2.0, atol=1e-6)
    assert np.allclose(cloud.points.min(0)[:2], [(0 - 31.5) * 2 / 100, (0 - 23.5) * 2 / 100], atol=0.02)
    assert (cloud.colors == (200, 100, 50)).all()
    assert np.allclose(cloud.facing, (0, 0, -1), atol=1e-3)  # back towards the camera


def test_points_follow_the_pose():
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along +x, z up
    pose[:3, 3] = (5, 6, 7)
    builder = CloudBuilder()
    builder.add(*wall(), K, pose)
    cloud = builder.cloud()
    assert np.allclose(cloud.points[:, 0], 7.0, atol=1e-6) and np.allclose(cloud.facing, (-1, 0, 0), atol=1e-3)


def test_the_same_frame_twice_adds_no_point_and_the_limit_holds():
    once, twice = CloudBuilder(), CloudBuilder()
    once.add(*wall(), K, np.eye(4))
    for _ in range(2):
        twice.add(*wall(), K, np.eye(4))
    assert len(once.cloud()) == len(twice.cloud())
    small = once.cloud(max_points=200)
    assert 50 < len(small) <= 200 and small.voxel_m > once.cloud().voxel_m
    again = once.cloud(max_points=200)
    assert np.array_equal(small.points, again.points)


def test_depth_zero_and_pixels_between_two_surfaces_are_left_out():
    depth, color = wall()
    depth[:, 32:] = 4.0
    depth[10:20, 5:15] = 0
    builder = CloudBuilder(voxel_m=1e-4)
    builder.add(depth, color, K, np.eye(4))
    left = 48 * 64 - 100 - 2 * 48  # the hole, and the two columns beside the jump
    rim = 2 * (10 + 10)  # measured pixels beside the hole: zero is as far off as any other depth
    assert len(builder.cloud()) == left - rim


def test_nothing_measured_gives_an_empty_cloud():
    builder = CloudBuilder()
    assert len(builder.cloud()) == 0
    builder.add(*wall(depth=0.0), K, np.eye(4))
    assert len(builder.cloud()) == 0


def test_coarse_scans_have_coarser_cells_and_long_ones_a_larger_step():
    assert stride_for(1) == 1 and stride_for(300 * 480 * 640) == 4
    assert voxel_for(np.full((2, 2), 3.0), 100.0, 1) == pytest.approx(0.03)
    assert voxel_for(np.zeros((2, 2)), 100.0, 1) == 0.015


def test_the_upright_axis_is_what_the_cameras_agree_on():
    level = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])
    pose = np.eye(4)
    pose[:3, :3] = level
    assert upright([pose]) == (0, 0, 1)
    pose[:3, :3] = np.diag([1.0, -1, -1])  # y up, as in a scan without an alignment
    assert upright([pose]) == (0, 1, 0)
    other = pose.copy()
    other[:3, :3] = np.diag([-1.0, 1, -1])
    assert upright([pose, other]) == upright([]) == (0, 0, 1)


def test_a_scan_that_was_turned_is_shown_with_z_up(scene):
    turned = np.eye(4)
    turned[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]
    assert up_axis(replace(scene, world_from_scan=turned)) == (0, 0, 1)
    poses = [scene.world_from_scan @ frame.scan_from_camera for frame in scene.frames]
    as_recorded = [replace(f, scan_from_camera=p) for f, p in zip(scene.frames, poses, strict=True)]
    lying = replace(scene, frames=tuple(as_recorded), world_from_scan=np.eye(4))
    assert up_axis(lying) == upright(poses)


def test_chosen_frames_are_shown_whatever_the_limit(scene):
    assert frames_to_show(5, [1], 10) == [0, 1, 2, 3, 4]
    shown = frames_to_show(1000, [7, 11], 20)
    assert {7, 11} <= set(shown) and len(shown) <= 20 and {0, 999} <= set(shown)
    view = gather(scene, [1, 6, 1], "mc", max_frames=4)
    names = [view.frames[i].name for i in view.chosen]
    assert names == [scene.frames[1].name, scene.frames[6].name]
    assert view.unshown == len(scene.frames) - len(view.frames) > 0


def test_page_of_many_large_images_has_fewer_points_and_stays_below_12_mb(view):
    frame = view.frames[0]
    large = [replace(frame, image=bytes(IMAGE_BYTES // 250))] * 250
    assert fitting_points(view.frames) == MAX_POINTS > fitting_points(large) > 300_000
    points = IMAGE_BYTES + POINT_BYTES * fitting_points(large)
    rest = len(page(replace(view, frames=())).encode()) - 16 * len(view.cloud) + 250 * 400
    assert points * 4 / 3 + rest < 12_000_000
