"""Roots in ScanNet's layout: what is found, the EmbodiedScan list, alignment, pickles that are only data."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from made_up_scan import INTRINSICS, ScanRoot, shift

from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.embodiedscan import read_infos
from video3d_plugin.data.readers.pickles import as_array, load_bytes, load_pickle, load_pth
from video3d_plugin.data.readers.scannet_files import ScanNetRoot
from video3d_plugin.data.readers.video3dllm_release import read_aligned_scan, read_voxel_file
from video3d_plugin.errors import DataError, MissingError


def test_a_scan_with_everything(full_root):
    scene = load_scene(full_root.path)
    assert (len(scene.frames), len(scene.instances), len(scene.proposals)) == (6, 2, 3)
    assert (scene.world_from_scan == shift(10, 0, 0)).all() and not scene.omissions and not scene.notes


def test_a_scan_of_only_a_sens_says_what_is_missing(scan_root):
    scene = load_scene(scan_root.write_sens().path)
    assert len(scene.frames) == 6 and not scene.instances and scene.proposals.shape == (0, 6)
    assert any("no annotated boxes" in note for note in scene.notes)
    assert any("no predicted proposals" in note for note in scene.notes)


def test_posed_images_are_taken_in_preference_to_the_sens(full_root):
    full_root.write_sens()
    assert load_scene(full_root.path).frames[1].name == "00010"


def test_the_tree_below_scannet_is_found_too(tmp_path):
    (tmp_path / "data").mkdir()
    ScanRoot(tmp_path / "data" / "scannet").write_posed_images().write_mesh().write_mask()
    ScanRoot(tmp_path / "data").write_infos()
    scene = load_scene(tmp_path / "data")
    assert len(scene.instances) == 2 and len(scene.proposals) == 3


def test_a_scan_can_be_given_by_its_own_folder(full_root):
    for folder in (full_root.posed, full_root.scan):
        if folder == full_root.scan:
            full_root.write_sens()
        assert len(load_scene(folder).instances) == 2


def test_one_scene_of_several_must_be_named(full_root):
    ScanRoot(full_root.path, "scene0007_01").write_posed_images()
    with pytest.raises(DataError, match=r"holds 2 scenes: scene0000_00, scene0007_01 \(say which"):
        load_scene(full_root.path)
    assert load_scene(full_root.path, "scene0007_01").scene_id == "scene0007_01"
    with pytest.raises(MissingError, match="no scan 'scene9'"):
        load_scene(full_root.path, "scene9")


def test_scans_without_frames_are_known(full_root):
    (full_root.path / "scans" / "scene0003_00").mkdir()
    assert ScanNetRoot(full_root.path).scans_without_frames == ("scene0003_00",)


def test_the_list_says_which_frames_count_and_in_which_order(scan_root):
    scan_root.write_posed_images().write_infos(names=["00040", "00000"])
    scene = load_scene(scan_root.path)
    assert [frame.name for frame in scene.frames] == ["00040", "00000"]


def test_the_list_also_chooses_among_the_frames_of_a_sens(scan_root):
    scan_root.frames = 35
    scan_root.write_sens().write_infos(names=["00000", "00020", "00030"])
    scene = load_scene(scan_root.path)
    assert [frame.name for frame in scene.frames] == ["00000", "00020", "00030"]
    assert "1 frames with a pose are not in the EmbodiedScan list, and are not used" in scene.notes


def test_a_path_in_the_list_is_never_followed(scan_root):
    scan_root.write_posed_images().write_infos(names=["../../../etc/passwd", "00000"])
    scene = load_scene(scan_root.path)
    assert [frame.name for frame in scene.frames] == ["00000"]
    assert [o.what for o in scene.omissions] == ["frame passwd"]


def test_the_list_and_the_meta_file_may_differ_and_then_it_is_said(full_root):
    full_root.write_infos(alignment=shift(0, 5, 0))
    scene = load_scene(full_root.path)
    assert (scene.world_from_scan == shift(0, 5, 0)).all() and "differs" in scene.notes[0]


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.eye(4) * 2, np.full((4, 4), np.nan), -np.eye(4)])
def test_an_alignment_that_is_no_rotation_is_an_error(full_root, bad):
    full_root.write_infos(alignment=bad)
    with pytest.raises(DataError, match="not a rotation"):
        load_scene(full_root.path)


def test_entries_of_other_data_sets_are_counted_as_skipped(full_root):
    infos, skipped = read_infos(full_root.path / "embodiedscan" / "embodiedscan_infos_val.pkl")
    assert list(infos) == ["scene0000_00"] and skipped == 1
    assert np.allclose(infos["scene0000_00"].depth_intrinsics, INTRINSICS)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_of_every_protocol_are_read(protocol):
    value = {"a": [1, 2.5, "x", None, True], "m": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.eye(3, 2)),
             "i": np.arange(3, dtype=">i2"), "s": np.float32(1.5), "o": OrderedDict(b=(1, 2))}  # fmt: skip
    got = load_bytes(pickle.dumps(value, protocol), "x")
    assert got["a"] == value["a"] and got["s"] == 1.5 and got["o"] == value["o"]
    for name in "mfi":
        assert (as_array(got[name], "x", name) == value[name]).all()


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def torch_save(path, value):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value))
    return path


def test_a_pickle_that_would_execute_something_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Evil()))
    for read, path in ((load_pickle, tmp_path / "a.pkl"), (load_pth, torch_save(tmp_path / "a.pth", Evil()))):
        with pytest.raises(DataError, match=r"asks for (posix|nt)\.system"):
            read(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"c__builtin__\ngetattr\n.",
        pickle.dumps(np.array([object(), []], dtype=object), 2),
    ],
)
def test_streams_that_are_no_plain_data_are_refused(data):
    with pytest.raises(DataError):
        as_array(load_bytes(data, "stream"), "stream", "it")


def test_an_array_that_claims_more_than_it_holds_is_refused():
    data = pickle.dumps(np.zeros(4)).replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85")
    with pytest.raises(DataError, match="not an array of numbers"):
        as_array(load_bytes(data, "stream"), "stream", "it")


def test_released_scans_are_read_without_torch(tmp_path):
    corners = np.array([[[x, y, z] for x in (0, 2) for y in (0, 4) for z in (1, 2)]], np.float32)
    content = {"xyz": np.zeros((5, 3), np.float32), "aabb_obj_ids": np.array([3], np.int16), "aabb_corner_xyz": corners}
    scan = read_aligned_scan(torch_save(tmp_path / "s.pth", content))
    assert scan.points.shape == (5, 3)
    assert [(i.object_id, i.box) for i in scan.instances] == [(3, (1, 2, 1.5, 2, 4, 1))]
    content.update(aabb_obj_ids=None, aabb_corner_xyz=None)
    assert read_aligned_scan(torch_save(tmp_path / "t.pth", content)).instances is None


def test_a_file_that_torch_itself_saved_is_read(tmp_path):
    import torch

    torch.save({"xyz": np.arange(6, dtype=np.float32).reshape(2, 3), "aabb_obj_ids": None}, tmp_path / "s.pth")
    assert read_aligned_scan(tmp_path / "s.pth").points.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_released_voxel_file_is_read(tmp_path):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps({"scene0000_00": [(0, -1, 2), (3, 4, 5)]}))
    assert read_voxel_file(tmp_path / "v.pkl")["scene0000_00"].tolist() == [[0, -1, 2], [3, 4, 5]]


def test_the_reference_s_own_tree_is_read(data_goldens):
    """tests/goldens/video_processor/data: the tree of LaVi-Lab/Video-3D-LLM 3ff70e8, boxes in metadata files."""
    scene = load_scene(data_goldens / "video_processor" / "data")
    assert (len(scene.frames), len(scene.instances), len(scene.proposals)) == (20, 9, 9)
    assert scene.world_from_scan[0, 3] == 0.4
