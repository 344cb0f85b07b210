"""Depth of another camera in a scene: what the user says of the cameras, and the same points afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_scan import FOCAL, HEIGHT, WIDTH

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.prepare import PrepareOptions, prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.model.prefix.cache import scene_key

CAMERA = (FOCAL * 1.2, FOCAL * 1.2, WIDTH / 2, HEIGHT / 2)


def moved(x=0.02, y=-0.01, turn=0.01):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:2, 3] = x, y
    return matrix


def nearest(points, others):
    return np.array([np.linalg.norm(others - point, axis=1).min() for point in points[::37]])


def described(scan, color_from_depth, color_intrinsics=CAMERA):
    return load_scene(scan, color_intrinsics=color_intrinsics, color_from_depth=color_from_depth, align="none")


def test_points_stay_where_they_are(my_scan):
    scene, registered = load_scene(my_scan, align="none"), described(my_scan, moved())
    assert any("brought into the colour camera" in note for note in registered.notes)
    for index in (0, 2):
        before, after = frame_points(scene, index), frame_points(registered, index)
        assert len(after) > 0.4 * len(before)
        assert np.median(nearest(after, before)) < 0.03


def test_a_description_counts_before_that_of_the_recording(my_scan, tmp_path):
    scan = Path(shutil.copytree(my_scan, tmp_path / "scan"))
    calibration = np.linalg.inv(moved(0.3))[:3]
    camera = f"{WIDTH} {HEIGHT}\n{FOCAL} {FOCAL}\n{WIDTH / 2} {HEIGHT / 2}\n"
    rows = "\n".join(" ".join(map(str, row)) for row in calibration)
    for path in scan.glob("*intrinsic*"):
        path.unlink()
    (scan / "calib.txt").write_text(f"{camera}\n{camera}\n{rows}\n\naffine 0.001 0\n")
    recorded = load_scene(scan, align="none").frames[0].depth_camera
    np.testing.assert_allclose(recorded.color_from_depth, moved(0.3), atol=1e-12)
    once = described(scan, moved())
    np.testing.assert_allclose(once.frames[0].depth_camera.color_from_depth, moved(), atol=1e-12)


def test_the_transform_may_be_a_file(my_scan, tmp_path):
    path = tmp_path / "moved.txt"
    np.savetxt(path, moved())
    ours, theirs = described(my_scan, path), described(my_scan, moved())
    np.testing.assert_allclose(ours.frames[0].scan_from_camera, theirs.frames[0].scan_from_camera)


def test_prepare_takes_the_colour_camera(my_scan, tmp_path):
    camera = CameraOptions.checked(color_intrinsics=CAMERA, color_from_depth=moved())
    prepare(my_scan.parent, tmp_path / "data", PrepareOptions(scene=SceneOptions(camera=camera)))
    scene, loaded = load_scene(tmp_path / "data", my_scan.name), described(my_scan, moved())
    depth_camera = scene.frames[0].depth_camera
    np.testing.assert_allclose(depth_camera.color_from_depth, loaded.frames[0].depth_camera.color_from_depth)
    assert prepare(my_scan.parent, tmp_path / "data", PrepareOptions()).table() and (
        load_scene(tmp_path / "data", my_scan.name).frames[0].depth_camera is None
    )


def test_another_depth_camera_is_another_scene(my_scan):
    keys = {scene_key(s) for s in (load_scene(my_scan), *(described(my_scan, moved(x)) for x in (0.01, 0.02)))}
    assert len(keys) == 3


@pytest.mark.parametrize(
    "intrinsics, transform, message",
    [
        (None, np.eye(4), "--color-intrinsics"),
        ((0, 1, 2, 3), None, "not camera intrinsics"),
        ((1, 2), None, "not four numbers"),
        (CAMERA, np.eye(4) * 2, "not a rotation"),
        (CAMERA, np.eye(3), "not a rotation"),
        (CAMERA, "there is no such file", "no such file"),
        (CAMERA, np.full((4, 4), np.nan), "not a rotation"),
    ],
)
def test_what_is_no_camera_is_refused(my_scan, intrinsics, transform, message):
    with pytest.raises((DataError, MissingError), match=message):
        described(my_scan, transform, intrinsics)
