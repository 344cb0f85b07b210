"""Depth of another camera in a scene: what the user says of the cameras, and the same points afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_scan import FOCAL, HEIGHT, WIDTH

from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.registration import with_color_camera
from video3d_plugin.errors import DataError
from video3d_plugin.model.prefix.cache import scene_key

CAMERA = (FOCAL * 1.2, FOCAL * 1.2, WIDTH / 2, HEIGHT / 2)


def moved(x=0.02, y=-0.01, turn=0.01):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:2, 3] = x, y
    return matrix


def nearest(points, others):
    return np.array([np.linalg.norm(others - point, axis=1).min() for point in points[::37]])


def test_points_stay_where_they_are(my_scan):
    scene = load_scene(my_scan)
    registered = with_color_camera(scene, CAMERA, moved())
    assert any("brought into the colour camera" in note for note in registered.notes)
    for index in (0, 2):
        before, after = frame_points(scene, index), frame_points(registered, index)
        assert len(after) > 0.4 * len(before)
        assert np.median(nearest(after, before)) < 0.03


def test_a_second_description_replaces_the_first(my_scan):
    scene = load_scene(my_scan)
    once, twice = with_color_camera(scene, CAMERA, moved()), with_color_camera(scene, CAMERA, moved(0.3))
    twice = with_color_camera(twice, CAMERA, moved())
    np.testing.assert_allclose(frame_points(twice, 1), frame_points(once, 1), atol=1e-5)
    only_transform = with_color_camera(with_color_camera(scene, CAMERA, moved(0.3)), None, moved())
    np.testing.assert_allclose(frame_points(only_transform, 1), frame_points(once, 1), atol=1e-5)


def test_another_depth_camera_is_another_scene(my_scan):
    scene = load_scene(my_scan)
    keys = {scene_key(s) for s in (scene, *(with_color_camera(scene, CAMERA, moved(x)) for x in (0.01, 0.02)))}
    assert len(keys) == 3


@pytest.mark.parametrize(
    "intrinsics, transform, message",
    [
        (None, np.eye(4), "--color-intrinsics"),
        ((0, 1, 2, 3), None, "not camera intrinsics"),
        (CAMERA, np.eye(4) * 2, "not a rotation"),
        (CAMERA, np.eye(3), "not a rotation"),
        (CAMERA, np.full((4, 4), np.nan), "not a rotation"),
    ],
)
def test_what_is_no_camera_is_refused(my_scan, intrinsics, transform, message):
    with pytest.raises(DataError, match=message):
        with_color_camera(load_scene(my_scan), intrinsics, transform)
