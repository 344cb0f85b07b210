"""Recordings of phone apps: confidence, videos, LZFSE data, trajectories, and what is wrong with them."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from made_up_captures import COUNT, open3d, polycam, pose, record3d, replica, scanner_app, stray_scanner, video, write
from made_up_scan import HEIGHT, WIDTH, color, depth_mm, png

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import check_frame, open_color, read_depth, read_depth_m
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import extracted, load_scene
from video3d_plugin.data.readers.extracted import folder_beside
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files import extras

CONFIDENT = {
    "scanner": (scanner_app, None),
    "polycam": (polycam, None),
    "stray": (stray_scanner, "av"),
    "record3d": (record3d, "lzfse"),
}


@pytest.fixture(params=CONFIDENT)
def confident(request, tmp_path):
    write_recording, library = CONFIDENT[request.param]
    if library:
        pytest.importorskip(library)
    write_recording(tmp_path / "captures" / "x", confident=True)
    return tmp_path / "captures" / "x"


def test_pixels_of_low_confidence_count_as_not_measured(confident, tmp_path):
    expected = depth_mm(0) / 1000
    expected[:, : WIDTH // 4] = 0
    np.testing.assert_allclose(read_depth_m(load_scene(confident).frames[0]), expected, atol=1e-6)
    prepare(confident.parent, tmp_path / "data", scene=SceneOptions(proposals="auto", copy_frames=True))
    shutil.rmtree(confident)
    np.testing.assert_allclose(
        read_depth_m(DataFolder.open(tmp_path / "data").scene("x").frames[0]), expected, atol=1e-6
    )


def test_confidence_of_another_size_costs_its_own_frame(tmp_path):
    polycam(tmp_path / "x", confident=True)
    folder = tmp_path / "x" / "keyframes" / "confidence"
    shutil.copy(tmp_path / "x" / "keyframes" / "corrected_images" / "1000000.jpg", folder / "1000000.png")
    from PIL import Image

    Image.new("L", (3, 2)).save(folder / "1000001.png")
    first, second = load_scene(tmp_path / "x").frames[:2]
    assert check_frame(first).startswith("confidence has mode RGB")
    assert check_frame(second).startswith("confidence is 3x2, expected 64x48")


def test_polycam_without_corrected_images_says_so(tmp_path):
    polycam(tmp_path / "x")
    keyframes = tmp_path / "x" / "keyframes"
    for part in ("images", "cameras"):
        (keyframes / f"corrected_{part}").rename(keyframes / part)
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == COUNT and any("poses drift" in note for note in scene.notes)


@pytest.mark.parametrize("change", [{"t_03": "x"}, {"fx": None}, {"width": 0}, {"t_00": 10**400}, {"t_00": 7}])
def test_a_broken_polycam_camera_costs_its_own_frame(tmp_path, change):
    polycam(tmp_path / "x")
    path = tmp_path / "x" / "keyframes" / "corrected_cameras" / "1000002.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == COUNT - 1 and scene.omissions[0].what == "frame 1000002"


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{", "camera: not valid JSON"),
        ('{"intrinsics": [1]}', "camera: intrinsics is"),
        ('{"intrinsics": [1,0,0,0,1,0,0,0,1], "cameraPoseARFrame": "x"}', "camera: cameraPoseARFrame is"),
        ('{"intrinsics": [NaN,0,0,0,1,0,0,0,1]}', "camera: intrinsics is nan"),
    ],
)
def test_a_broken_camera_of_3d_scanner_app_costs_its_own_frame(tmp_path, content, reason):
    scanner_app(tmp_path / "x")
    (tmp_path / "x" / "frame_00001.json").write_text(content)
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == COUNT - 1 and scene.omissions[0].reason.startswith(reason)


def test_frames_of_3d_scanner_app_without_an_image_are_not_listed(tmp_path):
    scanner_app(tmp_path / "x")
    (tmp_path / "x" / "frame_00000.jpg").write_bytes(b"no image")  # the size is that of the next one
    (tmp_path / "x" / "frame_00002.jpg").unlink()
    scene = load_scene(tmp_path / "x", align="none")
    assert [frame.name for frame in scene.frames] == ["00000", "00001", "00003", "00004"] and not scene.omissions
    assert check_frame(scene.frames[0]) is not None and check_frame(scene.frames[1]) is None


def test_frames_of_a_video_are_its_own(tmp_path):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    for index, frame in enumerate(load_scene(tmp_path / "x").frames):
        got = np.asarray(open_color(frame), np.float64)
        errors = [np.abs(got - color(other)).mean() for other in range(COUNT)]
        assert int(np.argmin(errors)) == index and errors[index] < 12, errors


def test_a_video_is_decoded_once_and_again_if_it_changes(tmp_path, monkeypatch):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    path = tmp_path / "x" / "rgb.mp4"
    assert len(load_scene(tmp_path / "x", frame_step=2).frames) == 3
    images = folder_beside(path)
    assert {p.name for p in images.glob("*.jpg")} == {"000000.jpg", "000002.jpg", "000004.jpg"}
    before = (images / "000002.jpg").stat().st_mtime_ns
    assert len(load_scene(tmp_path / "x").frames) == COUNT  # the others are added
    assert (images / "000002.jpg").stat().st_mtime_ns == before
    with monkeypatch.context() as patch:
        patch.setattr("video3d_plugin.data.readers.stray_scanner.jpeg_frames", None)
        assert len(load_scene(tmp_path / "x").frames) == COUNT
    os.utime(path, (1, 1))
    assert len(load_scene(tmp_path / "x").frames) == COUNT
    assert (images / "000002.jpg").stat().st_mtime_ns != before


def test_a_video_shorter_than_its_poses_leaves_the_rest_out(tmp_path):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    write(tmp_path / "x" / "rgb.mp4", video(3))
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == 3 and {o.reason for o in scene.omissions} == {"no colour image"}


def test_images_are_not_written_through_a_link(tmp_path):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photo.jpg").write_text("keep")
    folder_beside(tmp_path / "x" / "rgb.mp4").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link"):
        load_scene(tmp_path / "x")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["photo.jpg"]


def test_images_of_a_video_are_bounded(tmp_path, monkeypatch):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    monkeypatch.setattr(extracted, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="--frame-step"):
        load_scene(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"\0\0\0 ftypisom", b"#EXTM3U\nfile:///etc/passwd\n"])
def test_a_file_that_is_no_video_is_named(tmp_path, content):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    write(tmp_path / "x" / "rgb.mp4", content)
    with pytest.raises(DataError, match=r"rgb\.mp4: (video cannot be decoded|holds no video)"):
        load_scene(tmp_path / "x")


def test_a_video_of_an_unknown_codec_is_named(tmp_path):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    path = tmp_path / "x" / "rgb.mp4"
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"free"))
    with pytest.raises(DataError, match=r"rgb\.mp4: (the codec of its video is not known|video )"):
        load_scene(tmp_path / "x")


@pytest.mark.parametrize(
    "text, message", [("", "no column"), ("timestamp, frame\n", "no column x"), ("HEAD\n1, 2\n", "line 2")]
)
def test_a_broken_odometry_is_named(tmp_path, text, message):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    write(tmp_path / "x" / "odometry.csv", text.replace("HEAD", "timestamp, frame, x, y, z, qx, qy, qz, qw"))
    with pytest.raises(DataError, match=message):
        load_scene(tmp_path / "x")


def test_depth_of_older_versions_is_read(tmp_path):
    pytest.importorskip("av")
    stray_scanner(tmp_path / "x")
    for index in range(COUNT):
        path = tmp_path / "x" / "depth" / f"{index:06d}.png"
        path.unlink()
        np.save(path.with_suffix(".npy"), depth_mm(index))
    scene = load_scene(tmp_path / "x")
    assert len(scene.frames) == COUNT and (read_depth(scene.frames[1]) == depth_mm(1)).all()


@pytest.mark.parametrize("library, write_recording", [("av", stray_scanner), ("lzfse", record3d)])
def test_a_missing_library_is_one_line_that_names_the_extra(tmp_path, monkeypatch, library, write_recording):
    pytest.importorskip(library)
    write_recording(tmp_path / "x")
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingError, match=r"needs the library .*pip install 'video3d-plugin\[apps\]'"):
        load_scene(tmp_path / "x")
    assert library in extras.PURPOSES


def test_an_r3d_file_is_read_as_its_folder(tmp_path):
    pytest.importorskip("lzfse")
    record3d(tmp_path / "my scan")
    shutil.make_archive(str(tmp_path / "my scan"), "zip", tmp_path / "my scan")
    (tmp_path / "my scan.zip").rename(tmp_path / "my scan.r3d")
    scene = load_scene(tmp_path / "my scan.r3d")
    assert len(scene.frames) == COUNT and scene.scene_id == "my_scan"


def change_metadata(folder, **values):
    path = folder / "metadata"
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def test_record3d_depth_is_in_the_orientation_of_the_images(tmp_path):
    lzfse = pytest.importorskip("lzfse")
    record3d(tmp_path / "x")
    change_metadata(tmp_path / "x", w=1440, h=1920, dw=None, dh=None)
    depth = np.full((256, 192), 1.5, "<f4")
    for index in range(COUNT):
        write(tmp_path / "x" / "rgbd" / f"{index}.depth", lzfse.compress(depth.tobytes()))
    frame = load_scene(tmp_path / "x").frames[0]
    assert frame.depth_size == (256, 192) and (read_depth_m(frame) == 1.5).all()


def test_record3d_cameras_of_single_frames_are_used(tmp_path):
    pytest.importorskip("lzfse")
    record3d(tmp_path / "x")
    change_metadata(tmp_path / "x", perFrameIntrinsicCoeffs=[[200 + i, 200 + i, 63.5, 47.5] for i in range(COUNT)])
    assert [f.depth_intrinsics[0, 0] for f in load_scene(tmp_path / "x").frames] == [100 + i / 2 for i in range(COUNT)]


@pytest.mark.parametrize(
    "values, message",
    [
        ({"poses": None}, "holds no poses"),
        ({"K": [1, 2]}, "not 9 numbers"),
        ({"w": "wide"}, "not a number"),
        ({"dw": 0}, "not that of an image"),
        ({"perFrameIntrinsicCoeffs": [[1]]}, "not 4 numbers"),
    ],
)
def test_broken_metadata_are_named(tmp_path, values, message):
    pytest.importorskip("lzfse")
    record3d(tmp_path / "x")
    change_metadata(tmp_path / "x", **values)
    with pytest.raises(DataError, match=f"metadata: .*{message}"):
        load_scene(tmp_path / "x")


@pytest.mark.parametrize("damage", [b"", b"bvx2", b"bvx-" * 5000, b"\0" * 100, b"bvx2" + b"\xff" * 400])
def test_damaged_lzfse_data_cost_their_own_frame(tmp_path, damage):
    pytest.importorskip("lzfse")
    record3d(tmp_path / "x")
    write(tmp_path / "x" / "rgbd" / "1.depth", damage)
    frames = load_scene(tmp_path / "x").frames
    assert check_frame(frames[0]) is None and check_frame(frames[1]) is not None


def test_lzfse_data_of_another_size_are_refused(tmp_path):
    lzfse = pytest.importorskip("lzfse")
    record3d(tmp_path / "x")
    write(tmp_path / "x" / "rgbd" / "0.depth", lzfse.compress(b"\0" * 64_000_000))
    assert "LZFSE" in check_frame(load_scene(tmp_path / "x").frames[0])
    write(tmp_path / "x" / "rgbd" / "0.depth", lzfse.compress(b"\0" * (WIDTH * HEIGHT * 4 - 4)))
    assert f"expected {WIDTH * HEIGHT * 4}" in check_frame(load_scene(tmp_path / "x").frames[0])


def test_a_trajectory_that_skips_frames_leaves_them_out(tmp_path):
    open3d(tmp_path / "x")
    path = tmp_path / "x" / "trajectory.log"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:5] + lines[10:]))
    scene = load_scene(tmp_path / "x")
    assert [o.reason for o in scene.omissions] == ["no pose in the trajectory"] and len(scene.frames) == COUNT - 1
    np.testing.assert_allclose(scene.frames[1].scan_from_camera, pose(2), atol=1e-6)


def test_an_open3d_recording_without_a_camera_says_what_is_assumed(tmp_path):
    open3d(tmp_path / "x")
    (tmp_path / "x" / "camera.json").unlink()
    scene = load_scene(tmp_path / "x")
    assert any("PrimeSense" in note for note in scene.notes)
    assert scene.frames[0].depth_intrinsics[0, 0] == 525 * WIDTH / 640


@pytest.mark.parametrize(
    "text, message", [("1 2\n", "not a row of 3"), ("0 0 1\n1 0 0 0\n", "ends inside"), ("a b c\n", "row")]
)
def test_a_broken_trajectory_is_named(tmp_path, text, message):
    open3d(tmp_path / "x")
    (tmp_path / "x" / "trajectory.log").write_text(text)
    with pytest.raises(DataError, match=message):
        load_scene(tmp_path / "x")


def test_images_that_cannot_be_paired_are_counted(tmp_path):
    open3d(tmp_path / "x")
    (tmp_path / "x" / "depth" / "00001.png").unlink()
    with pytest.raises(DataError, match="5 colour and 4 depth images"):
        load_scene(tmp_path / "x")


def test_replica_without_a_camera_is_read_only_if_its_images_are_of_the_usual_one(tmp_path):
    replica(tmp_path / "x")
    (tmp_path / "x" / "cam_params.json").unlink()
    with pytest.raises(MissingError, match=r"no depth_intrinsic\.txt"):
        load_scene(tmp_path / "x")
    assert load_scene(tmp_path / "x", intrinsics=(50, 50, 32, 24)).frames[0].depth_intrinsics[0, 0] == 50
    for index in range(COUNT):
        write(tmp_path / "x" / "results" / f"depth{index:06d}.png", png(np.full((34, 60), 6554, np.uint16)))
    scene = load_scene(tmp_path / "x")
    assert any("cam_params.json" in note for note in scene.notes) and scene.frames[0].depth_unit_m == 1 / 6553.5
    assert scene.frames[0].depth_intrinsics[1, 1] == 600 * 34 / 680
