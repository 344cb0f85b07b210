"""What is not read is diagnosed: what was found, the nearest format and what it lacks, the list of formats."""

from __future__ import annotations

import pytest
from made_up_captures import FORMATS, polycam, seven_scenes, write

from video3d_plugin.data.readers import captures, load_scene
from video3d_plugin.data.readers.diagnose import LAYOUTS, unreadable
from video3d_plugin.errors import DataError, MissingError


def test_every_format_has_a_layout():
    assert {capture.name for capture in captures.FORMATS} <= set(LAYOUTS)


@pytest.mark.parametrize("kind", ["Polycam", "Open3D/Redwood", "Replica (NICE-SLAM)", "7-Scenes", "TUM RGB-D"])
def test_the_layout_of_a_format_is_what_its_recordings_have(tmp_path, kind):
    FORMATS[kind](tmp_path / "x")
    for patterns in LAYOUTS[kind]:
        assert any(next((tmp_path / "x").glob(pattern), None) for pattern in patterns.split("|")), patterns


def test_the_nearest_format_and_what_it_lacks_are_named(tmp_path):
    polycam(tmp_path / "x")
    for path in (tmp_path / "x" / "keyframes" / "depth").iterdir():
        path.unlink()
    (tmp_path / "x" / "keyframes" / "depth").rmdir()
    message = str(unreadable(tmp_path / "x"))
    assert "keyframes/corrected_images/ 5 .jpg" in message and "mesh_info.json" in message
    assert "nearest format: Polycam, but there is no keyframes/depth/*.png" in message
    assert all(name in message for name in LAYOUTS)


def test_poses_that_are_missing_are_named(tmp_path):
    seven_scenes(tmp_path / "x")
    for path in (tmp_path / "x").glob("*.color.png"):
        path.unlink()
    with pytest.raises((DataError, MissingError), match=r"nearest format: 7-Scenes, but there is no frame-\*\.color"):
        load_scene(tmp_path / "x")


@pytest.mark.parametrize(
    "files, message",
    [
        (["iphone/pose_intrinsic_imu.json", "iphone/rgb.mkv"], "looks like a ScanNet.. iPhone recording"),
        (["map.db"], "RTAB-Map database .*rtabmap-export"),
        (["sparse/0/images.bin", "images/1.jpg"], "COLMAP model .*no depth"),
        (["scan.ply", "texture.mtl", "scan.obj"], "a mesh without images"),
        (["notes.md"], "it holds notes.md .formats: posed frames, ScanNet"),
        ([], "holds no files"),
        (["depth/1.png", "color/1.png"], r"colour and depth without poses .*--poses estimate.*trajectory\.log"),
        (["a.r3d", "b.r3d"], "a folder of Record3D files .give one"),
        (["results/depth1.png", "traj.txt"], "nearest format: Replica .NICE-SLAM., but there is no results/frame"),
    ],
)
def test_known_recordings_that_are_not_read_are_named(tmp_path, files, message):
    (tmp_path / "x").mkdir()
    for name in files:
        write(tmp_path / "x" / name, "x")
    with pytest.raises((DataError, MissingError), match=message):
        load_scene(tmp_path / "x")


def test_many_files_are_one_short_line(tmp_path):
    for index in range(300):
        write(tmp_path / "x" / f"folder {index}" / ("n" * 200 + str(index)), "x")
    message = str(unreadable(tmp_path / "x"))
    assert len(message) < 1600 and "\n" not in message


def test_a_broken_folder_of_posed_frames_keeps_its_own_reason(tmp_path):
    write(tmp_path / "x" / "0.jpg", "x")
    write(tmp_path / "x" / "0.txt", "x")
    with pytest.raises((DataError, MissingError), match=r"depth_intrinsic\.txt"):
        load_scene(tmp_path / "x")
