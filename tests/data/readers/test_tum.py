"""The TUM layout as SLAM systems write it: other cameras, other tables, associations alone."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_captures import COUNT, pose, tum
from made_up_scan import FOCAL, INTRINSICS, depth_mm

from video3d_plugin.data.frames import read_depth_m
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError


@pytest.fixture
def folder(tmp_path):
    tum(tmp_path / "x")
    return tmp_path / "x"


def rows(folder, name):
    return [line.split() for line in (folder / name).read_text().splitlines() if line[0] != "#"]


def check(scene):
    assert len(scene.frames) == COUNT and not scene.omissions
    for index, frame in enumerate(scene.frames):
        np.testing.assert_allclose(frame.scan_from_camera, pose(index), atol=2e-6)
        np.testing.assert_allclose(read_depth_m(frame), depth_mm(index) / 1000, atol=2e-4)


@pytest.mark.parametrize("name", ["associations.txt", "associate.txt"])
@pytest.mark.parametrize("depth_first", [False, True])
def test_associations_alone_name_the_images(folder, name, depth_first):
    pairs = zip(rows(folder, "rgb.txt"), rows(folder, "depth.txt"), strict=True)
    lines = [" ".join([*depth, *color] if depth_first else [*color, *depth]) for color, depth in pairs]
    (folder / name).write_text("\n".join(lines))
    (folder / "rgb.txt").unlink()
    (folder / "depth.txt").unlink()
    check(load_scene(folder))


def test_numbered_frames_are_paired_with_numbered_poses_as_in_icl_nuim(folder):
    numbers = [f"{index} depth/{index}.png {index} rgb/{index}.png" for index in range(COUNT)]
    poses = [" ".join([str(index), *row[1:]]) for index, row in enumerate(rows(folder, "groundtruth.txt"))]
    (folder / "associations.txt").write_text("\n".join(numbers))
    (folder / "groundtruth.txt").write_text("\n".join(poses))
    (folder / "rgb.txt").unlink()
    check(load_scene(folder))


def test_other_clocks_are_an_error_that_shows_both(folder):
    (folder / "rgb.txt").unlink()
    (folder / "associations.txt").write_text("0 rgb/0.png 0 depth/0.png\n1 rgb/1.png 1 depth/1.png\n")
    with pytest.raises(DataError, match=r"poses of 1305031452\S* to \S+ s, but images of 0 to 1 s"):
        load_scene(folder)


@pytest.mark.parametrize("table", [lambda t: t.replace(".", ","), lambda t: "  # x\n\ufeff" + t, lambda t: t + " 7"])
def test_tables_of_other_writers_are_read(folder, table):
    path = folder / "groundtruth.txt"
    path.write_text("\n".join(table(line) if line[0] != "#" else f"  {line}" for line in path.read_text().splitlines()))
    if "\ufeff" in path.read_text():
        path.write_text(path.read_text().replace("\ufeff", ""), encoding="utf-8-sig")
    check(load_scene(folder))


def test_a_table_of_commas_is_read(folder):
    path = folder / "groundtruth.txt"
    path.write_text("\n".join(",".join(row) for row in rows(folder, "groundtruth.txt")))
    check(load_scene(folder))


def test_the_trajectory_of_a_slam_system_is_said_to_be_an_estimate(folder):
    (folder / "groundtruth.txt").rename(folder / "CameraTrajectory.txt")
    scene = load_scene(folder)
    check(scene)
    assert "the poses are those of CameraTrajectory.txt, an estimate" in scene.notes


def assumed(scene):
    return [note for note in scene.notes if "525" in note]


def test_the_default_camera_is_said(folder):
    assert len(assumed(load_scene(folder))) == 1


@pytest.mark.parametrize("name", ["calib.txt", "depth_intrinsic.txt", "camera-intrinsics.txt", "intrinsic.txt"])
def test_an_own_calibration_counts_before_the_default(folder, name):
    (folder / name).write_text(f"{FOCAL} {FOCAL} 31.5 23.5")
    scene = load_scene(folder)
    np.testing.assert_allclose(scene.frames[0].depth_intrinsics, INTRINSICS)
    assert not assumed(scene)


def test_options_count_before_everything(folder):
    (folder / "calib.txt").write_text("9 9 31.5 23.5")
    scene = load_scene(folder, intrinsics=(FOCAL, FOCAL, 31.5, 23.5), depth_unit_m=0.001)
    np.testing.assert_allclose(scene.frames[0].depth_intrinsics, INTRINSICS)
    assert scene.frames[0].depth_unit_m == 0.001 and not assumed(scene)


def test_a_published_camera_is_known_by_the_folders_name(folder):
    scene = load_scene(folder.rename(folder.with_name("rgbd_dataset_freiburg1_desk")))
    assert scene.frames[0].depth_intrinsics[0, 0] == pytest.approx(517.3 / 10) and not assumed(scene)


def test_images_of_other_proportions_do_not_get_the_default_camera(folder):
    from made_up_scan import png

    for path in (folder / "depth").iterdir():
        path.write_bytes(png(depth_mm(0)[:36]))
    with pytest.raises(DataError, match="depth of 64x36 has other proportions than the camera's 640x480"):
        load_scene(folder)
    (folder / "calib.txt").write_text(f"{FOCAL} {FOCAL} 31.5 17.5")
    assert load_scene(folder).frames[0].depth_intrinsics[0, 0] == FOCAL
