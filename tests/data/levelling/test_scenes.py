"""Levelling where a scan is opened: `load_scene`, `prepare`; where it stands, portrait images, `align`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from posed_rooms import around, look, moved, on_its_side, view, write_nerfstudio, write_posed
from scipy.spatial.transform import Rotation

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.frames import color_size, open_color, read_depth, without_broken_frames
from video3d_plugin.data.inputs import frame_points, sample, scene_inputs
from video3d_plugin.data.levelling.portrait import quarter_turns, turned
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.model.prefix.cache import scene_key

SPEC = InputsSpec(image_size=56)


def matrix(rotation, offset=(0, 0, 0)):
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, offset
    return move


def shifted(offset):
    return matrix(np.eye(3), offset)


@pytest.fixture(scope="module")
def views():
    return [view(pose) for pose in around(8)]


def inputs_of(scene):
    return scene_inputs(scene, sample(scene, "uniform", 6), SPEC, np.array([[0, 0, 0.5, 2, 2, 1.0]]))


def same_inputs(one, other, atol):
    assert torch.equal(one.pixels, other.pixels) and torch.equal(one.proposal_bits, other.proposal_bits)
    torch.testing.assert_close(one.token_points, other.token_points, rtol=0, atol=atol)


def test_a_tilted_recording_is_levelled_and_says_so(views, tmp_path):
    write_posed(tmp_path / "scan", moved(views, matrix(Rotation.random(random_state=2).as_matrix(), [5, -9, 2])))
    scene = load_scene(tmp_path / "scan")
    assert any(note.startswith("levelled: up estimated") for note in scene.notes)
    points = np.concatenate([frame_points(scene, i) for i in range(len(scene.frames))])
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    assert abs(low[2]) < 0.03 and sorted(np.round(high - low)[:2].tolist()) == [5, 6]
    assert np.abs((low + high)[:2]).max() < 0.2


def test_a_real_layouts_frames_alone_are_levelled_like_its_own_alignment_says(room_root, my_scan):
    (scene_id,) = (path.stem for path in (room_root / "posed_images").iterdir() if path.is_dir())
    truth, own = load_scene(room_root, scene_id), load_scene(my_scan)
    relative = own.world_from_scan[:3, :3] @ truth.world_from_scan[:3, :3].T
    assert np.degrees(np.arccos(relative[2, 2])) < 2
    assert abs((np.degrees(np.arctan2(relative[1, 0], relative[0, 0])) + 45) % 90 - 45) < 3
    assert not any("levelled" in note for note in truth.notes)


@pytest.mark.parametrize("offset", [[20, -20, 6], [0, 0, -31.5], [500_000.25, 5_400_000.5, 120]])
def test_what_the_model_sees_does_not_depend_on_the_origin(views, tmp_path, offset):
    write_posed(tmp_path / "here", views)
    write_posed(tmp_path / "there", moved(views, shifted(offset)))
    here, there = load_scene(tmp_path / "here"), load_scene(tmp_path / "there")
    assert not there.omissions and len(there.frames) == len(views)
    same_inputs(inputs_of(here), inputs_of(there), atol=1e-6)


@pytest.mark.parametrize("offset", [[20, -20, 6], [500_000.25, 5_400_000.5, 120]])
def test_a_scan_that_is_not_levelled_is_centred_all_the_same(tmp_path, offset):
    wall = np.array([[-50.0, -50, -50], [3, 50, 50]])
    views = [view(look([0, y, 0], [3, y, 0.2]), room=wall, things=()) for y in np.linspace(-1, 1, 6)]
    write_posed(tmp_path / "here", views)
    write_posed(tmp_path / "there", moved(views, shifted(offset)))
    here, there = load_scene(tmp_path / "here"), load_scene(tmp_path / "there")
    assert any(note.startswith("not levelled") for note in there.notes)
    assert (there.world_from_scan[:3, :3] == np.eye(3)).all()
    same_inputs(inputs_of(here), inputs_of(there), atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_portrait_recording_equals_the_same_one_held_upright(tmp_path, turns):
    upright = [view(pose, size=(80, 60)) for pose in around(8)]
    write_nerfstudio(tmp_path / "upright", upright)
    write_nerfstudio(tmp_path / "side", [on_its_side(v, turns) for v in upright])
    one, other = load_scene(tmp_path / "upright"), load_scene(tmp_path / "side")
    assert [frame.quarter_turns for frame in one.frames] == [0] * 8
    assert [frame.quarter_turns for frame in other.frames] == [turns] * 8
    assert any(note.startswith("8 frames are turned upright") for note in other.notes)
    np.testing.assert_array_equal(one.world_from_scan, other.world_from_scan)
    for a, b in zip(one.frames, other.frames, strict=True):
        np.testing.assert_allclose(a.scan_from_camera, b.scan_from_camera, atol=1e-15)
        np.testing.assert_allclose(a.depth_intrinsics, b.depth_intrinsics, atol=1e-12)
        assert (read_depth(a) == read_depth(b)).all() and a.depth_size == b.depth_size
        assert (np.asarray(open_color(a)) == np.asarray(open_color(b))).all() and color_size(a) == color_size(b)
    same_inputs(inputs_of(one), inputs_of(other), atol=0)


def test_a_phone_that_is_turned_during_the_recording_is_followed(views, tmp_path):
    mixed = [on_its_side(v, i % 2) for i, v in enumerate(views)]
    write_nerfstudio(tmp_path / "mixed", mixed)
    write_nerfstudio(tmp_path / "upright", views)
    one, other = load_scene(tmp_path / "upright"), load_scene(tmp_path / "mixed")
    assert [frame.quarter_turns for frame in other.frames] == [0, 1] * 4 and not other.omissions
    same_inputs(inputs_of(one), inputs_of(other), atol=0)


def test_frames_of_two_orientations_may_stand_side_by_side(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    scene = load_scene(tmp_path / "scan", align="none")
    mixed = replace(scene, frames=(*scene.frames[:3], turned(scene.frames[3], 1), *scene.frames[4:]))
    one, other = (scene_inputs(s, range(8), SPEC) for s in (scene, mixed))
    rest = [i for i in range(8) if i != 3]
    assert torch.equal(one.pixels[rest], other.pixels[rest]) and not torch.equal(one.pixels[3], other.pixels[3])
    assert torch.equal(one.token_points[rest], other.token_points[rest]) and one.frames == other.frames


def test_turning_a_frame_moves_no_point(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    scene = load_scene(tmp_path / "scan", align="none")
    expected = frame_points(scene, 0)
    for turns in (1, 2, 3, 4):
        points = frame_points(replace(scene, frames=(turned(scene.frames[0], turns),)), 0)
        order = [np.lexsort(np.round(p, 3).T) for p in (points, expected)]
        np.testing.assert_allclose(points[order[0]], expected[order[1]], atol=2e-5)


def test_depth_that_was_kept_is_turned_with_its_frame(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    scene = without_broken_frames(load_scene(tmp_path / "scan", align="none"), keep_pixels=1 << 20)
    kept = scene.frames[0]
    assert kept.decoded_depth is not None
    np.testing.assert_array_equal(read_depth(turned(kept, 1)), np.rot90(read_depth(kept)))


def test_frames_that_look_down_are_turned_like_the_others(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    frames = load_scene(tmp_path / "scan", align="none").frames
    down = np.diag([1.0, -1, -1, 1])
    side = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    poses = [*(f.scan_from_camera @ matrix(side) for f in frames), down]
    posed = [replace(frames[0], scan_from_camera=pose) for pose in poses]
    assert len(set(quarter_turns(posed, np.array([0, 0, 1.0])))) == 1
    assert quarter_turns([replace(frames[0], scan_from_camera=down)] * 5, np.array([0, 0, 1.0])) == [0] * 5


def test_a_frame_that_cannot_be_decoded_does_not_stop_levelling(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    path = tmp_path / "scan" / "00003.png"
    path.write_bytes(path.read_bytes()[:200])
    assert any(note.startswith("levelled") for note in load_scene(tmp_path / "scan").notes)


def test_align_none_keeps_the_scans_own_frame(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    (tmp_path / "scan" / "gravity.txt").write_text("0 1 0")
    scene = load_scene(tmp_path / "scan", align="none")
    assert (scene.world_from_scan == np.eye(4)).all() and "the world frame is given by --align none" in scene.notes


def test_align_takes_a_matrix_or_a_direction_from_a_file(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    given = matrix(Rotation.from_euler("z", 20, degrees=True).as_matrix(), [1, 2, 3])
    np.savetxt(tmp_path / "matrix.txt", given)
    scene = load_scene(tmp_path / "scan", align=tmp_path / "matrix.txt")
    np.testing.assert_allclose(scene.world_from_scan, given)
    assert "aligned by matrix.txt" in scene.notes
    (tmp_path / "down.txt").write_text("0 0 -9.81\n")
    scene = load_scene(tmp_path / "scan", align=str(tmp_path / "down.txt"))
    assert any("up is that of down.txt" in note for note in scene.notes)


@pytest.mark.parametrize(
    "text", ["1 2", "0 0 0", "a b c", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0", "nan 0 0", " ".join("2" * 16), ""]
)
def test_an_align_file_that_holds_no_alignment_is_named(views, tmp_path, text):
    write_posed(tmp_path / "scan", views)
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(DataError, match=r"x\.txt"):
        load_scene(tmp_path / "scan", align=tmp_path / "x.txt")


def test_align_that_is_neither_known_nor_a_file_is_refused(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    with pytest.raises(MissingError, match="auto, none, or a file"):
        load_scene(tmp_path / "scan", align="upright")
    with pytest.raises(MissingError, match="auto, none, or a file"):
        SceneOptions(align="upright")


def test_a_scan_with_its_own_alignment_keeps_it_and_its_frames(room_root):
    (scene_id,) = (path.stem for path in (room_root / "posed_images").iterdir() if path.is_dir())
    scene = load_scene(room_root, scene_id)
    meta = (room_root / "scans" / scene_id / f"{scene_id}.txt").read_text()
    (line,) = (line for line in meta.splitlines() if line.startswith("axisAlignment"))
    expected = np.array(line.split("=")[1].split(), float).reshape(4, 4)
    np.testing.assert_array_equal(scene.world_from_scan, expected)
    assert not any(frame.quarter_turns for frame in scene.frames)


def test_prepare_levels_as_load_scene_does_and_keeps_turns(tmp_path):
    upright = [view(pose, size=(80, 60)) for pose in around(8)]
    write_nerfstudio(tmp_path / "captures" / "room", [on_its_side(v, 1) for v in upright])
    report = prepare(tmp_path / "captures", tmp_path / "data")
    assert any("turned upright" in note for result in report.scenes for note in result.notes)
    one, other = DataFolder.open(tmp_path / "data").scene("room"), load_scene(tmp_path / "captures" / "room")
    np.testing.assert_array_equal(one.world_from_scan, other.world_from_scan)
    assert [f.quarter_turns for f in one.frames] == [f.quarter_turns for f in other.frames] == [1] * 8
    same_inputs(inputs_of(one), inputs_of(other), atol=0)
    assert prepare(tmp_path / "captures", tmp_path / "data").scenes[0].reused
    record = json.loads((tmp_path / "data" / "scenes" / "room.json").read_text())
    assert record["frames"][0]["turns"] == 1
    with pytest.raises(DataError, match="prepare it again with this --align"):
        load_scene(tmp_path / "data", align="none")


def test_another_align_prepares_a_recording_anew(views, tmp_path):
    write_posed(tmp_path / "captures" / "room", moved(views, shifted([3, 4, 5])))
    write_posed(tmp_path / "captures" / "other", views)
    prepare(tmp_path / "captures", tmp_path / "data")
    report = prepare(tmp_path / "captures", tmp_path / "data", scene=SceneOptions(align="none"))
    assert not any(result.reused for result in report.scenes)
    assert (DataFolder.open(tmp_path / "data").scene("room").world_from_scan == np.eye(4)).all()


def test_a_turned_frame_is_another_one_to_the_prefix_cache(views, tmp_path):
    write_posed(tmp_path / "scan", views)
    scene = load_scene(tmp_path / "scan", align="none")
    other = replace(scene, frames=tuple(replace(frame, quarter_turns=2) for frame in scene.frames))
    assert scene_key(scene) != scene_key(other)
