"""The maker "detector" on made-up rooms: recall with perfect and with faulty masks, and the way from a scan on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_onnx import detector_file

from video3d_plugin.data.proposals import replace_proposals
from video3d_plugin.data.proposals.detector import parse_argument
from video3d_plugin.data.proposals.detector.lifting import View
from video3d_plugin.data.proposals.detector.models.detection import Detection
from video3d_plugin.data.proposals.detector.shared_surface import SharedSurface
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.iou import iou_matrix
from video3d_plugin.mini.rooms import make_benchmark, synthetic_scene
from video3d_plugin.mini.rooms.instance_masks import instance_masks, with_faults
from video3d_plugin.mini.rooms.render import intrinsics

SIZE = (120, 160)  # small: benchmarks/detector_lifting.py has the figures of 320x240 and 40 frames


@pytest.fixture(scope="module")
def room():
    """(scene, views, masks of each view)."""
    scene = synthetic_scene(0, "val", 2, frames=20)
    views = [View(scene.frame(i, SIZE)[1], intrinsics(*SIZE), pose) for i, pose in enumerate(scene.poses)]
    return scene, views, [instance_masks(scene, i, SIZE) for i in range(len(views))]


def found_in(views, masks, order=None):
    order = range(len(views)) if order is None else order
    surface = SharedSurface([views[i] for i in order])
    lifted = [
        surface.lift(number, Detection("thing", 0.9, mask=mask)) for number, i in enumerate(order) for mask in masks[i]
    ]
    return surface.merge(lifted)


def recall(scene, objects):
    overlaps = iou_matrix(np.array([found.box for found in objects]), np.array([t.box for t in scene.room.things]))
    return (overlaps.max(0) >= 0.5).mean()


def test_perfect_masks_find_nearly_all_objects(room):
    scene, views, masks = room
    objects = found_in(views, masks)
    assert recall(scene, objects) >= 0.85 and len(objects) <= len(scene.room.things) + 2
    assert {found.label for found in objects} == {"thing"} and all(0 < found.score < 0.9 for found in objects)


def test_a_fifth_of_faulty_masks_costs_little(room):
    scene, views, masks = room
    rng = np.random.default_rng(0)
    assert recall(scene, found_in(views, [with_faults(of_view, 0.2, rng) for of_view in masks])) >= 0.75


def test_the_order_of_views_does_not_change_the_boxes(room):
    _, views, masks = room
    plain = found_in(views, masks)
    shuffled = found_in(views, masks, np.random.default_rng(1).permutation(len(views)))
    assert [found.box.tolist() for found in plain] == [found.box.tolist() for found in shuffled]


def test_an_object_is_scored_by_the_views_that_see_it_and_named_by_most_score(room):
    _, views, masks = room
    surface = SharedSurface(views[:1] * 4)
    largest = max(masks[0], key=np.sum)
    labels = [("chair", 0.9), ("table", 0.5), ("table", 0.5)]
    lifted = [surface.lift(view, Detection(label, score, mask=largest)) for view, (label, score) in enumerate(labels)]
    (found,) = surface.merge(lifted)
    assert found.label == "table" and found.views == (0, 1, 2) and found.score == pytest.approx(1.9 / 5)


def test_faults_leave_out_split_and_merge(room):
    masks = room[2][0]
    rng = np.random.default_rng(0)
    assert with_faults(masks, 0.0, rng) == masks
    spoiled = [with_faults(masks, 1.0, np.random.default_rng(seed)) for seed in range(20)]
    within = [sum(any(not (mask & ~whole).any() for whole in masks) for mask in each) for each in spoiled]
    whole = [sum(any(np.array_equal(mask, other) for other in masks) for mask in each) for each in spoiled]
    assert min(map(len, spoiled)) < len(masks)  # left out
    assert any(inside < len(each) for inside, each in zip(within, spoiled, strict=True))  # merged
    assert any(same < inside for same, inside in zip(whole, within, strict=True))  # split


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    root = make_benchmark(
        tmp_path_factory.mktemp("rooms"), scenes=1, seed=0, frames=6, image_size=SIZE, write=("posed_images",),
        progress=False,
    )  # fmt: skip
    (folder,) = (root / "posed_images").iterdir()
    return load_scene(folder)


@pytest.fixture
def model(tmp_path):
    """A file that sees one chair in the middle of every image."""
    path = tmp_path / "chairs.onnx"
    bias = np.array([12, 8, 36, 24, 0.8, 1.0])
    path.write_bytes(detector_file(np.zeros((3, 6)), bias, (1, 1, 6), (32, 48)))
    path.with_suffix(".json").write_text(json.dumps({"size": [48, 32], "labels": ["person", "chair"]}))
    return path


def test_a_detector_file_makes_proposals_of_a_scan_with_labels_scores_and_views(scan, model):
    scene = replace_proposals(scan, f"detector:{model}")
    assert len(scene.proposals) and set(scene.proposal_labels) == {"chair"}
    assert (scene.proposal_scores > 0).all() and (np.diff(scene.proposal_scores) <= 0).all()
    names = {frame.name for frame in scan.frames}
    assert all(views and set(views) <= names for views in scene.proposal_views)
    assert scene.notes[-1] == "proposals are of the detector chairs.onnx: 6 detections in 6 frames"


def test_names_that_the_detector_never_sees_give_no_proposals(scan, model):
    scene = replace_proposals(scan, f"detector:{model};classes=person")
    assert scene.proposals.shape == (0, 6) and scene.proposal_labels == ()


def test_only_the_best_detections_of_a_frame_are_merged(scan, model, monkeypatch):
    from video3d_plugin.data.proposals import detector

    def detect(image):
        return [Detection("rest", 0.4, box=np.array([0, 0, 1, 1]))] * 500 + [
            Detection("best", 0.9, box=np.array([0.25, 0.25, 0.75, 0.75]))
        ]

    monkeypatch.setattr(detector, "load_detector", lambda model, classes: detect)
    scene = replace_proposals(scan, f"detector:{model}")
    assert scene.proposal_scores.max() > 0.4 and scene.notes[-1].endswith("384 detections in 6 frames")


def test_the_limit_keeps_the_best(scan, model):
    every, one = replace_proposals(scan, f"detector:{model}"), replace_proposals(scan, f"detector:{model}", limit=1)
    assert np.array_equal(one.proposals, every.proposals[:1])


def test_the_argument_is_a_model_with_or_without_names():
    assert parse_argument("IDEA-Research/grounding-dino-tiny;classes=chair, coffee table,chair,") == (
        "IDEA-Research/grounding-dino-tiny", ("chair", "coffee table"),
    )  # fmt: skip
    assert parse_argument("a folder") == ("a folder", ())
    assert parse_argument("models/owl;classes=chair|table") == ("models/owl", ("chair", "table"))


@pytest.mark.parametrize("argument", ["", " ", ";classes=chair", "model;classes= , "])
def test_an_argument_without_a_model_or_without_names_is_refused(argument):
    with pytest.raises(DataError, match="names no model|no names of objects"):
        parse_argument(argument)


def test_a_detector_that_does_not_exist_is_one_line(scan):
    with pytest.raises(MissingError, match=r"none\.onnx: file not found"):
        replace_proposals(scan, "detector:none.onnx")
