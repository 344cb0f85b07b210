"""Proposals from annotated boxes, from a file, and from a maker, as `prepare` and `load_scene` take them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.prepare_scene import SceneOptions
from video3d_plugin.data.proposals import first_proposals, with_proposals
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError, MissingError


def boxes_of(root, tmp_path, kind, **more):
    prepare(root.path, tmp_path / "data", scene=SceneOptions(proposals=str(kind), **more))
    return DataFolder.open(tmp_path / "data").scene("scene0000_00")


def test_annotated_boxes_as_proposals(full_root, tmp_path):
    scene = boxes_of(full_root, tmp_path, "gt")
    assert scene.proposals.tolist() == [list(i.box) for i in scene.instances]
    assert "proposals are the annotated boxes" in scene.notes


def test_boxes_of_a_file_as_proposals_and_a_changed_file_is_noticed(full_root, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"scene0000_00": [[0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2]]}))
    assert boxes_of(full_root, tmp_path, path).proposals.tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2]]
    path.write_text(json.dumps({"scannet/scene0000_00": [[5, 5, 5, 1, 1, 1]]}))
    assert boxes_of(full_root, tmp_path, path).proposals.tolist() == [[5, 5, 5, 1, 1, 1]]
    path.write_text(json.dumps({"scene0001_00": []}))
    scene = boxes_of(full_root, tmp_path, path)
    assert len(scene.proposals) == 0 and "no proposals in mine.json" in scene.notes


@pytest.mark.parametrize("rows", [[[1, 2, 3]], [["a"] * 6], 5, [[0, 0, 0, 1, 1, -1]], [[0, 0, 0, 1, 1, 1e999]], None])
def test_a_file_that_holds_no_boxes_is_named(full_root, tmp_path, rows):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"scene0000_00": rows}))
    if rows is None:
        assert len(boxes_of(full_root, tmp_path, path).proposals) == 0
        return
    with pytest.raises(DataError, match=r"no usable scan.*mine\.json: `boxes of scene0000_00"):
        boxes_of(full_root, tmp_path, path)


def test_a_file_that_is_not_there_is_named(full_root, tmp_path):
    with pytest.raises(MissingError, match=r"none\.json"):
        boxes_of(full_root, tmp_path, tmp_path / "none.json")


def test_an_unknown_source_of_proposals_lists_the_known():
    with pytest.raises(DataError, match=r"proposals='mask4d' \(did you mean 'mask3d'\? known: mask3d, gt, auto"):
        SceneOptions(proposals="mask4d")


def test_scores_and_views_of_auto_are_stored(room_root, tmp_path):
    prepare(room_root, tmp_path / "data", scene=SceneOptions(proposals="auto"))
    data = DataFolder.open(tmp_path / "data")
    scene = data.scene(data.scene_ids[0])
    made = load_scene(room_root, data.scene_ids[0], proposals="auto")
    assert len(made.proposals) and "proposals are made from depth and poses (auto)" in scene.notes
    assert np.array_equal(scene.proposals, made.proposals) and np.array_equal(
        scene.proposal_scores, made.proposal_scores
    )
    assert scene.proposal_views == made.proposal_views and len(scene.proposal_views) == len(scene.proposals)
    assert {name for names in scene.proposal_views for name in names} <= {frame.name for frame in scene.frames}


def test_records_of_proposals_without_scores_have_no_further_fields(full_root, tmp_path):
    prepare(full_root.path, tmp_path / "data")
    record = json.loads((tmp_path / "data" / "scenes" / "scene0000_00.json").read_text())
    assert record["proposals"] and not [name for name in record if name.startswith("proposal_")]


@pytest.mark.parametrize("field, value", [("scores", [0.5] * 9), ("labels", ["chair"]), ("views", [["a"], ["b"]])])
def test_a_record_with_another_number_of_scores_is_broken(full_root, tmp_path, field, value):
    prepare(full_root.path, tmp_path / "data")
    path = tmp_path / "data" / "scenes" / "scene0000_00.json"
    record = json.loads(path.read_text())
    record["proposals"] = [[0, 0, 0, 1, 1, 1]] * 3
    path.write_text(json.dumps(record | {f"proposal_{field}": value}))
    with pytest.raises(DataError, match="not one score, label and list of frames for each proposal"):
        DataFolder.open(tmp_path / "data").scene("scene0000_00")


def test_the_scenes_own_proposals_stay_unless_a_source_is_named(full_root):
    scene = load_scene(full_root.path)
    assert len(scene.proposals) and with_proposals(scene) is scene
    annotated = with_proposals(scene, "gt")
    assert annotated.proposal_labels == tuple(instance.label for instance in scene.instances)
    assert len(first_proposals(annotated, 1).proposals) == 1 == len(first_proposals(annotated, 1).proposal_labels)


@pytest.mark.parametrize("source", ["auto:fast", "nothing:auto", "", "boxes.txt"])
def test_what_is_no_source_of_proposals_is_refused(scan_root, source):
    scan_root.write_posed_images()
    with pytest.raises(DataError, match="known: mask3d, gt, auto|auto takes no argument"):
        load_scene(scan_root.path, proposals=source)
