"""ScanNet's SensReader export, relatives of 7-Scenes, posed frames of other writers, and where a .sens may lie."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from made_up_captures import COUNT, color_png, pose, sensreader_export, write
from made_up_scan import INTRINSICS, ScanRoot, color, depth_mm, jpeg, matrix_text, png, sens_bytes, shift
from made_up_scan import pose as straight

from video3d_plugin.data.frames import open_color, read_depth
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.captures import detect, find_captures
from video3d_plugin.errors import DataError, MissingError

INFO = """m_depthWidth = 64
m_depthHeight = 48
m_depthShift = 1000
m_calibrationDepthIntrinsic = 50 0 31.5 0 0 50 23.5 0 0 0 1 0 0 0 0 1
"""


def check(scene, count=COUNT, pose=pose):
    assert len(scene.frames) == count and not scene.omissions
    for index, frame in enumerate(scene.frames):
        assert (read_depth(frame) == depth_mm(index)).all()
        np.testing.assert_allclose(frame.scan_from_camera, pose(index), atol=2e-6)
        np.testing.assert_allclose(frame.depth_intrinsics, INTRINSICS)
        open_color(frame)
    return scene


def test_frames_of_an_export_are_in_the_order_of_their_numbers(tmp_path):
    sensreader_export(tmp_path / "x")
    assert [frame.name for frame in check(load_scene(tmp_path / "x")).frames] == ["0", "9", "18", "27", "36"]


@pytest.mark.parametrize("color_name, pose_name", [("rgb", "pose"), ("images", "poses"), ("color", "poses")])
@pytest.mark.parametrize("camera", ["intrinsics_depth.txt", "intrinsic.txt", "intrinsic/intrinsic_depth.txt"])
def test_converted_data_sets_name_the_folders_and_the_camera_otherwise(tmp_path, color_name, pose_name, camera):
    sensreader_export(tmp_path)
    shutil.rmtree(tmp_path / "intrinsic")
    (tmp_path / "color").rename(tmp_path / color_name)
    (tmp_path / "pose").rename(tmp_path / pose_name)
    write(tmp_path / camera, matrix_text(INTRINSICS))
    check(load_scene(tmp_path))


def test_frames_of_an_export_that_lack_a_part_are_left_out_and_counted(tmp_path):
    sensreader_export(tmp_path)
    (tmp_path / "color" / "0.jpg").unlink()
    (tmp_path / "depth" / "9.png").unlink()
    (tmp_path / "pose" / "18.txt").unlink()
    (tmp_path / "pose" / "27.txt").write_text("-inf " * 16)
    scene = load_scene(tmp_path)
    assert [frame.name for frame in scene.frames] == ["36"]
    assert [o.reason for o in scene.omissions] == [
        "no colour image",
        "no depth image",
        "no pose",
        "pose is not finite (tracking was lost)",
    ]


@pytest.mark.parametrize("place", ["scans", "posed_images"])
def test_an_export_in_scannets_layout_has_the_scans_alignment(tmp_path, place):
    root = ScanRoot(tmp_path).write_mesh()
    sensreader_export(tmp_path / place / root.scene_id)
    scene = check(load_scene(tmp_path))
    np.testing.assert_array_equal(scene.world_from_scan, shift(10, 0, 0))
    assert scene.scene_id == root.scene_id and len(scene.instances) == 2
    assert load_scene(tmp_path / place / root.scene_id).instances == scene.instances


def relative_of_seven_scenes(folder, suffix=".color.jpg", depth_suffix=".depth.png", first="frame-"):
    for index in range(COUNT):
        stem = f"{first}{index:06d}"
        write(folder / f"{stem}{suffix}", jpeg(color(index)) if "jp" in suffix.lower() else color_png(index))
        height, width = depth_mm(index).shape
        pgm = b"P5\n%d %d\n65535\n" % (width, height) + depth_mm(index).astype(">u2").tobytes()
        write(folder / f"{stem}{depth_suffix}", pgm if depth_suffix.endswith("pgm") else png(depth_mm(index)))
        write(folder / f"{stem}.pose.txt", matrix_text(pose(index)))


@pytest.mark.parametrize("suffix", [".color.jpg", ".color.jpeg", ".color.JPG", ".color.png"])
@pytest.mark.parametrize(
    "name, text",
    [("camera-intrinsics.txt", matrix_text(INTRINSICS[:3, :3])), ("_info.txt", INFO), ("info.txt", INFO)],
)
def test_tsdf_fusion_3rscan_and_bundlefusion_are_read(tmp_path, suffix, name, text):
    relative_of_seven_scenes(tmp_path, suffix, ".depth.pgm" if name == "_info.txt" else ".depth.png")
    (tmp_path / name).write_text(text)
    assert not any("Kinect" in note for note in check(load_scene(tmp_path)).notes)


def test_12_scenes_has_its_camera_beside_the_folder_of_frames(tmp_path):
    relative_of_seven_scenes(tmp_path / "kitchen" / "data")
    (tmp_path / "kitchen" / "info.txt").write_text(INFO)
    check(load_scene(tmp_path / "kitchen" / "data"))
    check(load_scene(tmp_path / "kitchen"))


def test_jpegs_without_a_camera_do_not_get_the_one_of_7_scenes(tmp_path):
    relative_of_seven_scenes(tmp_path)
    with pytest.raises(MissingError, match="no depth_intrinsic.txt"):
        load_scene(tmp_path)
    check(load_scene(tmp_path, intrinsics=(50, 50, 31.5, 23.5)))


def posed(folder, color_suffix=".jpg", depth_suffix=".png", text=matrix_text, encoding="utf-8"):
    for index in range(4):
        write(folder / f"{index}{color_suffix}", jpeg(color(index)) if "j" in color_suffix else color_png(index))
        write(folder / f"{index}{depth_suffix}", png(depth_mm(index)))
        write(folder / f"{index}.txt", text(straight(index)).encode(encoding))
    write(folder / "depth_intrinsic.txt", matrix_text(INTRINSICS))


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG", ".color.png", "_color.png", ".Color.PNG", "_color.jpg"])
def test_colour_of_posed_frames_may_have_any_of_these_suffixes(tmp_path, suffix):
    posed(tmp_path, suffix)
    check(load_scene(tmp_path), 4, straight)


def test_depth_of_posed_frames_may_be_in_capitals_or_numpy_files(tmp_path):
    posed(tmp_path / "a", ".JPG", ".PNG")
    check(load_scene(tmp_path / "a"), 4, straight)
    for index in range(4):
        (tmp_path / "a" / f"{index}.PNG").unlink()
        np.save(tmp_path / "a" / f"{index}.npy", depth_mm(index))
    check(load_scene(tmp_path / "a"), 4, straight)


def test_a_frame_may_be_called_color_itself(tmp_path):
    posed(tmp_path)
    for suffix in (".jpg", ".png", ".txt"):
        (tmp_path / f"2{suffix}").rename(tmp_path / f"x_color{suffix}")
    assert [frame.name for frame in load_scene(tmp_path).frames] == ["0", "1", "3", "x_color"]


@pytest.mark.parametrize(
    "text",
    [
        lambda m: "# camera to world\n" + matrix_text(m),
        lambda m: " ".join(f"{v:.6f}" for v in m[:3].ravel()),
        lambda m: str(m),
        lambda m: str(m.tolist()),
        lambda m: matrix_text(m).replace("\n", "\r\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_poses_are_read_as_programs_print_them(tmp_path, text, encoding):
    posed(tmp_path, text=text, encoding=encoding)
    check(load_scene(tmp_path), 4, straight)


def test_seven_numbers_are_no_pose(tmp_path):
    posed(tmp_path, text=lambda m: "0 0 0 0 0 0 1")
    with pytest.raises(DataError, match="not a 4x4 matrix: 7 numbers"):
        load_scene(tmp_path)


@pytest.mark.parametrize("name", ["客厅 扫描", "Гостиная", "غرفة", "बैठक", "ห้องนั่งเล่น", "séjour"])
def test_names_in_any_script_are_kept(tmp_path, name):
    for place in (tmp_path / name, tmp_path / "many" / name):
        posed(place)
    assert load_scene(tmp_path / name).scene_id == name
    assert set(find_captures(tmp_path / "many")) == {name.replace(" ", "_")}


def test_names_of_frames_in_any_script_are_kept(tmp_path):
    relative_of_seven_scenes(tmp_path, first="厨房-")
    assert load_scene(tmp_path, intrinsics=(50, 50, 31.5, 23.5)).frames[1].name == "厨房-000001"


@pytest.mark.parametrize("name", ["scene0000_00.sens", "SCENE0000_00.SENS", "我的.Sens"])
def test_a_sens_may_lie_anywhere_in_any_case(tmp_path, name):
    write(tmp_path / "one" / name, sens_bytes(6))
    with zipfile.ZipFile(tmp_path / "zipped.ZIP", "w") as archive:
        archive.write(tmp_path / "one" / name, name)
    stem = name[:-5]
    for path in (tmp_path / "one" / name, tmp_path / "one", tmp_path / "zipped.ZIP"):
        assert check(load_scene(path), 6, straight).scene_id == stem
    assert find_captures(tmp_path) == {f"one_{stem}": tmp_path / "one" / name}


def test_a_sens_in_a_folder_of_its_name_has_the_parts_beside_it(tmp_path):
    root = ScanRoot(tmp_path).write_sens().write_mesh()
    root.scan.rename(tmp_path / root.scene_id)
    (tmp_path / "scans").rmdir()
    scene = load_scene(tmp_path)
    assert scene.scene_id == root.scene_id and len(scene.instances) == 2 and scene.world_from_scan[0, 3] == 10
    assert load_scene(tmp_path / root.scene_id).instances == scene.instances


def test_a_sens_of_another_case_is_found_in_scannets_layout(tmp_path):
    root = ScanRoot(tmp_path).write_sens()
    next(root.scan.iterdir()).rename(root.scan / "SCENE0000_00.SENS")
    check(load_scene(tmp_path), 6, straight)


def test_several_sens_files_are_several_scans(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.sens", sens_bytes(2))
    with pytest.raises(DataError, match="holds 2 scenes: a, b"):
        load_scene(tmp_path)
    assert load_scene(tmp_path, "b").scene_id == "b"


def test_posed_frames_count_before_a_sens_beside_them(tmp_path):
    posed(tmp_path)
    write(tmp_path / "a.sens", sens_bytes(2))
    assert detect(tmp_path) is None and len(load_scene(tmp_path).frames) == 4
