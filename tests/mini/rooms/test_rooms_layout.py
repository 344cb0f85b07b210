"""The files: ScanNet's own formats, byte for byte repeatable, and honest about what was made."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.mini.rooms import (
    EXACT,
    Counts,
    ProposalFaults,
    baselines,
    describe_split,
    guessing,
    make_benchmark,
    synthetic_scene,
)
from video3d_plugin.mini.rooms.guessing import most_frequent, template
from video3d_plugin.mini.rooms.mesh import proposals, room_mesh
from video3d_plugin.mini.rooms.objects import COLORS, KINDS

SMALL = dict(image_size=(48, 64), frames=5, progress=False, counts=Counts(6, (2, 3), 8, 8, 8))


def _hashes(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("rooms"), scenes=2, seed=11, **SMALL)


@pytest.fixture(scope="module")
def scene():
    return synthetic_scene(11, "val", 0, frames=5, counts=SMALL["counts"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(root, tmp_path):
    again = _hashes(make_benchmark(tmp_path / "again", scenes=2, seed=11, **SMALL))
    assert again == _hashes(root) and len(again) > 40
    noisy = [_hashes(make_benchmark(tmp_path / n, scenes=1, seed=11, noise="realistic", **SMALL)) for n in "ab"]
    assert noisy[0] == noisy[1]
    other = _hashes(make_benchmark(tmp_path / "other", scenes=2, seed=12, **SMALL))
    assert not set(other.values()) & set(again.values()) - {again["scannetv2-labels.combined.tsv"], *_intrinsics(again)}


def _intrinsics(hashes):
    return {h for name, h in hashes.items() if "intrinsic" in name}


def test_workers_do_not_change_the_result(root, tmp_path):
    assert _hashes(make_benchmark(tmp_path, scenes=2, seed=11, workers=2, **SMALL)) == _hashes(root)


def test_every_file_of_the_layout_is_there(root):
    ids = (root / "scannetv2_val.txt").read_text().split()
    assert len(ids) == 2 and all(re.fullmatch(r"scene\d{4}_\d{2}", i) for i in ids)
    for i in ids:
        names = {p.name for p in (root / "scans" / i).iterdir()}
        endings = (".sens", ".txt", ".aggregation.json", "_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json")
        assert names == {i + e for e in endings}
        posed = {p.name for p in (root / "posed_images" / i).iterdir()}
        assert posed == {"intrinsic.txt", "depth_intrinsic.txt"} | {
            f"{10 * n:05d}.{e}" for n in range(5) for e in ("jpg", "png", "txt")
        }
        assert (root / "mask" / f"{i}.mask.npz").is_file()
    assert {p.name for p in (root / "annotations").iterdir()} == {
        "ScanRefer_filtered_val.json", "multi3drefer_val.json", "ScanQA_v1.0_val.json",
        "v1_balanced_questions_test_scannetv2.json", "v1_balanced_sqa_annotations_test_scannetv2.json",
    }  # fmt: skip


def test_annotation_items_have_the_official_keys_and_types(root):
    files = {p.name: json.loads(p.read_text()) for p in (root / "annotations").iterdir()}
    for item in files["ScanRefer_filtered_val.json"]:
        assert {k: type(v) for k, v in item.items()} == {
            "scene_id": str, "object_id": str, "object_name": str, "ann_id": str, "description": str, "token": list,
            "eval_type": str,
        }  # fmt: skip
        assert " " not in item["object_name"] and item["description"] == item["description"].lower()
    for item in files["multi3drefer_val.json"]:
        names = "scene_id object_ids object_name ann_id eval_type description spatial color texture shape"
        assert set(item) == set(names.split())
        assert all(type(i) is int for i in (*item["object_ids"], item["ann_id"]))
    keys = [(i["scene_id"], i["ann_id"]) for i in files["multi3drefer_val.json"]]
    assert len(set(keys)) == len(keys)
    for item in files["ScanQA_v1.0_val.json"]:
        assert set(item) == {"scene_id", "question_id", "question", "answers", "object_ids", "object_names"}
        assert re.fullmatch(r"val-scene\d{4}-\d+", item["question_id"])
    questions, answers = (files[f"v1_balanced_{n}_test_scannetv2.json"] for n in ("questions", "sqa_annotations"))
    for q, a in zip(questions["questions"], answers["annotations"], strict=True):
        assert set(q) == {"scene_id", "situation", "alternative_situation", "question", "question_id"}
        assert set(a) == {"scene_id", "question_type", "answer_type", "question_id", "answers", "rotation", "position"}
        assert q["question_id"] == a["question_id"] and len(a["answers"]) == 1 and type(q["question_id"]) is int


def test_labels_are_real_scannet_categories_with_their_nyu40_ids(root, shared):
    """Against the category table of VIDEO3D_SHARED/realscan, which is ScanNet's."""

    def rows(path):
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return lines[0], {r[1]: (r[4], r[7]) for r in lines[1:]}

    header, ours = rows(root / "scannetv2-labels.combined.tsv")
    real_header, real = rows(shared / "realscan" / "scannetv2-labels.combined.tsv")
    assert header == real_header and set(ours) == {*KINDS, "wall", "floor"}
    assert {label: real[label] for label in ours} == ours


def test_sens_holds_the_posed_images(root, scene):
    """Read with a parser of its own, from the format's description."""
    content = next((root / "scans" / scene.room.scene_id).glob("*.sens")).read_bytes()
    version, length = struct.unpack_from("<IQ", content)
    at = 12 + length
    color = np.frombuffer(content, "<f4", 16, at).reshape(4, 4)
    codecs = struct.unpack_from("<iiIIIIfQ", content, at + 256)
    assert version == 4 and codecs == (2, 1, 64, 48, 64, 48, 1000.0, 5)
    posed = root / "posed_images" / scene.room.scene_id
    assert np.allclose(color, np.loadtxt(posed / "intrinsic.txt"), atol=1e-4)
    at += 256 + 36
    for n in range(5):
        pose = np.frombuffer(content, "<f4", 16, at).reshape(4, 4)
        _, _, jpeg, depth = struct.unpack_from("<QQQQ", content, at + 64)
        at += 96
        assert np.allclose(pose, np.loadtxt(posed / f"{10 * n:05d}.txt"), atol=1e-5)
        assert content[at : at + jpeg] == (posed / f"{10 * n:05d}.jpg").read_bytes()
        values = np.frombuffer(zlib.decompress(content[at + jpeg : at + jpeg + depth]), "<u2").reshape(48, 64)
        assert np.array_equal(values, _png16(posed / f"{10 * n:05d}.png"))
        at += jpeg + depth
    assert content[at:] == struct.pack("<Q", 0)


def _png16(path):
    from PIL import Image

    return np.array(Image.open(path)).astype(np.uint16)


def _read_ply(path):
    content = path.read_bytes()
    header, body = content.split(b"end_header\n", 1)
    count = int(re.search(rb"element vertex (\d+)", header).group(1))
    vertices = np.frombuffer(body, [("p", "<f4", 3), ("c", "u1", 4)], count)
    faces = np.frombuffer(body, [("n", "u1"), ("i", "<i4", 3)], offset=16 * count)
    assert int(re.search(rb"element face (\d+)", header).group(1)) == len(faces)
    return vertices["p"], vertices["c"][:, :3], faces["i"]


def test_mesh_segments_and_aggregation_give_back_the_objects_and_their_colours(root, scene):
    room, folder = scene.room, root / "scans" / scene.room.scene_id
    points, colors, faces = _read_ply(next(folder.glob("*.ply")))
    assert 3000 < len(points) < 30000 and faces.max() < len(points) and faces.min() == 0
    segments = np.array(json.loads(next(folder.glob("*.segs.json")).read_text())["segIndices"])
    groups = json.loads(next(folder.glob("*.aggregation.json")).read_text())["segGroups"]
    meta = next(folder.glob("*.txt")).read_text()
    alignment = np.array(re.search(r"axisAlignment = (.*)", meta).group(1).split(), float).reshape(4, 4)
    aligned = points @ alignment[:3, :3].T + alignment[:3, 3]
    assert {g["objectId"] for g in groups} == {t.object_id for t in (*room.things, *room.shell)}
    assert abs(np.abs(alignment - np.eye(4)).max()) > 0.1
    for group in groups:
        thing, mine = room.thing(group["objectId"]), np.isin(segments, group["segments"])
        assert group["label"] == thing.label
        assert np.allclose(aligned[mine].min(0), thing.lo, atol=1e-4) and np.allclose(
            aligned[mine].max(0), thing.hi, atol=1e-4
        )
        if thing.color:
            named = {name: int((colors[mine] == rgb).all(1).sum()) for name, rgb in COLORS.items()}
            assert max(named, key=named.get) == thing.color, thing


def test_posed_depth_and_pose_land_on_the_mesh_of_the_scan_frame(root, scene):
    """Depth back-projected by pose and intrinsics lies within the scan frame's room, its floor at the floor."""
    posed = root / "posed_images" / scene.room.scene_id
    camera, low, high = np.loadtxt(posed / "depth_intrinsic.txt"), [], []
    for n in range(5):
        depth, pose = _png16(posed / f"{10 * n:05d}.png") / 1000, np.loadtxt(posed / f"{10 * n:05d}.txt")
        v, u = np.mgrid[0:48, 0:64]
        local = np.stack(
            [(u - camera[0, 2]) / camera[0, 0], (v - camera[1, 2]) / camera[1, 1], np.ones_like(depth)], -1
        )
        points = (local * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
        world = points @ scene.room.world_from_scan[:3, :3].T + scene.room.world_from_scan[:3, 3]
        low.append(world.min((0, 1)))
        high.append(world.max((0, 1)))
    assert (np.min(low, 0) > scene.room.lo - 0.01).all() and (np.max(high, 0) < scene.room.hi + 0.01).all()
    assert abs(np.min(low, 0)[2]) < 0.01


def test_a_lost_pose_is_minus_infinity_in_both_forms(tmp_path):
    for seed in range(30):
        scene = synthetic_scene(seed, "val", 0, frames=5, counts=SMALL["counts"])
        from video3d_plugin.mini.rooms.frames import encode_frames

        lost = [f for f in encode_frames(scene, (12, 16), "realistic") if not np.isfinite(f.scan_from_camera).all()]
        if lost:
            assert len(lost) == 1 and (lost[0].scan_from_camera == -np.inf).all()
            assert not any(np.isinf(f.scan_from_camera).any() for f in encode_frames(scene, (12, 16), "none"))
            return
    pytest.fail("no seed of 30 loses a pose")


def _iou(a, b):
    common = np.prod(np.maximum(0, np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])))
    return common / (np.prod(a[1] - a[0]) + np.prod(b[1] - b[0]) - common)


def test_proposals_are_exact_without_faults_and_fail_in_each_way_with_one(scene):
    room, mesh = scene.room, room_mesh(scene.room)
    masks = proposals(room, mesh, EXACT)
    assert masks.shape == (len(room.things), len(mesh.points))
    assert {frozenset(mesh.owner[m]) for m in masks} == {frozenset((t.object_id,)) for t in room.things}
    assert len(proposals(room, mesh, ProposalFaults(missed=1.0, spurious=(0, 0)))) == 0
    halves = proposals(room, mesh, ProposalFaults(0, 1.0, 0, 0, (0, 0)))
    assert len(halves) == min(50, 2 * len(room.things))
    fused = proposals(room, mesh, ProposalFaults(0, 0, 1.0, 0, (0, 0)))
    assert all(len(set(mesh.owner[m])) == 2 for m in fused)
    assert len(proposals(room, mesh, ProposalFaults(1.0, 0, 0, 0, (3, 3)))) == 3


def test_default_proposals_find_most_objects_but_not_all():
    """What the imperfect proposals allow at best: the share of objects with a proposal at IoU 0.5."""
    found = []
    for index in range(6):
        room = synthetic_scene(2, "val", index, frames=4).room
        mesh = room_mesh(room)
        world = mesh.points @ room.world_from_scan[:3, :3].T + room.world_from_scan[:3, 3]
        boxes = [(world[m].min(0), world[m].max(0)) for m in proposals(room, mesh, ProposalFaults())]
        found += [max(_iou((t.lo, t.hi), b) for b in boxes) > 0.5 for t in room.things]
    assert 0.7 < np.mean(found) < 0.97


def test_train_and_val_share_no_scene_whatever_the_seeds(tmp_path):
    make_benchmark(tmp_path, split={"train": 3, "val": 2}, seed=0, write=("annotations",), progress=False)
    ids = [set((tmp_path / f"scannetv2_{s}.txt").read_text().split()) for s in ("train", "val")]
    assert len(ids[0]) == 3 and len(ids[1]) == 2 and not ids[0] & ids[1]
    from video3d_plugin.mini.rooms.scenes import NUMBERS, scene_number

    assert not set(NUMBERS["train"]) & set(NUMBERS["val"])
    for split, numbers in NUMBERS.items():
        drawn = [scene_number(split, 123456789, i) for i in range(len(numbers))]
        assert sorted(drawn) == list(numbers)
    assert not (tmp_path / "posed_images").exists() and not list(tmp_path.glob("scans/*/*.ply"))
    assert (tmp_path / "annotations" / "v1_balanced_questions_train_scannetv2.json").is_file()


WRONG = [
    dict(scenes=0),
    dict(scenes=2, split="test"),
    dict(scenes=2, split={"val": 1}),
    dict(scenes=10**6),
    dict(scenes=1, noise="loud"),
    dict(scenes=1, write=("video",)),
    dict(scenes=1, frames=0),
    dict(scenes=1, image_size=(240, 1)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_request_is_one_clear_error_and_writes_nothing(tmp_path, wrong):
    with pytest.raises(DataError) as caught:
        make_benchmark(tmp_path / "out", **wrong)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_counts_of_nothing_give_empty_files_and_impossible_counts_an_error(tmp_path):
    none = Counts(objects=0, multi3drefer=0, scanqa=0, sqa3d=0)
    make_benchmark(tmp_path, scenes=1, write=("annotations",), counts=none, progress=False)
    described = describe_split(tmp_path)
    assert [described[k]["total"] for k in ("scanrefer", "multi3drefer", "scanqa", "sqa3d")] == [0, 0, 0, 0]
    for wrong in (dict(references=(0, 2)), dict(references=(3, 2)), dict(scanqa=-1)):
        with pytest.raises(DataError):
            Counts(**wrong)


def test_describe_split_counts_and_names_the_split_by_its_content(root, tmp_path):
    described = describe_split(root)
    items = json.loads((root / "annotations" / "multi3drefer_val.json").read_text())
    assert described["scenes"] == 2 and described["multi3drefer"]["total"] == len(items) == 16
    assert described["made_with"]["seed"] == 11 and 50 < described["vocabulary"] < 400
    assert len(described["sha256"]) == 64
    other = make_benchmark(tmp_path, scenes=2, seed=12, write=("annotations",), **{k: v for k, v in SMALL.items()})
    assert describe_split(other)["sha256"] != described["sha256"]
    with pytest.raises(MissingError, match="make_benchmark"):
        describe_split(root, "train")


def test_most_frequent_answer_by_hand():
    color, number = "what color is the bed?", "how many beds are there?"
    score = [("a", color, ["red"]), ("b", "what color is the chair?", ["red"])]
    score += [("c", "what color is the red chair?", ["blue"]), ("c", number, ["2", "two"]), ("d", color, ["red"])]
    assert template("What color is the red coffee table next to the bed?") == "what color is the NOUN next to the NOUN?"
    assert most_frequent(score, score, template, alone=False) == [True, True, False, True, True]
    # Left out its own scene, the question about beds knows nothing and takes the most frequent answer of all: red.
    assert most_frequent(score, score, template, alone=True) == [True, True, False, False, True]
    assert most_frequent([], score, template, alone=False) == [False] * 5


def test_the_situation_is_among_the_words_that_naive_bayes_reads(root):
    (_, text, _) = guessing.load_sqa3d(root, "val")[0]
    question = guessing.read_annotations(root, guessing.FILES["sqa3d_questions"], "val")["questions"][0]
    assert text.startswith(question["situation"]) and text.endswith(question["question"])
    assert guessing.template(text) == guessing.template(question["question"])


def test_guessing_from_the_words_alone_earns_little_on_the_whole_and_is_told_by_kind(tmp_path):
    make_benchmark(tmp_path, split={"train": 16, "val": 8}, seed=3, write=("mesh", "annotations"), progress=False)
    scores = baselines(tmp_path)
    assert scores["scanqa"]["questions"] >= 150 and scores["sqa3d"]["questions"] >= 120
    for task in ("scanqa", "sqa3d"):
        assert max(scores[task][k] for k in ("most_frequent", "per_template", "per_question")) < 40, scores[task]
    assert scores["scanrefer"]["multiple_share"] > 60 and scores["scanrefer"]["multiple_random_of_class"] < 50
    assert scores["multi3drefer"]["none_always"] < 35 and scores["multi3drefer"]["none_by_words"] < 70
    assert scores["sqa3d"]["naive_bayes"] < 40 and scores["scanqa"]["naive_bayes"] < 40
    for task, kinds in (("scanqa", 6), ("sqa3d", 7)):
        counts = {key.removeprefix("questions_"): n for key, n in scores[task].items() if key.startswith("questions_")}
        assert sum(counts.values()) == scores[task]["questions"] and "unknown" not in counts and len(counts) >= kinds
        mean = sum(n * scores[task][f"per_template_{kind}"] for kind, n in counts.items()) / sum(counts.values())
        assert mean == pytest.approx(scores[task]["per_template"], abs=0.01)
        assert all(f"naive_bayes_{kind}" in scores[task] for kind in counts)
    assert scores["scanqa"]["naive_bayes_exists"] > 40, "one of two answers"
    if importlib.util.find_spec("pycocoevalcap"):
        assert scores["scan2cap"]["of_any"] < 40 < scores["scan2cap"]["of_class_and_color"]
