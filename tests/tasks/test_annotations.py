"""The five benchmarks' files: prompts, docs and questions by hand; what cannot be used is counted or named."""

from __future__ import annotations

import json

import pytest
from made_up_scan import annotation_files

from video3d_plugin.data.annotation_files import find_files
from video3d_plugin.errors import DataError
from video3d_plugin.tasks import get, scan2cap
from video3d_plugin.tasks.annotations import Context, SceneBoxes
from video3d_plugin.tasks.object_classes import Labels

SCENE = "scene0000_00"
CHAIR, DESK = (0, 0, 0, 1, 1, 1), (4.0, 0, 0, 2, 2, 2)


@pytest.fixture
def folder(tmp_path):
    for name, content in annotation_files(SCENE).items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def context(boxes=None, proposals=(), labels=None, scene=SCENE):
    boxes = {1: CHAIR, 4: DESK} if boxes is None else boxes
    return Context({scene: SceneBoxes(boxes, list(proposals))}, labels)


def read(folder, task, split, ctx=None):
    files, _ = find_files([folder])
    spec, ctx = get(task), ctx or context()
    items = spec.read(files[task, split])
    return spec.docs(items, split, ctx), spec.questions(items, split, ctx)


LABELS = Labels({"chair": "chair", "desk": "desk"}, {"chair": 5, "desk": 14})


def test_files_are_found_by_their_official_names_in_any_folder(tmp_path):
    for index, (name, content) in enumerate(annotation_files(SCENE).items()):
        folder = tmp_path / "a" / str(index)
        folder.mkdir(parents=True)
        (folder / name).write_text(json.dumps(content))
    files, notes = find_files([tmp_path])
    assert set(files) == {
        ("scanrefer", "val"),
        ("multi3drefer", "val"),
        ("scan2cap", "val"),
        ("scanqa", "val"),
        ("scanqa", "test_wo_obj"),
        ("sqa3d", "test"),
    }
    assert notes == []


def test_half_of_a_pair_of_files_is_noted(folder):
    (folder / "v1_balanced_sqa_annotations_test_scannetv2.json").unlink()
    files, notes = find_files([folder])
    assert ("sqa3d", "test") not in files and "sqa3d test is left out" in notes[0]


def test_a_file_found_twice_is_taken_from_the_first_root_and_noted(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "multi3drefer_val.json").write_text("[]")
    files, notes = find_files([folder, other])
    assert files["multi3drefer", "val"] == (folder / "multi3drefer_val.json",) and "found twice" in notes[0]


def test_a_file_may_be_given_itself_and_one_of_another_name_is_noted(folder):
    other = folder / "my_questions.json"
    other.write_text("[]")
    files, notes = find_files([folder / "multi3drefer_val.json", other])
    assert files == {("multi3drefer", "val"): (folder / "multi3drefer_val.json",)}
    assert notes == [f"{other} does not have the name of an official annotation file and is not used"]


def test_a_folder_that_is_a_link_out_of_the_root_is_noted_or_followed(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "annotations").symlink_to(folder)
    (root / "again").symlink_to(root)
    files, notes = find_files([root])
    assert files == {} and len(notes) == 1
    assert f"{root / 'annotations'} is a link out of {root} and is not searched (--follow-links" in notes[0]
    assert ("multi3drefer", "val") in find_files([root], follow_links=True)[0]


def test_scanrefer_by_hand(folder):
    docs, questions = read(folder, "scanrefer", "val", context(labels=LABELS))
    assert docs[1] == {
        "task": "scanrefer",
        "split": "val",
        "item_id": f"{SCENE}|4|0",
        "scene_id": SCENE,
        "object_id": "4",
        "object_name": "desk",
        "ann_id": "0",
        "description": "a DESK, brown.",
        "token": ["a", "DESK,", "brown."],
        "eval_type": "unique",
        "multiple": False,
        "others": False,
        "gt_box": list(DESK),
        "prompt": "<image>Identify the object according to the following description.\nA desk, brown.",
    }
    assert questions[1].answer == "<ground>" and questions[1].targets == (4,) and questions[1].is_grounding


def test_without_the_label_table_the_groups_are_those_of_the_file_or_unknown(folder):
    path = folder / "ScanRefer_filtered_val.json"
    items = json.loads(path.read_text())
    items[0]["eval_type"] = "multiple"
    path.write_text(json.dumps(items))
    docs, _ = read(folder, "scanrefer", "val")
    assert [doc["eval_type"] for doc in docs] == ["multiple", "unknown", "unknown"]
    assert docs[0]["multiple"] is None


def test_multi3drefer_by_hand(folder):
    docs, questions = read(folder, "multi3drefer", "val")
    assert [doc["gt_boxes"] for doc in docs] == [[list(CHAIR)], [list(DESK), list(CHAIR)], []]
    assert [question.targets for question in questions] == [(1,), (4, 1), ()]
    assert all(question.is_grounding for question in questions)
    assert docs[0]["prompt"] == (
        "<image>Identify the object according to the following description.\nThe chairs\n"
        "There may be no corresponding object, or there may be one or more objects."
    )


def test_scan2cap_is_one_doc_an_object_with_all_its_descriptions(folder):
    near = [0.1, 0, 0, 1, 1, 1]
    docs, questions = read(folder, "scan2cap", "val", context(proposals=[[9, 9, 9, 1, 1, 1], near]))
    chair, desk = docs
    assert chair["references"] == ["this is a chair.", "it again"] and chair["item_id"] == f"{SCENE}|1|chair"
    assert chair["box"] == near and chair["coords"] == [near[:3]] and chair["box_iou"] == pytest.approx(0.9 / 1.1)
    assert desk["box"] is None and desk["coords"] == [] and desk["gt_box"] == list(DESK)
    assert chair["prompt"] == "<image> Given an object located at <coord> , describe the object in detail."
    assert [q.answer for q in questions] == ["This is a chair.", "A desk, brown.", "It again"]
    assert questions[1].coords == ((4.0, 0, 0),) and questions[1].targets is None
    assert {q.item_id.split("|")[1] for q in questions} == {"1", "4"}


@pytest.mark.parametrize("shift, found", [(0.0, True), (0.3, True), (0.34, False)])
def test_the_oracle_wants_half_an_overlap(shift, found):
    box, iou = scan2cap.oracle_proposal([[shift, 0, 0, 1, 1, 1]], CHAIR)  # IoU = (1 - s) / (1 + s)
    assert (box is not None) is found and (iou is None or iou == pytest.approx((1 - shift) / (1 + shift)))


def test_the_oracle_takes_the_first_of_equal_proposals_and_none_of_none():
    same = [[0, 0, 0, 1, 1, 1.0], [0, 0, 0, 1, 1, 1.0]]
    assert scan2cap.oracle_proposal(same, CHAIR)[0] == same[0]
    assert scan2cap.oracle_proposal([], CHAIR) == (None, None)


def test_scanqa_by_hand(folder):
    docs, questions = read(folder, "scanqa", "val")
    assert docs[0]["prompt"] == "<image> What is it? Answer the question simply."
    assert docs[0]["answers"] == ["a chair", "chair"]
    assert [(q.item_id, q.answer) for q in questions] == [
        ("val-scene0000-0_0", "a chair"),
        ("val-scene0000-0_1", "chair"),
    ]


def test_scanqa_test_splits_have_no_answers(folder):
    docs, questions = read(folder, "scanqa", "test_wo_obj")
    assert docs[0]["answers"] == [] and docs[0]["question_id"] == "val-scene0000-0" and questions == []


def test_sqa3d_by_hand(folder):
    docs, questions = read(folder, "sqa3d", "test")
    assert docs[0]["prompt"] == "<image> I stand. Is it red? Answer the question using a single word or phrase."
    assert (docs[0]["answer"], docs[0]["question_type"], docs[0]["question_id"]) == ("yes", "is", 7)
    assert docs[0]["position"] == [1.5, 2.0, 0.0] and docs[0]["rotation"] == [0, 0, 1, 0]
    assert [q.prompt.split(".")[0] for q in questions] == ["<image> I sit", "<image> I lie", "<image> I stand"]


@pytest.mark.parametrize("x", [float("nan"), float("inf"), 10**400, None])
def test_a_situation_at_no_finite_place_says_nothing_of_it(folder, x):
    path = folder / "v1_balanced_sqa_annotations_test_scannetv2.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["position"]["x"] = x
    path.write_text(json.dumps(content))
    docs, questions = read(folder, "sqa3d", "test")
    assert docs[0]["position"] == [] and len(questions) == 3


@pytest.mark.parametrize(
    "task, split, name, field, value",
    [
        ("scanqa", "val", "ScanQA_v1.0_val.json", "object_ids", None),
        ("scanqa", "val", "ScanQA_v1.0_val.json", "object_ids", ["4"]),
        ("scanqa", "val", "ScanQA_v1.0_val.json", "object_names", "chair"),
        ("sqa3d", "test", "v1_balanced_questions_test_scannetv2.json", "alternative_situation", None),
        ("sqa3d", "test", "v1_balanced_questions_test_scannetv2.json", "alternative_situation", "abc"),
        ("sqa3d", "test", "v1_balanced_questions_test_scannetv2.json", "question_id", ""),
        ("sqa3d", "test", "v1_balanced_questions_test_scannetv2.json", "scene_id", "a\x1b[2J"),
        ("scanqa", "val", "ScanQA_v1.0_val.json", "question_id", ""),
        ("scanqa", "val", "ScanQA_v1.0_val.json", "question", "x" * 5001),
        ("scanrefer", "val", "ScanRefer_filtered_val.json", "scene_id", ""),
        ("scanrefer", "val", "ScanRefer_filtered_val.json", "ann_id", ""),
        ("scanrefer", "val", "ScanRefer_filtered_val.json", "object_id", True),
        ("scanrefer", "val", "ScanRefer_filtered_val.json", "eval_type", ["unique"]),
        ("multi3drefer", "val", "multi3drefer_val.json", "spatial", "no"),
        ("multi3drefer", "val", "multi3drefer_val.json", "eval_type", {}),
    ],
)
def test_a_field_of_another_kind_is_named(folder, task, split, name, field, value):
    content = json.loads((folder / name).read_text())
    (content if isinstance(content, list) else content["questions"])[0][field] = value
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"{name}: item 0\b.*\b{field}\b"):
        read(folder, task, split)


def test_docs_are_a_table_that_datasets_takes(folder):
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'video3d-plugin[eval]'")
    for key in find_files([folder])[0]:
        docs, _ = read(folder, *key)
        assert len(datasets.Dataset.from_list(docs)) == len(docs) > 0


def test_items_of_an_unknown_scene_are_counted(folder):
    ctx = context(scene="scene0001_00")
    for key in find_files([folder])[0]:
        docs, questions = read(folder, *key, ctx)
        assert docs == [] and questions == []
    assert set(ctx.skipped) == {("scene is not among the prepared ones", SCENE)}


def test_items_of_an_unknown_object_are_counted(folder):
    ctx = context(boxes={1: CHAIR})
    docs, _ = read(folder, "multi3drefer", "val", ctx)
    assert [doc["ann_id"] for doc in docs] == [0, 2]
    assert ctx.skipped == {("object has no annotated box", f"{SCENE} object 4"): 2}  # once a doc, once a question


@pytest.mark.parametrize(
    "content, message",
    [
        ("nonsense", "not valid JSON"),
        ("{}", "expected a JSON list"),
        ("[1]", "item 0 is a int"),
        ('[{"scene_id": "s"}]', "item 0 has no"),
        ('[{"scene_id": 5, "object_id": "1", "object_name": "a", "ann_id": "0", "description": "d"}]', "scene_id = 5"),
        (
            '[{"scene_id": "s", "object_id": "-1", "object_name": "a", "ann_id": "0", "description": "d"}]',
            "object id '-1'",
        ),
        (
            '[{"scene_id": "s", "object_id": true, "object_name": "a", "ann_id": "0", "description": "d"}]',
            "object_id = True",
        ),
        (
            '[{"scene_id": "s", "object_id": "1", "object_name": "a", "ann_id": "0", "description": null}]',
            "description = None",
        ),
    ],
)
def test_a_file_that_is_not_the_official_one_is_named(folder, content, message):
    path = folder / "ScanRefer_filtered_val.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read(folder, "scanrefer", "val")
    assert str(path) in str(caught.value)


def test_annotations_without_their_question_are_an_error(folder):
    (folder / "v1_balanced_questions_test_scannetv2.json").write_text('{"questions": []}')
    with pytest.raises(DataError, match="no question 7 in v1_balanced_questions"):
        read(folder, "sqa3d", "test")


def test_the_whole_real_sqa3d_test_split_is_read(shared):
    """VIDEO3D_SHARED/sqa3d: the 3,519 official test questions (CC-BY-4.0)."""
    files, _ = find_files([shared / "sqa3d"])
    items = get("sqa3d").read(files["sqa3d", "test"])
    scenes = {item["scene_id"]: SceneBoxes({}, []) for item in items}
    docs = get("sqa3d").docs(items, "test", Context(scenes))
    kinds = [doc["question_type"] for doc in docs]
    assert len(docs) == 3519 and len(scenes) == 67
    assert [kinds.count(k) for k in ("what", "is", "how", "can", "which", "others")] == [1147, 652, 465, 338, 351, 566]
