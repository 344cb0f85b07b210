"""Files of intrinsics in all their forms, and the options that stand for them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from made_up_captures import sensreader_export, seven_scenes
from made_up_scan import FOCAL, INTRINSICS, matrix_text, sens_bytes
from PIL import Image

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.frames import read_depth
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.camera_files import find_camera
from video3d_plugin.errors import DataError, MissingError


@pytest.fixture
def scan(my_scan, tmp_path):
    return shutil.copytree(my_scan, tmp_path / "my_scan")


FOUR = f"{FOCAL} {FOCAL} 31.5 23.5"
TEXTS = {
    "4x4": matrix_text(INTRINSICS),
    "3x3": matrix_text(INTRINSICS[:3, :3]),
    "3x4": matrix_text(INTRINSICS[:3]),
    "4x4 with a zero at the end": matrix_text(INTRINSICS * np.diag([1, 1, 1, 0]).sum(1)[:, None]),
    "scaled 3x3": matrix_text(INTRINSICS[:3, :3] * 2),
    "exponents": "\n".join(" ".join(f"{v:.18e}" for v in row) for row in INTRINSICS[:3, :3]),
    "Python": str(INTRINSICS[:3, :3].tolist()),
    "NumPy": str(INTRINSICS[:3, :3]),
    "comment": "# fx 0 cx\n" + matrix_text(INTRINSICS[:3, :3]),
    "four": FOUR,
    "four with distortion": FOUR + " 0 0 0 0 0",
}
INFO = """m_versionNumber = 4
m_sensorName = StructureSensor
m_colorWidth = 128
m_colorHeight = 96
m_depthWidth = 64
m_depthHeight = 48
m_depthShift = 2000
m_calibrationColorIntrinsic = 100 0 63.5 0 0 100 47.5 0 0 0 1 0 0 0 0 1
m_calibrationDepthIntrinsic = 50 0 31.5 0 0 50 23.5 0 0 0 1 0 0 0 0 1
m_frames.size = 5
"""


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["depth_intrinsic.txt", "intrinsic.txt", "camera-intrinsics.txt", "calib.txt"])
def test_every_form_gives_the_same_camera(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    np.testing.assert_allclose(find_camera(tmp_path).matrix, INTRINSICS)


def test_a_folder_without_a_camera_has_none(tmp_path):
    (tmp_path / "info.txt").write_text("a note = 3\n")
    assert find_camera(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "1 2 3", "a b c d", "0 0 0 0", "nan nan nan nan", "1e9 1e9 1 1", "P0: 7e2 0 6e2 0 0 7e2 1.8e2 0 0 0 1 0"],
)
def test_what_is_no_camera_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / "calib.txt").write_text(text)
    with pytest.raises(DataError, match=r"calib\.txt: not "):
        find_camera(tmp_path)


def test_the_info_file_gives_camera_size_and_unit(tmp_path):
    (tmp_path / "_info.txt").write_text(INFO)
    camera = find_camera(tmp_path)
    np.testing.assert_allclose(camera.matrix, INTRINSICS)
    assert (camera.size, camera.depth_unit_m, camera.of_depth) == ((48, 64), 0.0005, True)


@pytest.mark.parametrize("line", ["m_depthShift = a", "m_calibrationDepthIntrinsic = 1 2"])
def test_a_damaged_info_file_is_an_error(tmp_path, line):
    key = line.split(" ")[0]
    (tmp_path / "_info.txt").write_text("\n".join(line if row.startswith(key) else row for row in INFO.splitlines()))
    with pytest.raises(DataError):
        find_camera(tmp_path)


def test_a_camera_of_another_image_size_is_said(scan):
    for path in scan.glob("*intrinsic*"):
        path.unlink()
    (scan / "intrinsic.txt").write_text("900 900 640 360")
    notes = load_scene(scan).notes
    assert any("principal point (640, 360) of intrinsic.txt is far from the centre" in note for note in notes)


def test_distortion_of_a_calibration_is_said(scan):
    for path in scan.glob("*intrinsic*"):
        path.unlink()
    frame = Image.open(next(scan.glob("*.png")))
    (scan / "calib.txt").write_text(f"{frame.width} {frame.width} {frame.width / 2} {frame.height / 2} 0.05 0 0 0 0")
    assert any("lens distortion is not corrected" in note for note in load_scene(scan).notes)


@pytest.mark.parametrize("values", [(1, 2, 3), (0, 0, 0, 0), "abcd", (1, 2, 3, None), (np.nan,) * 4, 7])
def test_intrinsics_of_the_user_are_checked(scan, values):
    with pytest.raises(DataError, match="intrinsics"):
        load_scene(scan, intrinsics=values)


@pytest.mark.parametrize("unit", [0, -1, np.nan, 1e9, "x", [1]])
def test_a_depth_unit_of_the_user_is_checked(scan, unit):
    with pytest.raises(DataError, match="depth"):
        load_scene(scan, depth_unit_m=unit)


def test_options_stand_for_a_missing_file_in_every_kind_of_scan(scan, tmp_path):
    (tmp_path / "a.sens").write_bytes(sens_bytes(3))
    sensreader_export(tmp_path / "export")
    for path in (*scan.glob("*intrinsic*"), *(tmp_path / "export" / "intrinsic").iterdir()):
        path.unlink()
    for path in (scan, tmp_path / "export", tmp_path / "a.sens"):
        if path.is_dir():
            with pytest.raises(MissingError, match="--intrinsics"):
                load_scene(path)
        scene = load_scene(path, intrinsics=[40, 41, 30, 20], depth_unit_m=0.002)
        assert {frame.depth_unit_m for frame in scene.frames} == {0.002}
        for frame in scene.frames:
            np.testing.assert_array_equal(frame.depth_intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]], [40, 41, 30, 20])


def test_options_of_none_leave_the_recording_as_it_is():
    assert CameraOptions.checked(None, None) == CameraOptions()


INFINITAM = """640 480
525 526
319.5 239.5

320 240
285 286
160 120

1 0 0 0.025
0 1 0 0
0 0 1 0

affine 0.0002 0.0
"""


def test_the_calibration_of_infinitam_gives_both_cameras(tmp_path):
    (tmp_path / "calib.txt").write_text(INFINITAM)
    camera = find_camera(tmp_path)
    assert (camera.matrix[[0, 1, 0, 1], [0, 1, 2, 2]] == (285, 286, 160, 120)).all() and camera.of_depth
    assert (camera.size, camera.depth_unit_m) == ((240, 320), 0.0002)
    assert camera.color.size == (480, 640) and camera.color.matrix[0, 0] == 525
    assert camera.color.color_from_depth[0, 3] == pytest.approx(-0.025)


def test_cameras_of_infinitam_that_are_alike_are_one(tmp_path):
    text = INFINITAM.replace("285 286\n160 120", "262.5 263\n159.5 119.5").replace("0.025", "0")
    (tmp_path / "calib.txt").write_text(text)
    assert find_camera(tmp_path).color is None


@pytest.mark.parametrize(
    "change", [("640 480", "0 480"), ("1 0 0 0.025", "2 0 0 0.025"), ("0.0002 0.0", "0.0002 0.5"), ("285 286", "x 286")]
)
def test_a_damaged_calibration_of_infinitam_is_an_error(tmp_path, change):
    (tmp_path / "calib.txt").write_text(INFINITAM.replace(*change))
    with pytest.raises(DataError, match=r"calib\.txt"):
        find_camera(tmp_path)


WIDE = INFO.replace("m_colorWidth = 128", "m_colorWidth = 160").replace("100 0 63.5", "100 0 79.5")


def test_a_wider_colour_camera_of_an_info_file_takes_the_depth(tmp_path):
    """As 3RScan: colour of 960x540 beside depth of 224x172."""
    seven_scenes(tmp_path / "x")
    for path in (tmp_path / "x").glob("*.color.png"):
        path.rename(path.with_suffix(".jpg"))
    (tmp_path / "x" / "_info.txt").write_text(WIDE)
    scene = load_scene(tmp_path / "x")
    frame = scene.frames[0]
    assert any("brought into the colour camera of _info.txt" in note for note in scene.notes)
    assert frame.depth_size == (48, 80) and frame.depth_camera.size == (48, 64)
    assert frame.depth_intrinsics[0, 2] == 39.5 and frame.depth_intrinsics[0, 0] == 50
    depth = read_depth(frame)
    assert not depth[:, :7].any() and not depth[:, -7:].any() and depth[:, 8:-8].any()


def test_an_info_file_whose_extrinsics_are_not_the_identity_leaves_depth_alone(tmp_path):
    extrinsic = "m_calibrationDepthExtrinsic = 1 0 0 0.1 0 1 0 0 0 0 1 0 0 0 0 1\n"
    (tmp_path / "_info.txt").write_text(WIDE + extrinsic)
    assert find_camera(tmp_path).color is None
