"""Decoding of frames, and .sens files: whole, truncated, hostile."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from video3d_plugin.data.frames import check_frame, open_color, read_depth, without_broken_frames
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.sens import iterate_frames, read_header, read_sens
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.scene import FileSlice

HEADER = 4 + 8 + 4 + 64 * 4  # version, name length, name, matrices


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.fixture
def sens(scan_root):
    scan_root.write_sens()
    return scan_root.scan / f"{scan_root.scene_id}.sens"


def test_every_frame_of_a_sens_is_what_was_written(sens):
    from made_up_scan import color, depth_mm, pose

    frames, omissions, notes = read_sens(sens)
    assert [frame.name for frame in frames] == [f"{i:05d}" for i in range(6)] and not omissions and not notes
    for index, frame in enumerate(frames):
        assert (read_depth(frame) == depth_mm(index)).all()
        assert np.abs(np.asarray(open_color(frame)).astype(int) - color(index)).mean() < 3  # jpeg
        assert np.allclose(frame.scan_from_camera, pose(index))
        assert (frame.depth_size, frame.depth_unit_m, frame.depth_codec) == ((48, 64), 0.001, "zlib_ushort")


def test_blobs_are_found_and_not_read(sens, monkeypatch):
    monkeypatch.setattr(FileSlice, "read", lambda self: pytest.fail("a frame was read"))
    assert len(read_sens(sens)[0]) == 6


def test_a_step_keeps_every_nth_frame_and_says_so(sens):
    frames, _, notes = read_sens(sens, frame_step=4)
    assert [frame.name for frame in frames] == ["00000", "00004"]
    assert notes == ["one frame in 4 is used, of 6 in scene0000_00.sens"]


def test_frames_of_a_sens_whose_pose_is_no_rotation_are_left_out_and_counted(scan_root):
    poses = [np.eye(4)] * 5 + [np.zeros((4, 4))]
    scan_root.write_sens(poses=poses)
    frames, omissions, _ = read_sens(scan_root.scan / f"{scan_root.scene_id}.sens")
    assert len(frames) == 5
    assert [(o.what, o.reason) for o in omissions] == [("frame 00005", "pose is not a rotation and a translation")]


def test_a_long_sens_is_read_like_the_reference_every_tenth_frame():
    from video3d_plugin.data.readers.sens import default_step

    assert [default_step(count) for count in (1, 38, 64, 319, 320, 5000)] == [1, 1, 2, 9, 10, 10]


def test_frames_with_a_lost_pose_are_left_out_and_counted(scan_root):
    poses = [np.full((4, 4), -np.inf) if i in (1, 3) else np.eye(4) for i in range(6)]
    scan_root.write_sens(poses=poses)
    scene = load_scene(scan_root.path)
    assert [frame.name for frame in scene.frames] == ["00000", "00002", "00004", "00005"]
    assert [o.what for o in scene.omissions] == ["frame 00001", "frame 00003"]
    assert "not finite" in scene.omissions[0].reason


def test_a_truncated_sens_gives_its_whole_frames_and_says_what_is_lost(sens):
    entry = list(iterate_frames(sens, read_header(sens)))[4]
    write(sens, sens.read_bytes()[: entry.color.offset + 10])
    scene = load_scene(sens)
    assert len(scene.frames) == 4
    assert "ends inside frame 4 of 6" in scene.omissions[0].reason


def test_a_sens_without_a_whole_frame_is_an_error(sens):
    write(sens, sens.read_bytes()[: read_header(sens).first_frame_offset + 20])
    with pytest.raises(DataError, match=r"scene0000_00\.sens: no usable frame.*ends at frame 0"):
        load_scene(sens)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: struct.pack("<I", 3) + d[4:], "version 3"),
        (lambda d: d[:4] + struct.pack("<Q", 2**63) + d[12:], "sensor name"),
        (lambda d: d[:100], "ends inside the header"),
        (lambda d: b"", "ends inside the header"),
        (lambda d: d[:HEADER] + struct.pack("<ii", 0, 1) + d[HEADER + 8 :], "colour compression 0"),
        (lambda d: d[: HEADER + 16] + struct.pack("<II", 2**31, 2**31) + d[HEADER + 24 :], "pixels"),
        (lambda d: d[: HEADER + 24] + struct.pack("<f", 0.0) + d[HEADER + 28 :], "depth shift"),
        (lambda d: d[: HEADER - 128] + struct.pack("<f", -1.0) + d[HEADER - 124 :], "intrinsics"),
    ],
)
def test_a_broken_header_is_named(sens, change, message):
    write(sens, change(sens.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load_scene(sens)
    assert str(sens) in str(caught.value)


def test_a_frame_count_beyond_the_file_ends_at_the_last_whole_frame(sens):
    data = sens.read_bytes()
    write(sens, data[: HEADER + 28] + struct.pack("<Q", 2**60) + data[HEADER + 36 :])
    frames, omissions, _ = read_sens(sens, frame_step=1)
    assert len(frames) == 6 and "ends" in omissions[0].reason


def test_an_absurd_blob_size_is_not_allocated(sens):
    offset = read_header(sens).first_frame_offset + 64 + 16
    data = sens.read_bytes()
    write(sens, data[:offset] + struct.pack("<Q", 2**62) + data[offset + 8 :])
    with pytest.raises(DataError, match="ends inside frame 0"):
        load_scene(sens)


def test_a_zlib_bomb_is_stopped_at_the_size_of_a_depth_image(sens, tmp_path):
    frame = load_scene(sens).frames[0]
    bomb = write(tmp_path / "bomb", zlib.compress(bytes(50_000_000), 9))
    with pytest.raises(DataError, match="more than 6144 bytes, expected 6144"):
        read_depth(replace(frame, depth=FileSlice(bomb)))


def test_a_depth_blob_of_another_size_is_named_with_its_frame(sens, tmp_path):
    frame = load_scene(sens).frames[2]
    short = write(tmp_path / "short", zlib.compress(bytes(100)))
    assert "holds 100 bytes, expected 6144 (64x48)" in check_frame(replace(frame, depth=FileSlice(short)))
    with pytest.raises(DataError, match="frame 00002"):
        read_depth(replace(frame, depth=FileSlice(short, 0, 1000)))


def test_the_check_keeps_depth_decoded_up_to_a_limit(scan_root):
    scan_root.write_sens()
    scene = load_scene(scan_root.scan)
    height, width = scene.frames[0].depth_size
    kept = without_broken_frames(scene, keep_pixels=2 * height * width).frames
    assert [frame.decoded_depth is not None for frame in kept] == [True, True, *[False] * (len(kept) - 2)]
    for frame, before in zip(kept, scene.frames, strict=True):
        assert np.array_equal(read_depth(frame), read_depth(before)) and frame == before
    gone = replace(kept[0], depth=FileSlice(scan_root.scan / "gone"))
    assert read_depth(gone) is kept[0].decoded_depth and not read_depth(gone).flags.writeable
    with pytest.raises(DataError):
        read_depth(gone.with_files(lambda file: file))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        load_scene(tmp_path / "none.sens")


def test_depth_is_read_where_opencv_cannot(monkeypatch):
    """After `import decord` OpenCV's libpng fails on every PNG: "bad parameters to zlib"."""
    import cv2

    from video3d_plugin.files import images

    depth = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    data = cv2.imencode(".png", depth)[1].tobytes()
    asked = []
    monkeypatch.setattr(cv2, "imdecode", lambda *args: asked.append(1))
    monkeypatch.setattr(images, "_opencv_decodes", True)
    for _ in range(2):
        found = images.depth_from_png(data, "x.png")
        assert found.dtype == np.uint16 and np.array_equal(found, depth)
    assert len(asked) == 1  # asked no more once it has failed
