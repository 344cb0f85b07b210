"""The reference project's processed files in place of the official ones."""

from __future__ import annotations

import json

import pytest

from video3d_plugin.data.annotation_files import find_files, load_items
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.errors import DataError
from video3d_plugin.tasks import get
from video3d_plugin.tasks.annotations import Context, SceneBoxes

KEPT = (
    "scene_id",
    "prompt",
    "gt_box",
    "gt_boxes",
    "box",
    "references",
    "answers",
    "answer",
    "question_type",
)


def kept(docs):
    return [{name: doc[name] for name in KEPT if name in doc} for doc in docs]


@pytest.fixture
def both(full_root, tmp_path):
    """(data folder of the official files, data folder of the processed files made of them)."""
    prepare(full_root.path, tmp_path / "official", reference=True)
    annotations = full_root.path / "annotations"
    annotations.rename(tmp_path / "put-aside")
    (tmp_path / "official" / "reference" / "processed").rename(full_root.path / "processed")
    report = prepare(full_root.path, tmp_path / "processed")
    return DataFolder.open(tmp_path / "official"), DataFolder.open(tmp_path / "processed"), report


def test_prompts_boxes_and_answers_are_those_of_the_official_files(both):
    official, processed, report = both
    tasks = [task for task in official.tasks() if task != ("scanqa", "test_wo_obj")]
    assert set(processed.tasks()) == set(tasks)
    for task in tasks:
        assert kept(processed.docs(*task)) == kept(official.docs(*task)), task
    assert sum("processed file" in note for note in report.notes) == len(tasks)


def test_questions_to_train_on_are_the_same(both):
    official, processed, _ = both
    for task in (("scanrefer", "val"), ("multi3drefer", "val"), ("scanqa", "val")):
        a, b = official.questions(*task), processed.questions(*task)
        assert [(q.prompt, q.answer, q.targets) for q in a] == [(q.prompt, q.answer, q.targets) for q in b]


def test_answers_of_a_training_question_belong_together_again(tmp_path):
    items = [
        {"id": f"scanqa_train-scene0000-1_{i}", "video": "scannet/s", "metadata": {},
         "conversations": [{"value": "<image> Why? Answer the question simply."}, {"value": answer}]}
        for i, answer in enumerate(["yes", "no"])
    ]  # fmt: skip
    path = tmp_path / "scanqa_train_llava_style.json"
    path.write_text(json.dumps(items))
    (item,) = load_items(get("scanqa"), [path])
    assert item == {"scene_id": "s", "question_id": "train-scene0000-1", "question": "Why?", "answers": ["yes", "no"]}


@pytest.mark.parametrize("task", ["scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d"])
@pytest.mark.parametrize("change", [{"conversations": [{}]}, {"conversations": []}, {"metadata": {}}, {"video": 7}])
def test_an_item_of_another_kind_is_named(tmp_path, task, change):
    item = {
        "id": 1,
        "video": "scannet/s",
        "conversations": [{"value": "hello"}, {"value": "x"}],
        "metadata": {},
        **change,
    }
    path = tmp_path / f"{task}_val_llava_style.json"
    path.write_text(json.dumps([item]))
    if task == "scanqa" and change == {"metadata": {}}:
        return  # a ScanQA item needs nothing of it
    with pytest.raises(DataError, match="item 0") as caught:
        load_items(get(task), [path])
    assert str(path) in str(caught.value)


def test_official_files_are_taken_in_preference(full_root, tmp_path):
    (full_root.path / "processed").mkdir()
    (full_root.path / "processed" / "scanrefer_vg_val_llava_style.json").write_text("[]")
    files, notes = find_files([full_root.path])
    assert files["scanrefer", "val"][0].name == "ScanRefer_filtered_val.json" and not notes


def test_the_expected_files_of_the_real_scan_are_read(shared):
    """VIDEO3D_SHARED/realscan/expected: written by the reference scripts themselves."""
    files, _ = find_files([shared / "realscan" / "expected"])
    assert set(files) == {(task, "val") for task in ("scanrefer", "multi3drefer", "scan2cap", "scanqa")}
    counts = {task: len(load_items(get(task), paths)) for (task, _), paths in files.items()}
    assert counts == {"scanrefer": 25, "multi3drefer": 6, "scan2cap": 25, "scanqa": 3}
    assert Context({"x": SceneBoxes({}, [])}).skipped == {}
