"""Cameras and poses of files: those of a scan pass, those that put points kilometres away are refused in one place."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.geometry.camera_checks import (
    check_boxes,
    check_depth_unit,
    check_intrinsics,
    check_points,
    pose_fault,
    world_pose_fault,
)


def camera(fx=577.0, fy=577.0, cx=319.5, cy=239.5):
    matrix = np.eye(4)
    matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2] = fx, fy, cx, cy
    return matrix


def moved(x):
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


@pytest.mark.parametrize("matrix", [camera(), camera(14, 14, 15, 11), camera(4000, 4000, 4096, 2160), camera(cx=-1)])
def test_cameras_pass(matrix):
    assert check_intrinsics(matrix, "x") is matrix


@pytest.mark.parametrize(
    "matrix",
    [
        camera(0),
        camera(fy=-1),
        camera(np.nan),
        camera(cx=np.inf),
        camera(1e-3),
        camera(1e9),
        camera(cx=1e5),
        camera(cy=-1e300),
        camera(1e308, 1e308, 1e308, 1e308),
    ],
)
def test_what_is_no_camera_is_refused(matrix):
    with pytest.raises(DataError, match="x: "):
        check_intrinsics(matrix, "x")


def test_poses_within_reach():
    assert world_pose_fault(moved(5e5)) is None and pose_fault(moved(5e6)) is None
    assert "1e+07 m from the world's origin" in world_pose_fault(moved(1e7))
    for value in (np.nan, np.inf):
        assert world_pose_fault(moved(value)) and pose_fault(moved(value))


@pytest.mark.parametrize("unit", [0, -1, np.nan, np.inf, 1e-9, 1.0, 1e30])
def test_a_depth_unit_that_no_camera_has(unit):
    assert check_depth_unit(0.001, "x") == 0.001 and check_depth_unit(1 / 5000, "x") == 1 / 5000
    with pytest.raises(DataError, match="x: a step of depth"):
        check_depth_unit(unit, "x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e7])
def test_points_and_boxes_of_no_scan(value):
    points = np.zeros((4, 3), np.float32)
    assert check_points(points, "x", "y") is points and check_points(points[:0], "x", "y").shape == (0, 3)
    points[2, 1] = value
    with pytest.raises(DataError, match="x: y has coordinates"):
        check_points(points, "x", "y")
    boxes = np.array([[0, 0, 0, 1, 1, 1.0]])
    assert check_boxes(boxes, "x", "y") is boxes
    with pytest.raises(DataError, match="x: y has coordinates"):
        check_boxes(np.where(boxes == 1, value, boxes), "x", "y")
    with pytest.raises(DataError, match="below zero"):
        check_boxes(-boxes, "x", "y")
