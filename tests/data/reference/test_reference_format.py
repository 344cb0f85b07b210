"""`--format reference` on made-up scans: gaps, splits, normals, exported .sens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_up_scan import ScanRoot, color, depth_mm

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.pickles import as_array, load_pth
from video3d_plugin.data.readers.sens_export import export_sens
from video3d_plugin.data.reference.export import boxes_by_place
from video3d_plugin.data.reference.scan import vertex_normals


@pytest.fixture
def exported(full_root, tmp_path):
    report = prepare(full_root.path, tmp_path / "data", reference=True)
    return tmp_path / "data" / "reference", report


def read(path):
    return json.loads(path.read_text())


def test_a_scan_with_gaps_in_its_ids_is_kept_and_place_is_id(full_root, exported):
    folder, report = exported
    boxes = read(folder / "metadata" / "scannet_val_gt_box.json")["scannet/scene0000_00"]
    assert boxes == boxes_by_place(load_scene(full_root.path))
    assert len(boxes) == 5 and boxes[4] == [14.5, 1, 1.5, 1, 2, 3] and boxes[0] == boxes[2] == boxes[3] == [0] * 6
    assert any("gaps in its object ids" in note for note in report.notes)


def test_scannet_s_lists_decide_the_split(full_root, tmp_path):
    (full_root.path / "scannetv2_train.txt").write_text("scene0000_00\nscene0002_00\n")
    prepare(full_root.path, tmp_path / "data", reference=True)
    metadata = tmp_path / "data" / "reference" / "metadata"
    assert read(metadata / "scannet_train_gt_box.json") and not read(metadata / "scannet_val_gt_box.json")
    assert (metadata.parent / "scannet" / "pcd_with_object_aabbs" / "train" / "scene0000_00.pth").is_file()


def test_a_scan_of_which_no_frames_can_be_chosen_is_noted(full_root, tmp_path):
    path = full_root.posed / "00020.png"
    path.write_bytes(path.read_bytes()[:60])
    report = prepare(full_root.path, tmp_path / "data", reference=True, scene=SceneOptions(check="headers"))
    assert read(tmp_path / "data" / "reference" / "metadata" / "scannet_select_frames.json") == []
    assert any("scene0000_00: no selected frames: " in note and "00020.png" in note for note in report.notes)


def test_sqa3d_items_by_hand(exported):
    (item,) = read(exported[0] / "processed" / "sqa3d_test_llava_style.json")
    assert item["conversations"][0]["value"].startswith("<image> I stand. Is it red? Answer") and item["id"] == 7
    assert item["metadata"] == {"dataset": "sqa3d", "question_type": "is"}


def test_annotations_behind_a_link_are_written_where_links_are_followed(full_root, tmp_path, exported):
    (full_root.path / "annotations").rename(tmp_path / "elsewhere")
    (full_root.path / "annotations").symlink_to(tmp_path / "elsewhere")
    prepare(full_root.path, tmp_path / "followed", reference=True, scene=SceneOptions(follow_links=True))
    written = {path.name for path in (tmp_path / "followed" / "reference" / "processed").iterdir()}
    assert written == {path.name for path in (exported[0] / "processed").iterdir()}


def test_labels_of_vertices_by_hand(exported):
    path = exported[0] / "scannet" / "pcd_with_object_aabbs" / "val" / "scene0000_00.pth"
    scan = load_pth(path)
    assert as_array(scan["sem_labels"], path, "labels").tolist() == [4] * 8 + [12] * 8  # chair 5, desk 14
    assert as_array(scan["instance_ids"], path, "ids").tolist() == [1] * 8 + [4] * 8
    assert as_array(scan["rgb"], path, "rgb")[0].tolist() == [1, 2, 3]


def test_the_same_source_gives_the_same_bytes(full_root, tmp_path, exported):
    prepare(full_root.path, tmp_path / "again", reference=True)
    for path in exported[0].rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / "reference" / path.relative_to(exported[0])
            assert other.read_bytes() == path.read_bytes(), path.name


def test_the_tree_it_writes_is_one_that_it_reads(full_root, tmp_path, exported):
    """metadata and .pth stand in for the mesh, as in the released data."""
    tree = ScanRoot(tmp_path / "tree" / "data").write_infos()
    exported[0].joinpath("metadata").rename(tree.path / "metadata")
    exported[0].joinpath("scannet").rename(tree.path / "scannet")
    full_root.posed.parent.rename(tree.path / "scannet" / "posed_images")
    direct = DataFolder.open(tmp_path / "data").scene("scene0000_00")
    scene = load_scene(tree.path)
    assert [i.object_id for i in scene.instances] == [1, 4]
    np.testing.assert_allclose([i.box for i in scene.instances], [i.box for i in direct.instances])
    np.testing.assert_allclose(scene.proposals, direct.proposals)


def test_the_released_voxels_stand_in_for_a_mesh(full_root, tmp_path, exported):
    tree = ScanRoot(tmp_path / "tree" / "data").write_infos()
    exported[0].joinpath("metadata").rename(tree.path / "metadata")
    full_root.posed.parent.rename(tree.path / "posed_images")
    prepare(tree.path, tmp_path / "again")
    folders = [DataFolder.open(tmp_path / name) for name in ("data", "again")]
    first, again = (folder.surface_cells("scene0000_00") for folder in folders)
    assert sorted(map(tuple, again.tolist())) == sorted(map(tuple, first.tolist()))
    assert folders[0].frames("scene0000_00", "mc", 3) == folders[1].frames("scene0000_00", "mc", 3)


def test_normals_point_away_from_the_faces_by_area():
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 1], [9, 9, 9.0]])
    normals = vertex_normals(vertices, np.array([[0, 1, 2], [0, 3, 1]]))
    assert np.allclose(normals[2], [0, 0, 1]) and np.allclose(normals[3], [0, 1, 0])
    assert np.allclose(normals[0], np.array([0, 2, 4]) / np.sqrt(20))  # areas 2 and 1
    assert np.allclose(normals[4], [0, 0, 1])


def test_an_exported_sens_is_the_scan_again(scan_root, tmp_path):
    scan_root.write_sens()
    path = scan_root.scan / "scene0000_00.sens"
    assert export_sens(path, tmp_path / "frames") == 6
    sens, posed = load_scene(path), load_scene(tmp_path / "frames")
    assert [f.name for f in posed.frames] == [f.name for f in sens.frames]
    for index, (a, b) in enumerate(zip(sens.frames, posed.frames, strict=True)):
        assert a.color.read() == b.color.read()  # not encoded again
        from video3d_plugin.data.frames import open_color, read_depth

        assert (read_depth(b) == depth_mm(index)).all() and np.asarray(open_color(b)).shape == color(index).shape
        np.testing.assert_allclose(a.scan_from_camera, b.scan_from_camera, atol=1e-6)


def test_an_interrupted_export_continues_with_the_frames_that_lack(scan_root, tmp_path):
    scan_root.write_sens()
    path = scan_root.scan / "scene0000_00.sens"
    export_sens(path, tmp_path / "frames")
    (tmp_path / "frames" / "00003.txt").unlink()
    (tmp_path / "frames" / "00003.png").write_bytes(b"half")
    (tmp_path / "frames" / "00004.png").write_bytes(b"kept: its pose is there")
    export_sens(path, tmp_path / "frames")
    assert (tmp_path / "frames" / "00003.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "frames" / "00004.png").read_bytes() == b"kept: its pose is there"
