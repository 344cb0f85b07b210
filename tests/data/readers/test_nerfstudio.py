"""transforms.json in the forms that its writers give it; what cannot be honoured is an error."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from made_up_captures import COUNT, nerfstudio, pose
from made_up_scan import FOCAL, INTRINSICS, WIDTH, depth_mm

from video3d_plugin.data.frames import read_depth_m
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError

ANGLE = 2 * np.arctan(WIDTH / 2 / FOCAL)


@pytest.fixture
def folder(tmp_path):
    nerfstudio(tmp_path / "x")
    return tmp_path / "x"


def edit(folder, change, each=None):
    """Apply `change` to transforms.json, and `each` to its frames."""
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    for frame in content["frames"] if each else ():
        each(frame)
    path.write_text(json.dumps(content))


def drop(*names):
    return lambda values: [values.pop(name, None) for name in names]


def check(folder, atol=1e-6):
    """The recording is the one that `nerfstudio` writes."""
    scene = load_scene(folder)
    assert len(scene.frames) == COUNT and not scene.omissions
    for index, frame in enumerate(scene.frames):
        np.testing.assert_allclose(read_depth_m(frame), depth_mm(index) / 1000, atol=6e-4)
        np.testing.assert_allclose(frame.scan_from_camera, pose(index), atol=2e-6)
        np.testing.assert_allclose(frame.depth_intrinsics, INTRINSICS, atol=atol)
    return scene


def set_all(**values):
    return lambda content: content.update(values)


def by_angle(content):
    drop("fl_x", "fl_y", "cx", "cy")(content)
    content["camera_angle_x"] = ANGLE


def by_degrees(content):
    drop("fl_x", "fl_y", "cx", "cy")(content)
    content["x_fov"] = np.degrees(ANGLE)


def without_size(content):
    by_angle(content)
    drop("w", "h")(content)


def per_frame(content):
    names = ("fl_x", "fl_y", "cx", "cy", "w", "h")
    for frame in content["frames"]:
        frame.update({name: content[name] for name in names})
    drop(*names)(content)


def scaled(content):
    content["applied_scale"] = 0.25
    for frame in content["frames"]:
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, 3] *= 0.25
        frame["transform_matrix"] = matrix.tolist()


@pytest.mark.parametrize(
    "change",
    [
        set_all(camera_model="OPENCV", k1=0, k2=0.0, p1=0, p2=0, aabb_scale=16, applied_transform=[[1, 0, 0, 0]]),
        set_all(camera_model="pinhole"),
        by_angle,
        by_degrees,
        without_size,
        per_frame,
        drop("fl_y"),
        drop("cx", "cy"),
        scaled,
        set_all(depth_unit_scale_factor=0.001),
        set_all(integer_depth_scale=0.001, enable_depth_loading=True),
    ],
)
def test_the_camera_and_units_of_each_writer_are_honoured(folder, change):
    edit(folder, change)
    check(folder)


def rename(old, new, change=lambda value: value):
    return lambda frame: frame.update({new: change(frame.pop(old))})


@pytest.mark.parametrize(
    "each",
    [
        rename("depth_file_path", "depth_path"),
        rename("transform_matrix", "transform_matrix", lambda matrix: matrix[:3]),
        rename("transform_matrix", "transform_matrix", lambda matrix: sum(matrix, [])),
        rename("file_path", "file_path", lambda name: "./" + name[:-4]),
        rename("file_path", "file_path", lambda name: name.replace("/", "\\")),
        rename("file_path", "file_path", lambda name: f"/home/somebody/scans/x/{name}"),
        rename("depth_file_path", "depth_file_path", lambda name: f"C:\\scans\\x\\{name}".replace("/", "\\")),
        rename("depth_file_path", "depth_file_path", lambda name: name[:-4]),
    ],
)
def test_keys_and_path_habits_of_other_tools_are_understood(folder, each):
    edit(folder, lambda content: None, each)
    check(folder)


@pytest.mark.parametrize(
    "factor, unit, kind", [(0.001, 1.0, "f4"), (1, 0.001, "f8"), (1, 0.001, "u2"), (1, None, "i4")]
)
def test_depth_in_numpy_files_is_read_in_the_units_that_are_given(folder, factor, unit, kind):
    for index in range(COUNT):
        np.save(folder / f"depths/frame_{index}.npy", (depth_mm(index) * factor).astype(kind))
    edit(folder, lambda c: c.update(depth_unit_scale_factor=unit), lambda f: rename_suffix(f, ".npy"))
    check(folder)


def rename_suffix(frame, suffix):
    frame["depth_file_path"] = frame["depth_file_path"].replace(".png", suffix)


def test_a_pickle_in_a_numpy_file_is_not_loaded(folder):
    np.save(folder / "depths" / "frame_2.npy", np.array([{}], object), allow_pickle=True)
    edit(folder, lambda c: None, lambda f: rename_suffix(f, ".npy") if "frame_2" in f["file_path"] else None)
    assert ["an array of 'object'" in o.reason for o in load_scene(folder).omissions] == [True]


def test_blenders_parts_are_one_recording(folder):
    content = json.loads((folder / "transforms.json").read_text())
    frames = content.pop("frames")
    for name, part in (("train", frames[:2]), ("val", frames[2:3]), ("test", frames[3:])):
        (folder / f"transforms_{name}.json").write_text(json.dumps({**content, "frames": part}))
    (folder / "transforms.json").unlink()
    check(folder)


def test_a_recording_one_folder_below_is_found(folder):
    (folder / "nerf").mkdir()
    for path in list(folder.iterdir()):
        if path.name != "nerf":
            shutil.move(path, folder / "nerf" / path.name)
    assert check(folder).scene_id == "nerf"


def test_weak_distortion_is_said(folder):
    edit(folder, set_all(k1=0.01))
    notes = check(folder).notes
    assert [note for note in notes if "distortion" in note] == [
        "lens distortion is not corrected: up to 0.5 pixels of 128 at the corners"
    ]


@pytest.mark.parametrize(
    "change, message",
    [
        (set_all(camera_model="OPENCV_FISHEYE"), "'OPENCV_FISHEYE' is not a pinhole"),
        (set_all(camera_model=None), "is not a pinhole"),
        (set_all(is_fisheye=True), "'is_fisheye' is not a pinhole"),
        (set_all(k1=0.5), "lens distortion moves the corners"),
        (set_all(p1=1e300, p2=-1e300), "lens distortion moves the corners"),
        (set_all(k4=0.1), "lens distortion k4 cannot be honoured"),
        (set_all(depth_scale=0.1), "'depth_scale' is not a known name of the depth unit"),
        (set_all(k1="a"), "not a number"),
        (set_all(applied_scale=0), "is not a positive number"),
        (set_all(camera_angle_x=4, fl_x=None, fl_y=None), "no field of view"),
        (drop("fl_x", "fl_y"), "the focal length is not known"),
        (set_all(depth_unit_scale_factor=5), "a step of depth is 5 m"),
    ],
)
def test_what_cannot_be_honoured_is_an_error(folder, change, message):
    edit(folder, change)
    with pytest.raises(DataError, match=message):
        load_scene(folder)


def test_poses_that_scale_are_refused_with_their_scale(folder):
    def shrink(frame):
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([0.33, 0.33, 0.33, 1])).tolist()

    edit(folder, lambda content: None, shrink)
    with pytest.raises(DataError, match=r"scales by 0\.33"):
        load_scene(folder)


def test_a_recording_without_depth_says_what_it_lacks(folder):
    edit(folder, lambda content: None, drop("depth_file_path"))
    with pytest.raises(DataError, match="lists no depth images .*depth_file_path"):
        load_scene(folder)


def test_images_of_no_size_and_no_image_are_an_error(folder):
    edit(folder, drop("w", "h"))
    shutil.rmtree(folder / "images")
    with pytest.raises(DataError, match="no w and h"):
        load_scene(folder)
