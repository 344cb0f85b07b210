"""Recordings of other kinds: the same camera path written in each format is the same scan again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from made_up_captures import COUNT, FORMATS, LIBRARIES, arkit, color_png, nerfstudio, pose, seven_scenes, tum, write
from made_up_scan import FOCAL, WIDTH, color, depth_mm, jpeg, matrix_text, png

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import read_depth
from video3d_plugin.data.inputs import frame_points
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.alignment import from_gravity
from video3d_plugin.data.readers.captures import detect, find_captures
from video3d_plugin.errors import DataError


@pytest.fixture(params=FORMATS)
def capture(request, tmp_path):
    if request.param in LIBRARIES:
        pytest.importorskip(LIBRARIES[request.param])
    folder = tmp_path / "captures" / "42"
    folder.mkdir(parents=True)
    FORMATS[request.param](folder)
    assert detect(folder).name == request.param
    return folder


def as_stored(frame):
    """The frame with the depth camera's pose, intrinsics and depth, before it is brought into the colour camera."""
    camera = frame.depth_camera
    if camera is None:
        return frame
    return replace(
        frame,
        scan_from_camera=frame.scan_from_camera @ camera.color_from_depth,
        depth_intrinsics=camera.intrinsics,
        depth_size=camera.size,
        depth_camera=None,
    )


def test_depth_and_poses_are_those_that_were_written(capture):
    scene = load_scene(capture, align="none")
    assert (scene.world_from_scan == np.eye(4)).all()
    assert scene.scene_id == "42" and len(scene.frames) == COUNT and not scene.omissions
    for index, frame in enumerate(scene.frames):
        frame = as_stored(frame)
        np.testing.assert_allclose(frame.scan_from_camera, pose(index), atol=2e-6)
        assert frame.quarter_turns == 0
        np.testing.assert_allclose(read_depth(frame) * frame.depth_unit_m, depth_mm(index) / 1000, atol=1e-9)
    levelled = any(note.startswith("levelled") for note in load_scene(capture).notes)
    assert levelled is detect(capture).z_up  # these frames show hardly anything horizontal


def test_the_camera_is_that_of_the_depth_image(capture):
    camera = as_stored(load_scene(capture).frames[0]).depth_intrinsics
    if detect(capture).name not in ("7-Scenes", "TUM RGB-D"):
        np.testing.assert_allclose(camera[[0, 1, 0, 1], [0, 1, 2, 2]], [FOCAL, FOCAL, 31.5, 23.5])
    else:  # nominal intrinsics of 640x480, scaled to this image
        factor = WIDTH / 640
        nominal = {"7-Scenes": (585, 320), "TUM RGB-D": (525, 319.5)}[detect(capture).name]
        assert camera[0, 0] == nominal[0] * factor
        assert camera[0, 2] == pytest.approx((nominal[1] + 0.5) * factor - 0.5)


def test_a_folder_of_captures_becomes_a_data_folder(capture, tmp_path):
    shutil.copytree(capture, capture.parent / "43 b")
    if detect(capture).name == "ARKitScenes":
        (capture.parent / "43 b" / "42_frames").rename(capture.parent / "43 b" / "43 b_frames")
    report = prepare(capture.parent, tmp_path / "data", scene=SceneOptions(proposals="auto", copy_frames=True))
    assert not report.omissions
    folder = DataFolder.open(tmp_path / "data")
    assert folder.scene_ids == ("42", "43_b")
    for got, expected in zip(folder.scene("42").frames, load_scene(capture).frames, strict=True):
        assert (read_depth(got) == read_depth(expected)).all() and got.depth_void == expected.depth_void
    assert (
        prepare(capture.parent, tmp_path / "data", scene=SceneOptions(proposals="auto", copy_frames=True))
        .scenes[0]
        .reused
    )


def test_sequences_below_a_scene_are_scans_of_their_own(tmp_path):
    for name in ("seq-01", "seq-02"):
        seven_scenes(tmp_path / "chess" / name)
    assert set(find_captures(tmp_path)) == {"chess_seq-01", "chess_seq-02"}


def test_gravity_turns_up_to_z(tmp_path):
    seven_scenes(tmp_path / "x")
    (tmp_path / "x" / "gravity.txt").write_text("0 9.81 0")
    scene = load_scene(tmp_path / "x")
    np.testing.assert_allclose(scene.world_from_scan[:3, :3] @ [0, 1, 0], [0, 0, -1], atol=1e-12)
    assert not any("no axis alignment" in note for note in scene.notes)
    (tmp_path / "x" / "world_from_scan.txt").write_text(matrix_text(pose(3)))
    np.testing.assert_allclose(load_scene(tmp_path / "x").world_from_scan, pose(3), atol=1e-6)


@pytest.mark.parametrize("down", [[0, 0, -1], [0, 0, 1], [1, 0, 0], [0.3, -2, 0.5], [0, 1e-3, -5]])
def test_any_gravity_gives_a_rotation_that_turns_it_down(down):
    matrix = from_gravity(down)[:3, :3]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(matrix @ down, [0, 0, -np.linalg.norm(down)], atol=1e-9)


@pytest.mark.parametrize("down", [[0, 0, 0], [np.nan, 0, 1]])
def test_a_gravity_without_direction_is_refused(down):
    with pytest.raises(DataError, match="no direction"):
        from_gravity(down)


def test_frames_without_depth_or_pose_are_left_out_and_counted(tmp_path):
    nerfstudio(tmp_path / "x")
    path = tmp_path / "x" / "transforms.json"
    content = json.loads(path.read_text())
    del content["frames"][0]["depth_file_path"]
    content["frames"][1]["transform_matrix"] = [[1, 2]]
    content["frames"][2]["file_path"] = "../../etc/passwd"
    path.write_text(json.dumps(content))
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == 2
    reasons = {o.reason for o in scene.omissions}
    assert reasons == {"no depth image", "transform_matrix is not 4x4 or 3x4", "no colour image"}


def test_a_file_outside_the_recording_is_not_opened(tmp_path):
    nerfstudio(tmp_path / "x")
    shutil.move(tmp_path / "x" / "images" / "frame_0.jpg", tmp_path / "outside.jpg")
    path = tmp_path / "x" / "transforms.json"
    path.write_text(path.read_text().replace("images/frame_0.jpg", "images/../../outside.jpg"))
    scene = load_scene(tmp_path / "x")
    assert "its colour image lies outside the recording" in {o.reason for o in scene.omissions}


def test_tum_may_name_its_files_by_whole_paths_inside_the_recording_only(tmp_path):
    tum(tmp_path / "x")
    write(tmp_path / "outside.png", color_png(0))
    path = tmp_path / "x" / "rgb.txt"
    text = path.read_text().replace(" rgb/", f" {tmp_path}/x/rgb/")
    path.write_text(text.replace(f"{tmp_path}/x/rgb/4.png", f"{tmp_path}/outside.png"))
    scene = load_scene(tmp_path / "x")
    assert [frame.color.path.name for frame in scene.frames] == [f"{i}.png" for i in range(4)]
    assert [o.reason for o in scene.omissions] == ["its colour image lies outside the recording"]


def arkit_at(folder, times):
    """An ARKitScenes recording with frames at these times, and its three folders."""
    arkit(folder)
    base = folder / f"{folder.name}_frames"
    kinds = {"lowres_wide": ".png", "lowres_depth": ".png", "lowres_wide_intrinsics": ".pincam"}
    for kind, suffix in kinds.items():
        for path, time in zip(sorted((base / kind).iterdir()), times, strict=True):
            path.rename(path.with_name(f"{folder.name}_{time}{suffix}"))
    row = (base / "lowres_wide.traj").read_text().split(maxsplit=1)[1].splitlines()[0]
    (base / "lowres_wide.traj").write_text("\n".join(f"{time} {row}" for time in times))
    return tuple(base / kind for kind in kinds)


ARKIT_TIMES = ["9.950", "10.050", "10.150", "99.990", "100.090"]


def test_arkit_frames_are_in_the_order_of_their_times(tmp_path):
    arkit_at(tmp_path / "4", sorted(ARKIT_TIMES))
    assert [frame.name for frame in load_scene(tmp_path / "4").frames] == [f"4_{time}" for time in ARKIT_TIMES]


def test_arkit_intrinsics_may_be_named_a_millisecond_beside_the_image(tmp_path):
    """As Apple's own loader looks for them (apple/ARKitScenes, threedod, tenFpsDataLoader.py)."""
    _, _, cameras = arkit_at(tmp_path / "4", ARKIT_TIMES)
    (cameras / "4_10.050.pincam").rename(cameras / "4_10.051.pincam")
    (cameras / "4_99.990.pincam").rename(cameras / "4_99.989.pincam")
    (cameras / "4_100.090.pincam").rename(cameras / "4_100.092.pincam")
    scene = load_scene(tmp_path / "4")
    assert len(scene.frames) == 4
    assert [(o.what, o.reason) for o in scene.omissions] == [("frame 4_100.090", "no intrinsics")]


def test_an_arkit_file_that_is_broken_costs_its_own_frame(tmp_path):
    images, _, cameras = arkit_at(tmp_path / "4", ARKIT_TIMES)
    (cameras / "4_10.050.pincam").write_text("")
    write(images / "preview.png", color_png(0))
    scene = load_scene(tmp_path / "4")
    assert len(scene.frames) == 4
    assert [(o.what, o.reason) for o in scene.omissions] == [
        ("frame 4_10.050", "intrinsics: not 6 finite numbers"),
        ("frame preview", "its name contains no time"),
    ]


def change(folder, **values):
    path = folder / "transforms.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_nerfstudio_frames_are_in_the_order_of_the_numbers_in_their_names(tmp_path):
    nerfstudio(tmp_path / "x")
    names = [f"images/frame_{index}.jpg" for index in (2, 10, 1, 0, 11)]
    frames = json.loads((tmp_path / "x" / "transforms.json").read_text())["frames"]
    for frame, name in zip(frames, names, strict=True):
        write(tmp_path / "x" / name, jpeg(color(0)))
        frame["file_path"] = name
    change(tmp_path / "x", frames=frames)
    assert [frame.name for frame in load_scene(tmp_path / "x").frames] == [f"frame_{i}" for i in (0, 1, 2, 10, 11)]


@pytest.mark.parametrize("name, value", [("h", 0.5), ("w", 0.999), ("fl_x", 10**400), ("cx", 0), ("cy", "12")])
def test_a_camera_value_that_is_none_is_named(tmp_path, name, value):
    nerfstudio(tmp_path / "x")
    change(tmp_path / "x", **{name: value})
    with pytest.raises(DataError, match=r"transforms\.json: (image size|camera value)"):
        load_scene(tmp_path / "x")


def test_poses_that_are_far_in_time_are_not_used(tmp_path):
    tum(tmp_path / "x")
    path = tmp_path / "x" / "groundtruth.txt"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:2] + rows[4:]))
    scene = load_scene(tmp_path / "x")
    assert [o.reason for o in scene.omissions] == ["no pose at that time"] * 2 and len(scene.frames) == 3


def test_a_long_recording_is_thinned_evenly_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("video3d_plugin.data.readers.captures.MAX_FRAMES", 2)
    tum(tmp_path / "x")
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == 2 and "one frame in 3 is used, of 5" in scene.notes
    assert len(load_scene(tmp_path / "x", frame_step=1).frames) == 5


def test_cameras_that_number_their_frames_alike_are_told_apart(tmp_path):
    nerfstudio(tmp_path / "x")
    path = tmp_path / "x" / "transforms.json"
    content = json.loads(path.read_text())
    shutil.copytree(tmp_path / "x" / "images", tmp_path / "x" / "left")
    content["frames"] += [{**f, "file_path": f["file_path"].replace("images", "left")} for f in content["frames"]]
    path.write_text(json.dumps(content))
    assert load_scene(tmp_path / "x").frames[0].name == "images_frame_0"


@pytest.mark.parametrize(
    "content, message",
    [("[", "not valid JSON"), ("{}", "no list of frames"), ('{"frames": [{}]}', "lists no depth images")],
)
def test_a_broken_transforms_file_is_named(tmp_path, content, message):
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_scene(tmp_path)


@pytest.fixture
def posed(my_scan, tmp_path):
    """A folder of recordings, one of them a folder of posed frames."""
    return shutil.copytree(my_scan, tmp_path / "captures" / "my scan")


def test_folders_of_posed_frames_are_prepared_as_recordings(posed, tmp_path):
    report = prepare(posed.parent, tmp_path / "data")
    assert not report.omissions
    scene = DataFolder.open(tmp_path / "data").scene("my_scan")
    assert [frame.name for frame in scene.frames] == [frame.name for frame in load_scene(posed).frames]


def test_a_folder_of_posed_frames_may_say_which_way_is_up(posed):
    before = load_scene(posed)
    (posed / "gravity.txt").write_text("0 1 0")
    scene = load_scene(posed)
    assert np.allclose(scene.world_from_scan[:3, :3] @ (0, 1, 0), (0, 0, -1))
    assert len(scene.frames) == len(before.frames) and scene.omissions == before.omissions
    assert not any("alignment" in note for note in scene.notes)
    (posed / "world_from_scan.txt").write_text(" ".join(map(str, np.diag([-1.0, -1, 1, 1]).ravel())))
    assert np.array_equal(load_scene(posed.parent).world_from_scan, np.diag([-1.0, -1, 1, 1]))


def test_a_folder_without_a_camera_is_no_recording(posed):
    for name in ("depth_intrinsic.txt", "intrinsic_depth.txt", "intrinsic.txt"):
        (posed / name).unlink(missing_ok=True)
    assert find_captures(posed.parent) == {}


def test_depth_of_7_scenes_is_brought_into_the_colour_camera(tmp_path):
    """A wall at 2 m fills 525/585 of the colour image and lies 25.5 mm beside."""
    for index in range(2):
        write(tmp_path / "x" / f"frame-{index:06d}.color.png", color_png(index))
        write(tmp_path / "x" / f"frame-{index:06d}.depth.png", png(np.full((480, 640), 2000, np.uint16)))
        write(tmp_path / "x" / f"frame-{index:06d}.pose.txt", matrix_text(pose(index)))
    scene = load_scene(tmp_path / "x", align="none")
    frame = scene.frames[1]
    assert any("brought into the colour camera" in note for note in scene.notes)
    assert frame.depth_size == (480, 640) and frame.depth_intrinsics[0, 0] == 525
    depth = read_depth(frame)
    assert np.abs(depth[depth > 0].astype(int) - 2000).max() < 15
    assert (depth > 0).mean() == pytest.approx((525 / 585) ** 2, abs=0.01)
    columns = np.flatnonzero(depth[240])
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(320 - 525 * 0.0255 / 2, abs=2.5)
    points = frame_points(scene, 1, stride=40)
    from_camera = (points - pose(1)[:3, 3]) @ pose(1)[:3, :3]  # where the depth camera saw them
    assert np.abs(from_camera[:, 2] - 2).max() < 0.005


def test_a_camera_that_is_given_takes_the_place_of_both_assumed_ones(tmp_path):
    seven_scenes(tmp_path / "x")
    (tmp_path / "x" / "depth_intrinsic.txt").write_text(matrix_text(np.diag([FOCAL, FOCAL, 1, 1])))
    frame = load_scene(tmp_path / "x").frames[1]
    assert frame.depth_camera is None and frame.depth_intrinsics[0, 0] == FOCAL
    np.testing.assert_allclose(frame.scan_from_camera, pose(1), atol=1e-6)
    np.testing.assert_array_equal(read_depth(frame), depth_mm(1))
