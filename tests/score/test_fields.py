"""Answers and ids under the names that other systems use."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from video3d_plugin import cli
from video3d_plugin.errors import DataError
from video3d_plugin.metrics.iou import corners_of_box
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.score import GroundTruth, score
from video3d_plugin.score.predictions import read_predictions
from video3d_plugin.tasks import get

ROOT = Path(__file__).resolve().parent.parent.parent
BOX = [1.0, 2.0, 3.0, 1.0, 1.0, 1.0]
IDS = {
    "scanrefer": {"scene_id": "s", "object_id": "1", "ann_id": "0"},
    "multi3drefer": {"scene_id": "s", "ann_id": 0},
    "scan2cap": {"scene_id": "s", "object_id": "1"},
    "scanqa": {"question_id": "q"},
    "sqa3d": {"question_id": 7},
}
WORDS = "pred response output model_answer response_pred pred_answer predicted_answer text pred_response".split()


def write(path: Path, items: list) -> Path:
    path.write_text(json.dumps(items))
    return path


def the_only(tmp_path: Path, task: str, item: dict):
    (row,) = read_predictions(get(task), write(tmp_path / "p.json", [IDS[task] | item]))
    return row


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("task", IDS)
def test_a_text_under_any_usual_name_is_the_answer(tmp_path, task, name):
    assert the_only(tmp_path, task, {name: "said"}).prediction == "said" or name == "pred_caption"


@pytest.mark.parametrize("name", ["box", "bbox", "pred_bbox", "pred_box", "bbox_3d", "predicted_box", "prediction"])
@pytest.mark.parametrize("value", [BOX, corners_of_box(BOX).tolist(), [*BOX, 0, 0, 0], str(BOX), {"bbox_3d": BOX}])
@pytest.mark.parametrize("task", ["scanrefer", "multi3drefer"])
def test_a_box_under_any_usual_name_and_in_any_form_is_the_answer(tmp_path, task, name, value):
    row = the_only(tmp_path, task, {name: value})
    doc = {**IDS[task], "gt_box": BOX, "gt_boxes": [BOX], "eval_type": "st_w_d"}
    record = get(task).record(doc, row.prediction)
    assert record["status"] == "ok"
    assert (record.get("iou") or record["chosen"]["half"]["m3dref"][1]) == pytest.approx(1)


@pytest.mark.parametrize("line", [{"bbox_3d": None}, {"boxes": []}, {"pred_bbox": []}, {"response": "There is none."}])
def test_no_object_is_an_answer(tmp_path, line):
    row = the_only(tmp_path, "multi3drefer", line)
    doc = {**IDS["multi3drefer"], "gt_boxes": [], "eval_type": "zt_w_d"}
    record = get("multi3drefer").record(doc, row.prediction)
    assert record["status"] == "ok" and record["chosen"]["half"]["m3dref"] == (1.0, 1.0)


@pytest.mark.parametrize(
    "task, line, expected, beside",
    [
        ("scanqa", {"answer_top10": ["a", "b"], "bbox": [[0, 0, 0]] * 8}, {"answers": ["a", "b"]}, ""),
        ("scanqa", {"pred": "a", "answers": ["b"], "ref_captions": ["b"]}, "a", "answers"),
        ("scanqa", {"answer": "a", "answers": ["b", "c"]}, {"answer": "a"}, ""),
        ("scanqa", {"answer": "a", "answers": ["a", "c"]}, {"answer": "a", "answers": ["a", "c"]}, ""),
        ("sqa3d", {"text": "a", "answer": "b", "answer_id": "x", "prompt": "?"}, "a", "answer"),
        ("sqa3d", {"text": "What is it?", "answer": "b"}, {"answer": "b"}, ""),
        ("sqa3d", {"response_pred": "a", "response_gt": "b"}, "a", ""),
        ("sqa3d", {"output": ["a"]}, "a", ""),
        ("scan2cap", {"pred": "a chair", "box": BOX}, {"caption": "a chair", "box": BOX}, ""),
        ("scanrefer", {"response": "none", "bbox": BOX}, "none", "bbox"),
        ("scanrefer", {"pred_bbox": BOX, "response": "x", "bbox": [0, 0, 0, 1, 1, 1]}, {"boxes": BOX}, "bbox"),
        ("scanrefer", {"prediction": BOX, "bbox": [0, 0, 0, 1, 1, 1]}, {"boxes": BOX}, ""),
    ],
)
def test_the_predicted_one_of_several_fields_counts(tmp_path, task, line, expected, beside):
    row = the_only(tmp_path, task, line)
    assert (row.prediction, row.answer.beside) == (expected, beside)


def test_ids_under_other_names(tmp_path):
    items = [{"scan_id": "s", "obj_id": 1, "ann_id": 0, "pred_bbox": BOX}]
    (row,) = read_predictions(get("scanrefer"), write(tmp_path / "p.json", items))
    assert row.keys == ("s|1|0",)
    (row,) = read_predictions(get("scanqa"), write(tmp_path / "p.json", [{"qid": "q", "pred": "a"}]))
    assert row.keys == ("q",)


@pytest.mark.parametrize("items", [[{"said": "a"}], [{"said": "a"}, {"said": "b"}, {"pred": "a"}]])
def test_a_file_of_which_less_than_half_is_known_is_refused_with_its_keys(tmp_path, items, capsys):
    items = [{"question_id": str(number), **item} for number, item in enumerate(items)]
    path = write(tmp_path / "p.json", items)
    with pytest.raises(DataError, match=r"p\.json: .* of .* items hold no answer .*'said'.*prediction, answer_top10"):
        read_predictions(get("scanqa"), path)
    annotations = [{"scene_id": "s", "question_id": "0", "question": "What?", "answers": ["a"]}]
    truth = write(tmp_path / "ScanQA_v1.0_val.json", annotations)
    assert cli.main(["score", "scanqa", str(path), "--annotations", str(truth), "--without-meteor"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_file_of_nulls_is_refused_and_one_with_reasons_is_not(tmp_path):
    for line in ({"prediction": None}, {"answer": None}):
        with pytest.raises(DataError, match="the answer of all 1 items is null"):
            the_only(tmp_path, "scanqa", line)
    assert the_only(tmp_path, "scanqa", {"unanswered": "no scene"}).prediction == {"unanswered": "no scene"}
    half = [{"question_id": "a", "pred": "x"}, {"question_id": "b"}]
    assert len(read_predictions(get("scanqa"), write(tmp_path / "p.json", half))) == 2


@pytest.mark.parametrize(
    "line, message",
    [
        ({"pred": {"a": 1}}, "`pred` is an object"),
        ({"response": "x" * 20_001}, "`response`"),
        ({"output": ["a", "b"]}, "`output` is a list of 2"),
    ],
)
def test_an_answer_of_another_kind_is_an_error_that_names_the_item(tmp_path, line, message):
    with pytest.raises(DataError, match=rf"item 0: {message}"):
        the_only(tmp_path, "sqa3d", line)


def test_reasoning_is_no_part_of_an_answer_in_a_file(tmp_path):
    pytest.importorskip("pycocoevalcap")
    said = "<think>Perhaps a table?</think>\nchair"
    annotations = [{"scene_id": "s", "question_id": "q", "question": "What?", "answers": ["chair"]}]
    truth = GroundTruth(annotations=[write(tmp_path / "ScanQA_v1.0_val.json", annotations)])
    for line in ({"prediction": said}, {"answer": said}, {"answer_top10": [said]}):
        path = write(tmp_path / "p.json", [{"question_id": "q", **line}])
        assert score("scanqa", path, truth, Scorer(without_meteor="not here")).scores.values["em@1"] == 100


def test_what_is_not_understood_stands_beside_the_score_with_an_example(tmp_path, capsys):
    pytest.importorskip("pycocoevalcap")
    item = {**IDS["scanrefer"], "object_name": "chair", "description": "x", "bbox": BOX}
    truth = write(tmp_path / "ScanRefer_filtered_val.json", [item, {**item, "ann_id": "1"}])
    lines = [{**IDS["scanrefer"], "pred": "<OBJ012>"}, {**IDS["scanrefer"], "ann_id": "1", "pred": str(BOX)}]
    path = write(tmp_path / "p.json", lines)
    assert cli.main(["score", "scanrefer", str(path), "--annotations", str(truth), "--without-meteor"]) == 0
    printed = capsys.readouterr().out
    assert "acc@0.5" in printed and "1 unreadable (not understood, scored as wrong), such as '<OBJ012>'" in printed


def test_another_field_that_could_be_the_answer_is_said(tmp_path, capsys):
    pytest.importorskip("pycocoevalcap")
    annotations = [{"scene_id": "s", "question_id": "q", "question": "What?", "answers": ["chair"]}]
    truth = write(tmp_path / "ScanQA_v1.0_val.json", annotations)
    path = write(tmp_path / "p.json", [{"question_id": "q", "pred": "chair", "answer": "table"}])
    assert cli.main(["score", "scanqa", str(path), "--annotations", str(truth), "--without-meteor"]) == 0
    assert "1 answers read from `pred`; `answer` beside it" in capsys.readouterr().out


def examples() -> list[tuple[str, dict]]:
    """(benchmark, line) of the table of formats; those cut short with ... are left out."""
    table = (ROOT / "docs" / "metrics.md").read_text().split("## Scoring files")[1]
    result, task = [], ""
    for row in re.findall(r"^\| (.*) \|$", table, flags=re.M):
        name, _, cell = row.partition("|")
        task = name.strip().strip("`") or task
        for text in re.findall(r"`([{\[].*?[}\]])`", cell):
            if task in IDS and text != "[]" and "..." not in text.replace('"..."', ""):
                result.append((task, json.loads(text)))
    return result


def test_the_page_shows_the_formats_of_every_benchmark():
    assert {task for task, _ in examples()} == set(IDS) and len(examples()) >= 11


@pytest.mark.parametrize("task, line", examples())
def test_every_format_of_the_page_is_read(tmp_path, task, line):
    is_by_id = "prediction" not in line and all("|" in key for key in line)
    path = tmp_path / "p.json"
    path.write_text(json.dumps(line if is_by_id else [line]))
    (row,) = read_predictions(get(task), path)
    doc = {
        **{"scene_id": "s", "object_id": "1", "ann_id": 0, "question_id": "q", "question": "?", "answer": "a"},
        **{"gt_box": BOX, "gt_boxes": [BOX], "references": ["a"], "answers": ["a"], "eval_type": "mt"},
    }
    assert row.answer is not None and get(task).record(doc, row.prediction)["status"] == "ok"
