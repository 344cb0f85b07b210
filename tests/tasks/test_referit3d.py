"""Nr3D and Sr3D: items, groups and accuracies against ReferIt3D's own functions; broken files; a whole evaluation."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from video3d_plugin import cli
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.errors import DataError
from video3d_plugin.tasks import get
from video3d_plugin.tasks.annotations import Context, SceneBoxes
from video3d_plugin.tasks.referit3d import is_training_scan

ROOT = Path(__file__).resolve().parent.parent.parent
ROW = {
    "scan_id": "scene0011_00",
    "stimulus_id": "scene0011_00-office_chair-3-5-6-9",
    "target_id": "5",
    "instance_type": "office chair",
    "utterance": "The chair left of the desk.",
    "tokens": "['the', 'chair', 'left', 'of', 'the', 'desk']",
    "mentions_target_class": "True",
}
BOXES = {i: (float(i), 0.0, 0.0, 0.5, 0.5, 0.5) for i in range(12)}
ALL_BOXES = [list(box) for box in BOXES.values()]


def write(folder: Path, *rows: dict, name: str = "nr3d.csv") -> Path:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else list(ROW))
    table.writeheader()
    table.writerows(rows)
    (folder / name).write_text(text.getvalue())
    return folder / name


def context(*scenes: str) -> Context:
    return Context({scene: SceneBoxes(BOXES, np.zeros((0, 6))) for scene in scenes})


def choice(number: int) -> dict:
    return {"scores": [float(i == number) for i in BOXES], "boxes": ALL_BOXES}


@pytest.fixture(scope="module")
def golden(data_goldens):
    return json.loads((data_goldens / "referit3d" / "golden.json").read_text())


@pytest.fixture(scope="module")
def items(data_goldens):
    return get("nr3d").read([data_goldens / "referit3d" / "nr3d.csv"])


def test_the_splits_are_those_of_the_official_program(items, golden):
    scenes = {item["scene_id"] for item in items}
    for split in ("train", "test"):
        docs = get("nr3d").docs(items, split, context(*scenes))
        assert sorted(doc["description"] for doc in docs) == sorted(golden[split])
        asked = get("nr3d").questions(items, split, context(*scenes))
        assert [question.item_id for question in asked] == [doc["item_id"] for doc in docs]


def test_groups_and_accuracies_are_those_of_the_official_program(items, golden):
    spec = get("nr3d")
    records = []
    for doc in spec.docs(items, "test", context(*(item["scene_id"] for item in items))):
        expected = golden["test"][doc["description"]]
        assert {name: doc[name] for name in ("easy", "view_dependent")} == {
            name: expected[name] for name in ("easy", "view_dependent")
        }
        target = int(doc["object_id"])
        records.append(spec.record(doc, choice(target if expected["right"] else (target + 1) % len(BOXES))))
    numbers = spec.aggregate(records)
    ours = {"all": "acc", "easy": "easy_acc", "hard": "hard_acc", "v-dep": "view_dep_acc", "v-indep": "view_indep_acc"}
    assert {theirs: numbers[name] for theirs, name in ours.items()} == pytest.approx(golden["numbers"])
    assert numbers["acc@0.5"] == pytest.approx(numbers["acc"])  # the boxes lie apart


def test_a_document_by_hand_and_why_others_are_left_out(tmp_path):
    long = {**ROW, "tokens": repr(["the"] * 25)}
    only = {**ROW, "stimulus_id": "scene0011_00-desk-1-5"}
    elsewhere = {**ROW, "target_id": "77"}
    path = write(tmp_path, ROW, {**ROW, "mentions_target_class": "False"}, long, only, elsewhere)
    ctx = context("scene0011_00")
    (doc,) = get("sr3d").docs(get("sr3d").read([path]), "test", ctx)
    assert doc == {
        "task": "sr3d",
        "split": "test",
        "item_id": "scene0011_00|5|0",
        "scene_id": "scene0011_00",
        "object_id": "5",
        "object_name": "office chair",
        "ann_id": "0",
        "description": "The chair left of the desk.",
        "easy": False,
        "view_dependent": True,
        "gt_box": [5.0, 0.0, 0.0, 0.5, 0.5, 0.5],
        "prompt": "<image>Identify the object according to the following description.\nThe chair left of the desk.",
    }
    assert sum(ctx.skipped.values()) == 4 and len(ctx.skipped) == 4
    assert get("sr3d").docs(get("sr3d").read([path]), "train", context("scene0011_00")) == []


def test_scannet_s_training_list():
    assert is_training_scan("scene0706_00") and is_training_scan("scene0000_02")
    assert not any(map(is_training_scan, ("scene0011_01", "scene0704_01", "scene0707_00", "room", "")))


def test_without_annotated_boxes_the_choice_is_not_known_and_a_missing_answer_is_wrong(tmp_path):
    spec = get("nr3d")
    (doc,) = spec.docs(spec.read([write(tmp_path, ROW)]), "test", context("scene0011_00"))
    near = [5.1, 0.0, 0.0, 0.5, 0.5, 0.5]
    for prediction in ({"scores": [1.0], "boxes": [near]}, str(near)):
        scores = spec.scores([spec.record(doc, prediction)])
        assert scores.values["acc"] is None and "proposals=gt" in scores.missing["acc"]
        assert scores.values["acc@0.25"] == scores.values["view_dep_acc@0.5"] == 100
        assert scores.values["easy_acc@0.25"] is None
    missing = spec.record(doc, None)
    assert spec.aggregate([missing])["acc"] == 0 and spec.aggregate([missing])["count_missing"] == 1
    assert spec.aggregate([])["acc"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target_id": "-1"}, "target_id"),
        ({"stimulus_id": "scene0011_00-chair"}, "stimulus_id"),
        ({"tokens": "__import__('os')"}, "tokens"),
        ({"tokens": "[" * 4000}, "tokens"),
        ({"tokens": "[1]"}, "tokens"),
        ({"utterance": ""}, "utterance"),
        ({"mentions_target_class": "maybe"}, "mentions_target_class"),
    ],
)
def test_a_broken_row_is_named(change, says, tmp_path):
    path = write(tmp_path, ROW, {**ROW, **change})
    with pytest.raises(DataError, match=f"nr3d.csv: item 1: {says}"):
        get("nr3d").read([path])


def test_a_file_without_the_columns_is_refused_and_one_without_rows_is_empty(tmp_path):
    with pytest.raises(DataError, match="no column stimulus_id"):
        get("nr3d").read([write(tmp_path, {name: v for name, v in ROW.items() if name != "stimulus_id"})])
    assert get("nr3d").read([write(tmp_path)]) == []


def test_the_page_s_predictions_are_scored(tmp_path, capsys, monkeypatch):
    page = (ROOT / "docs" / "evaluation.md").read_text().split("## ReferIt3D")[1].split("\n## ")[0]
    (lines,) = re.findall(r"^```json\n(.*?)^```", page, flags=re.S | re.M)
    (command,) = re.findall(r"^video3d score .*$", page, flags=re.M)
    write(tmp_path, ROW, {**ROW, "utterance": "It is behind the chair."})
    (tmp_path / "listener.jsonl").write_text(lines)
    (tmp_path / "objects.json").write_text(json.dumps({ROW["scan_id"]: {str(i): box for i, box in BOXES.items()}}))
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command.split()[1:], "--without-meteor", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["values"]
    assert values["acc"] == 50 and values["acc@0.5"] == 50 and values["view_dep_acc"] == 50


def test_it_is_prepared_and_evaluated_with_the_annotated_boxes(room_root, tiny_checkpoint, tmp_path):
    from video3d_plugin._startup import install

    install()
    pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (pip install 'video3d-plugin[eval]')")
    from video3d_plugin.evaluate import evaluate

    (scene_id,) = (path.name for path in (room_root / "posed_images").iterdir() if path.is_dir())
    assert not is_training_scan(scene_id)
    rows = [
        {**ROW, "scan_id": scene_id, "stimulus_id": f"{scene_id}-chair-2-{i}-{i + 1}", "target_id": str(i)}
        for i in range(2)
    ]
    write(tmp_path, *rows, name="sr3d.csv")
    prepare(room_root, tmp_path / "data", annotations=[tmp_path])
    assert DataFolder.open(tmp_path / "data").tasks()["sr3d", "test"] == 2
    numbers = evaluate(
        ["sr3d"], pretrained=tiny_checkpoint, data=tmp_path / "data", output=tmp_path, max_frames=2, proposals="gt"
    )["sr3d"]
    assert numbers["acc"] in (0, 50, 100) and numbers["easy_acc"] == numbers["acc"] == numbers["view_dep_acc"]
    assert numbers["hard_acc"] is None and numbers["count_missing"] == 0
