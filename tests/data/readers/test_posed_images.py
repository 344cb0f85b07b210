"""Folders of posed frames: what is read, what is left out, and what is an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from video3d_plugin.data.frames import check_frame, read_depth
from video3d_plugin.data.inputs import crops, sample, scene_inputs
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.posed_images import read_posed_images
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.inputs_spec import InputsSpec


@pytest.fixture
def folder(scan_root):
    return scan_root.write_posed_images().posed


def names(scene):
    return [frame.name for frame in scene.frames]


def test_every_frame_is_what_was_written(folder):
    from made_up_scan import INTRINSICS, depth_mm, pose

    scene = load_scene(folder, align="none")
    assert scene.scene_id == "scene0000_00" and names(scene) == [f"{i * 10:05d}" for i in range(6)]
    for index, frame in enumerate(scene.frames):
        assert (read_depth(frame) == depth_mm(index)).all()
        assert np.allclose(frame.scan_from_camera, pose(index)) and np.allclose(frame.depth_intrinsics, INTRINSICS)
    assert (scene.world_from_scan == np.eye(4)).all()
    assert "the world frame is given by --align none" in scene.notes


def test_frames_are_in_the_order_of_their_numbers(tmp_path, folder):
    for old in list(folder.iterdir()):
        if old.stem.isdigit():
            old.rename(folder / f"{int(old.stem) // 10 + 8}{old.suffix}")  # 8, 9, 10, ... without padding
    assert names(load_scene(folder)) == ["8", "9", "10", "11", "12", "13"]


@pytest.mark.parametrize("suffix, what", [(".jpg", "no colour image"), (".png", "no depth image"), (".txt", "no pose")])
def test_a_frame_without_one_of_its_files_is_left_out_and_counted(folder, suffix, what):
    (folder / f"00020{suffix}").unlink()
    scene = load_scene(folder)
    assert "00020" not in names(scene) and len(scene.frames) == 5
    assert [(o.what, o.reason) for o in scene.omissions] == [("frame 00020", what)]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("-inf " * 16, "not finite"),
        ("nan " * 16, "not finite"),
        ("1 2 3", "not a 4x4 matrix: 3 numbers"),
        ("", "not a 4x4 matrix: 0 numbers"),
        ("a " * 16, "not a matrix"),
        ("0 " * 16, "not a rotation and a translation"),
        ("1 0 0 0  0 1 0 0  0 0 1 0  0.2 0.1 1.5 1", "not a rotation and a translation"),  # transposed
        ("1 0 0 1e39  0 1 0 0  0 0 1 0  0 0 0 1", "not a rotation and a translation"),  # no float32
    ],
)
def test_a_frame_without_a_usable_pose_is_left_out_and_counted(folder, text, reason):
    (folder / "00030.txt").write_text(text)
    scene = load_scene(folder)
    assert "00030" not in names(scene) and reason in scene.omissions[0].reason


def test_a_depth_image_of_another_size_is_left_out_and_counted(folder):
    Image.fromarray(np.zeros((24, 32), np.uint16)).save(folder / "00000.png")
    scene = load_scene(folder)
    assert "00000" not in names(scene)
    assert scene.omissions[0].reason == "depth is 32x24, expected 64x48"


def test_a_depth_image_that_is_no_depth_is_left_out_and_counted(folder):
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "00000.png")
    (folder / "00010.png").write_bytes(b"not a png")
    reasons = [o.reason for o in load_scene(folder).omissions]
    assert reasons == ["depth has 8 bits and PNG colour type 2", "depth is not a PNG"]


@pytest.mark.parametrize("suffix, lost", [(".jpg", 60), (".png", 60), (".png", 12), (".png", 1)])
def test_a_truncated_image_is_found_by_the_full_check_and_named_when_used(folder, suffix, lost):
    path = folder / f"00040{suffix}"
    path.write_bytes(path.read_bytes()[:-lost])
    scene = load_scene(folder)  # headers are whole: only decoding finds it
    frame = scene.frames[4]
    assert "cannot be decoded" in check_frame(frame)
    assert check_frame(scene.frames[0]) is None
    with pytest.raises(DataError) as caught:
        scene_inputs(scene, ["00040"], InputsSpec(image_size=28))
    assert str(path) in str(caught.value) and "export this frame again" in str(caught.value)


@pytest.mark.parametrize("kind, lost", [("JPEG", 2), ("JPEG", 60), ("PNG", 12), ("PNG", 60)])
def test_a_truncated_colour_image_is_found_where_a_host_lets_pillow_fill_it_with_grey(folder, monkeypatch, kind, lost):
    from PIL import ImageFile

    path = folder / "00040.jpg"
    Image.open(path).save(path, format=kind)
    whole = path.read_bytes()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # LLaVA-NeXT's train.py does it when imported
    frame = load_scene(folder).frames[4]
    assert check_frame(frame) is None
    path.write_bytes(whole[:-lost])
    assert check_frame(frame) == "colour image cannot be decoded: image file is truncated"


def test_unreadable_intrinsics_are_an_error_that_names_the_file(folder):
    (folder / "depth_intrinsic.txt").write_text("1 2 3")
    with pytest.raises(DataError, match=r"depth_intrinsic\.txt: not camera intrinsics: 3 numbers"):
        load_scene(folder)
    (folder / "depth_intrinsic.txt").write_text(" ".join(["0"] * 16))
    with pytest.raises(DataError, match="not camera intrinsics"):
        load_scene(folder)


def test_missing_intrinsics_are_an_error_with_a_remedy(folder):
    (folder / "depth_intrinsic.txt").unlink()
    (folder / "intrinsic.txt").unlink()
    with pytest.raises(MissingError, match=r"no depth_intrinsic\.txt \(add it"):
        load_scene(folder)


@pytest.mark.parametrize("larger", [1, 2])
def test_a_colour_camera_alone_is_scaled_to_the_depth_image_and_said_so(folder, larger):
    """Exporters of ScanNet write the colour camera as intrinsic.txt; its principal point tells whose it is."""
    from made_up_scan import INTRINSICS

    (folder / "depth_intrinsic.txt").unlink()
    for path in folder.glob("*.jpg"):
        Image.new("RGB", (64 * larger, 48 * larger)).save(path)
    assert np.allclose(load_scene(folder).frames[0].depth_intrinsics, INTRINSICS)  # the depth camera's, as it is
    fx, cx, cy = 50 * larger, 32 * larger - 0.5, 24 * larger - 0.5
    (folder / "intrinsic.txt").write_text(f"{fx} 0 {cx} 0  0 {fx} {cy} 0  0 0 1 0  0 0 0 1")
    scene = load_scene(folder)
    assert all(np.allclose(frame.depth_intrinsics, INTRINSICS) for frame in scene.frames)
    note = "intrinsic.txt is of the colour images (128x96), and is scaled to the depth images (64x48)"
    assert (note in scene.notes) == (larger > 1)


def test_a_folder_without_a_usable_frame_is_an_error_that_says_why(folder):
    for path in folder.glob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match="no usable frame: frame 00000: no colour image"):
        load_scene(folder)


def test_a_list_of_frames_is_followed_in_its_order_and_the_rest_is_noted(folder):
    frames, omissions, notes = read_posed_images(folder, ["00030", "00010", "00070"])
    assert [frame.name for frame in frames] == ["00030", "00010"]
    assert [o.what for o in omissions] == ["frame 00070"]
    assert notes == ["4 frames are in scene0000_00 but not in the EmbodiedScan list, and are not used"]


def test_a_step_keeps_every_nth_frame_and_says_so(folder):
    scene = load_scene(folder, frame_step=4)
    assert names(scene) == ["00000", "00040"] and "one frame in 4 is used, of 6" in scene.notes


def test_the_inputs_of_a_scan_agree_with_every_pixel_back_projected_by_hand(folder):
    """Independent of the package: resize the full coordinates with OpenCV and crop, as the reference does."""
    import cv2
    from made_up_scan import INTRINSICS, depth_mm, pose

    scene, spec = load_scene(folder, align="none"), InputsSpec(image_size=28)
    inputs = scene_inputs(scene, sample(scene, "uniform", 3), spec)
    v, u = np.mgrid[:48, :64].astype(np.float64)
    expected = []
    for index in (0, 2, 5):
        z = depth_mm(index) / 1000
        x, y = (u - INTRINSICS[0, 2]) * z / INTRINSICS[0, 0], (v - INTRINSICS[1, 2]) * z / INTRINSICS[1, 1]
        world = np.stack([x + pose(index)[0, 3], y, z], -1).astype(np.float32)
        world = cv2.resize(world, (37, 28), interpolation=cv2.INTER_NEAREST)[:, 4:32]  # int(64 * 28 / 48) = 37
        expected.append(world.reshape(1, 28, 1, 28, 3).mean((1, 3)))
    np.testing.assert_allclose(inputs.token_points.numpy()[:, :, :, 0], expected, atol=1e-5)
    assert inputs.frames == ("00000", "00020", "00050") and inputs.pixels.shape == (3, 28, 28, 3)


def test_pixels_are_the_part_of_the_crop_that_patches_cover(folder):
    scene, spec = load_scene(folder), InputsSpec(image_size=30)  # 2 patches of 14, 2 pixels unused
    inputs, (pixels, points) = scene_inputs(scene, ["00000", "00020"], spec), crops(scene, ["00000", "00020"], spec)
    assert pixels.shape == points.shape == (2, 30, 30, 3)
    assert torch.equal(inputs.pixels, pixels[:, :28, :28]) and inputs.pixels.is_contiguous()


def test_a_frame_that_is_not_there_is_named(folder):
    with pytest.raises(DataError, match="scene0000_00 has no frame '99999'"):
        scene_inputs(load_scene(folder), ["99999"], InputsSpec())
    with pytest.raises(DataError, match="no frame was asked for"):
        scene_inputs(load_scene(folder), [], InputsSpec())


def test_threads_do_not_change_the_inputs(folder):
    scene, spec = load_scene(folder), InputsSpec(image_size=28)
    one, many = (scene_inputs(scene, range(6), spec, threads=n).tensors() for n in (1, 4))
    assert all((one[name] == many[name]).all() for name in one)


def test_a_png_counts_as_whole_only_to_its_last_byte_and_checksum(folder):
    """OpenCV before 5 decodes what there is of a truncated PNG and says nothing, so this is checked apart from it."""
    from video3d_plugin.files.images import is_whole_png

    data = (folder / "00000.png").read_bytes()
    assert is_whole_png(data) and is_whole_png(data + b"appended")
    assert not any(is_whole_png(data[:size]) for size in range(len(data)))
    for at in range(8, len(data), 7):
        flipped = bytearray(data)
        flipped[at] ^= 1
        assert not is_whole_png(bytes(flipped)), at
