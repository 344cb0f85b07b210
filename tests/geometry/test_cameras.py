"""Back-projection and the crop plan, against hand calculation and OpenCV's own resizing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from video3d_plugin.geometry.cameras import back_project, centre_crop_plan, nearest_source_index


def camera(fx=2.0, fy=4.0, cx=1.0, cy=1.0):
    matrix = torch.eye(4)
    matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2] = fx, fy, cx, cy
    return matrix


def test_a_pixel_by_hand():
    depth = torch.zeros(1, 3, 3)
    depth[0, 2, 0] = 2.0  # v = 2, u = 0: x = (0 - 1) * 2 / 2 = -1, y = (2 - 1) * 2 / 4 = 0.5, z = 2
    pose = torch.tensor([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])  # a quarter turn about z
    points = back_project(depth, camera()[None], pose[None])
    assert points.shape == (1, 3, 3, 3)
    assert points[0, 2, 0].tolist() == [9.5, 19.0, 32.0]


def test_depth_zero_lands_on_the_camera_centre():
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    assert (back_project(torch.zeros(1, 4, 5), camera()[None], pose[None]) == torch.tensor([1.0, 2.0, 3.0])).all()


def test_the_middle_of_the_image_looks_along_z():
    point = back_project(torch.full((1, 3, 3), 7.0), camera()[None], torch.eye(4)[None])[0, 1, 1]
    assert point.tolist() == [0.0, 0.0, 7.0]


def test_chosen_rows_and_columns_give_the_same_points_as_the_whole_image():
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 30, 40, generator=generator) * 5
    pose = torch.linalg.qr(torch.rand(2, 4, 4, generator=generator)).Q
    pose[:, 3] = torch.tensor([0.0, 0, 0, 1])
    k = torch.stack([camera(33, 35, 20, 15), camera(30, 31, 19, 14)])
    rows, columns = torch.tensor([0, 7, 7, 29]), torch.tensor([39, 1, 20])
    whole = back_project(depth, k, pose)
    part = back_project(depth[:, rows][:, :, columns], k, pose, rows, columns)
    torch.testing.assert_close(part, whole[:, rows][:, :, columns], rtol=0, atol=1e-6)


def test_no_frames_give_no_points():
    empty = torch.zeros(0, 4, 4)
    assert back_project(torch.zeros(0, 3, 5), empty, empty).shape == (0, 3, 5, 3)


def test_a_wrong_shape_is_named():
    with pytest.raises(AssertionError, match="intrinsics must be"):
        back_project(torch.zeros(2, 3, 3), camera()[None], torch.eye(4).repeat(2, 1, 1))


@pytest.mark.parametrize(
    "source, target", [(480, 384), (640, 512), (968, 384), (540, 576), (7, 384), (384, 384), (1, 5)]
)
def test_nearest_rows_are_those_of_opencv(source, target):
    ramp = np.arange(source, dtype=np.float32)[None]
    expected = cv2.resize(ramp, (target, 1), interpolation=cv2.INTER_NEAREST)[0]
    assert (nearest_source_index(source, target) == expected).all()


def test_the_plan_of_a_scannet_frame():
    plan = centre_crop_plan(480, 640, 384)
    assert (plan.resized_height, plan.resized_width, plan.top, plan.left) == (384, 512, 0, 64)
    assert len(plan.rows) == len(plan.columns) == 384
    assert plan.columns[0] == 80 and plan.rows[-1] == 478  # 64 * 640 / 512; floor(383 * 1.25)


def test_an_odd_margin_is_halved_rounding_down():
    assert centre_crop_plan(100, 103, 100).left == 1


@pytest.mark.parametrize("height, width", [(640, 480), (1, 1), (3, 900), (384, 383), (997, 997)])
def test_every_image_yields_a_whole_crop(height, width):
    plan = centre_crop_plan(height, width, 384)
    assert plan.rows.shape == plan.columns.shape == (384,)
    assert 0 <= plan.rows.min() and plan.rows.max() < height
    assert 0 <= plan.columns.min() and plan.columns.max() < width


def test_an_empty_image_is_refused():
    with pytest.raises(ValueError, match="at least one pixel"):
        centre_crop_plan(0, 640, 384)
