"""Results as the viewer lists them: from samples of lmms-eval, from `video3d ask --json`, from plain boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.tasks import get
from video3d_plugin.view import item_of_answer, item_of_record
from video3d_plugin.view.items import item_of_grounding
from video3d_plugin.view.results import read_items

BOX, BESIDE = [0.0, 0, 1, 1, 1, 1], [0.5, 0, 1, 1, 1, 1]
DOCS = {
    "scanrefer": {"scene_id": "s", "object_id": "1", "ann_id": "0", "description": "the lamp", "gt_box": BOX},
    "multi3drefer": {
        "scene_id": "s", "ann_id": 1, "description": "lamps", "gt_boxes": [BOX], "object_ids": [1],
        "eval_type": "st_w_d",
    },
    "scan2cap": {
        "scene_id": "s", "object_id": "1", "object_name": "lamp", "gt_box": BOX, "input_box": BOX,
        "references": ["a lamp"],
    },
    "scanqa": {"question_id": "q1", "scene_id": "s", "question": "What?", "answers": ["a lamp", "lamp"]},
    "sqa3d": {"question_id": 7, "scene_id": "s", "situation": "I sit.", "question": "Is it on?", "answer": "yes"},
}  # fmt: skip


def record(task, prediction, **changes):
    return get(task).record({**DOCS[task], **changes}, prediction)


def scores(*values):
    return json.dumps({"scores": values, "boxes": [BESIDE, BOX]})


@pytest.mark.parametrize(
    ("task", "prediction", "verdict"),
    [
        ("scanrefer", scores(0.1, 0.9), "right"),
        ("scanrefer", scores(0.9, 0.1), "wrong"),  # IoU 1/3
        ("scanrefer", None, "wrong"),
        ("multi3drefer", scores(0.1, 0.9, 0.0), "right"),
        ("multi3drefer", scores(0.1, 0.2, 0.9), "wrong"),
        ("multi3drefer", None, "wrong"),
        ("scan2cap", "a lamp", None),
        ("scanqa", "lamp", "right"),
        ("scanqa", "chair", "wrong"),
        ("scanqa", None, "wrong"),
        ("sqa3d", "yes", "right"),
        ("sqa3d", "no", "wrong"),
        ("sqa3d", None, "wrong"),
    ],
)
def test_verdicts_are_those_of_the_benchmarks(task, prediction, verdict):
    item = item_of_record(record(task, prediction))
    assert item["verdict"] == verdict
    assert item["status"] == ("missing" if prediction is None else "")
    json.dumps(item, allow_nan=False)


def test_a_grounding_sample_has_boxes_scores_and_overlap():
    item = item_of_record(record("scanrefer", scores(0.9, 0.1)))
    assert item["truth"] == [BOX] and item["proposals"] == [BESIDE, BOX] and item["scores"] == [0.9, 0.1]
    assert item["predicted"][0]["box"] == BESIDE and item["predicted"][0]["iou"] == pytest.approx(1 / 3)
    nothing = item_of_record(record("multi3drefer", scores(0, 0, 9), gt_boxes=[], object_ids=[], eval_type="zt_wo_d"))
    assert nothing["answer"] == "nothing fits" and nothing["expected"] == ["nothing fits"]
    assert nothing["verdict"] == "right"


def test_a_sample_says_how_sure_the_model_is_where_its_scores_do():
    item = item_of_record(record("scanrefer", scores(0.9, 0.83, 0.76)))
    weights = np.exp([0, -1, -2])  # the scores are one temperature apart
    assert item["confidences"] == pytest.approx((weights / weights.sum())[:2].tolist())
    assert item["predicted"][0]["confidence"] == item["confidences"][0]
    assert (item["answer"], item["note"]) == ("1 box, 67 % sure, IoU 0.33", "nothing fits: 9 %")
    raw = item_of_record(record("scanrefer", scores(0.9, 0.83)))
    assert raw["confidences"] is None and raw["answer"] == "1 box, IoU 0.33"


def test_a_foreign_models_words_are_the_answer():
    item = item_of_record(record("scanrefer", "somewhere left"))
    assert (item["answer"], item["status"], item["predicted"]) == ("somewhere left", "unreadable", [])


def write_samples(path, records):
    lines = [{"doc_id": i, "target": "t", "acc@0.25": r, "acc@0.5": r} for i, r in enumerate(records)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_samples_of_the_scene_are_read_once_each_and_the_newest_file_counts(tmp_path):
    folder = tmp_path / "results" / "model"
    folder.mkdir(parents=True)
    write_samples(folder / "20260101_000000_samples_scanqa.jsonl", [record("scanqa", "old")])
    news = [record("scanqa", "lamp"), record("scanqa", "x", scene_id="t", question_id="q2")]
    write_samples(folder / "20260102_000000_samples_scanqa.jsonl", news)
    write_samples(folder / "20260102_000000_samples_scanrefer_mini.jsonl", [record("scanrefer", scores(1, 0))])
    write_samples(folder / "20260102_000000_samples_mmmu.jsonl", [{"task": "mmmu"}])
    items = read_items(tmp_path / "results", "s")
    assert [(i["task"], i["answer"]) for i in items] == [("scanqa", "lamp"), ("scanrefer", "1 box, IoU 0.33")]
    assert [i["id"] for i in read_items(folder / "20260102_000000_samples_scanqa.jsonl", "t")] == ["q2"]
    with pytest.raises(DataError, match=r"no sample of scene u .*s \(2\), t \(1\)"):
        read_items(tmp_path / "results", "u")


def test_what_ask_printed_is_read_back(tmp_path):
    from video3d_plugin.grounding_result import grounding_of

    found = item_of_grounding(grounding_of("the lamp", [0.2, 0.9], [BOX, BESIDE], 0.07), 2)
    items = [item_of_answer("What?", "a lamp", (1, 2, 3)), found]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": "video3d ask", "scene_id": "s", "items": items}))
    first, second = read_items(path, "s")
    assert first["answer"] == "a lamp" and first["point"] == [1, 2, 3]
    assert second["predicted"][0]["box"] == BESIDE and second["proposals"] == [BOX, BESIDE]
    with pytest.raises(DataError, match="is about 's', not t"):
        read_items(path, "t")


def asked(**fields):
    item = {"task": "ground", "question": "q", **fields}
    return json.dumps({"format": "video3d ask", "scene_id": "s", "items": [item]})


def test_what_an_asked_item_does_not_say_is_empty_as_the_page_needs_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(asked(predicted=None, truth=[BOX], expected=None))
    (item,) = read_items(path, "s")
    assert item.keys() == item_of_answer("q", "").keys()
    assert (item["predicted"], item["expected"], item["proposals"], item["score"]) == ([], [], None, None)
    path.write_text(asked(predicted=[{"box": BESIDE, "score": 0.5}], truth=[BOX]))
    (predicted,) = read_items(path, "s")[0]["predicted"]
    assert predicted["iou"] == pytest.approx(1 / 3) and predicted["score"] == 0.5


@pytest.mark.parametrize("content", [[BOX, BESIDE], {"s": [BOX, BESIDE]}, {"scannet/s": [BOX, BESIDE]}])
def test_plain_boxes_are_read(tmp_path, content):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    (item,) = read_items(path, "s")
    assert [p["box"] for p in item["predicted"]] == [BOX, BESIDE]


def sample(**changes) -> str:
    record = {"task": "scanqa", "status": "ok", "scene_id": "s", "id": "<b>", "question": "q", "answers": ["a"],
              "answer": "a", "answers_top10": None, "references": []}  # fmt: skip
    return json.dumps({"x": {"metric": "x", **record, **changes}}) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "{", "line 1: not valid JSON"),
        ("a.jsonl", '{"a": 1}\n', "no sample of this package's tasks"),
        ("a.jsonl", sample(task=["scanqa"]), "no sample of this package's tasks"),
        ("a.jsonl", sample(answers=5), "line 1: .answers. is 5, expected a list"),
        ("a.jsonl", sample(prediction={"boxes": [BOX], "scores": ["x"]}), "the record of scanqa '<b>' is not complete"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8"),
        ("a.json", "[[1, 2]]", ".boxes.0.. has 2 values, expected 6"),
        ("a.json", '[[1, 2, 3, 4, 5, NaN]]', "is nan, expected a finite number"),
        ("a.json", '{"t": []}', "no boxes of s .it has: t"),
        ("a.json", '{"format": "video3d ask", "scene_id": "s", "items": [{"task": 1}]}', "not complete"),
        ("a.json", '"text"', "expected a JSON"),
        pytest.param("a.jsonl", "[" * 200_000, "line 1: not valid JSON: nested too deeply", id="deep"),
        pytest.param("a.json", "[[1, 2, 3, 4, 5, 1" + "0" * 400 + "]]", "of more than 60 digits", id="large"),
        ("a.json", asked(predicted=[BOX]), "item 1 is not complete"),
        ("a.json", asked(predicted=[{"box": []}]), "item 1 is not complete"),
        ("a.json", asked(predicted=[{"box": BOX, "score": "x"}]), "item 1 is not complete"),
        ("a.json", asked(proposals="abc", scores=[1]), "item 1 is not complete"),
        ("a.json", asked(point=[1, 2]), "item 1 is not complete"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said) as error:
        read_items(path, "s")
    assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(MissingError, match="no such file"):
        read_items(tmp_path / "none", "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="log_samples"):
        read_items(tmp_path / "empty", "s")
