"""Files in every format that is read, made of the goldens' inputs, must give the goldens' numbers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from video3d_plugin.cli import main
from video3d_plugin.cli import score as cli
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.iou import corners_of_box
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.score import GroundTruth, Result, score
from video3d_plugin.score.predictions import read_predictions
from video3d_plugin.tasks import Scores, get


@pytest.fixture
def plain():
    """No METEOR: the goldens of the metrics cover it, and these tests stay quick."""
    pytest.importorskip("pycocoevalcap")
    return Scorer(without_meteor="not in this test")


@pytest.fixture
def golden(goldens):
    return lambda name: json.loads((goldens / "metrics" / f"{name}.json").read_text())


def write(path, content):
    path.parent.mkdir(exist_ok=True, parents=True)
    lines = isinstance(content, list) and path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(c) + "\n" for c in content) if lines else json.dumps(content))
    return path


EMPTY = Scores({}, {})
IDS = ("scene_id", "object_id", "ann_id")


def scanrefer_files(content, tmp_path):
    """The annotation file with boxes, and the benchmark's prediction file."""
    annotations = [{**item, "bbox": corners_of_box(item["gt_box"]).tolist()} for item in content["items"]]
    predictions = [
        {
            **{name: item[name] for name in IDS},
            "bbox": corners_of_box(item["pred_box"]).tolist(),
            "unique_multiple": item["expected"]["official_unique_multiple"],
            "others": item["expected"]["official_others"],
        }
        for item in content["items"]
    ]
    return write(tmp_path / "ScanRefer_filtered_val.json", annotations), predictions


def test_scanrefers_own_format(golden, tmp_path, plain):
    content = golden("scanrefer")
    annotations, predictions = scanrefer_files(content, tmp_path)
    result = score(
        "scanrefer", write(tmp_path / "pred.json", predictions), GroundTruth(annotations=[annotations]), plain
    )
    expected = content["expected"]["official_ScanRefer_benchmark_eval"]["all"]
    assert result.scores.values["acc@0.25"] == pytest.approx(100 * expected["overall|overall|acc@0.25iou"])
    for group in ("unique", "multiple"):
        assert result.scores.values[f"{group}_acc@0.5"] == pytest.approx(100 * expected[f"{group}|overall|acc@0.5iou"])
    assert result.scores.values["in_others_acc@0.5"] == pytest.approx(100 * expected["overall|in_others|acc@0.5iou"])
    assert result.scores.counts["missing"] == result.scores.counts["extra"] == 0


def test_missing_extra_and_repeated_predictions_are_counted(golden, tmp_path, plain):
    content = golden("scanrefer")
    annotations, predictions = scanrefer_files(content, tmp_path)
    dropped = set(content["missing_variant_drop"])
    kept = [p for i, p in enumerate(predictions) if i not in dropped]
    extra = [
        {
            **{name: e[name] for name in IDS},
            "bbox": corners_of_box(e["pred_box"]).tolist(),
            "unique_multiple": 1,
            "others": 1,
        }
        for e in content["unknown_variant_add"]
    ]
    truth = GroundTruth(annotations=[annotations])
    result = score("scanrefer", write(tmp_path / "a.json", [*kept, kept[0]]), truth, plain)
    expected = content["expected"]["official_ScanRefer_benchmark_eval"]["missing"]
    assert result.scores.values["acc@0.5"] == pytest.approx(100 * expected["overall|overall|acc@0.5iou"])
    m3dref = content["expected"]["official_M3DRef_CLIP"]["missing"]["accuracy@0.25"]["overall"]
    assert result.scores.values["m3dref_acc@0.25"] == pytest.approx(100 * m3dref)
    assert result.scores.counts["missing"] == len(dropped) and result.scores.counts["duplicate"] == 1
    result = score("scanrefer", write(tmp_path / "b.json", [*predictions, *extra]), truth, plain)
    expected = content["expected"]["official_ScanRefer_benchmark_eval"]["unknown_added"]
    assert result.scores.values["acc@0.5"] == pytest.approx(100 * expected["overall|overall|acc@0.5iou"])
    assert result.scores.values["multiple_acc@0.5"] == pytest.approx(100 * expected["multiple|overall|acc@0.5iou"])
    assert result.scores.counts["extra"] == 2


def test_our_lines_with_scores_and_text(golden, tmp_path, plain):
    annotations, _ = scanrefer_files(golden("scanrefer"), tmp_path)
    first, second = json.loads(annotations.read_text())[:2]
    far = [50.0, 0, 0, 1, 1, 1]
    lines = [
        {"id": "|".join(first[n] for n in IDS), "scores": [0.1, 0.9, 2.0], "boxes": [far, first["gt_box"]]},
        {**{n: second[n] for n in IDS}, "prediction": f"It is at {second['gt_box']}."},
    ]
    result = score("scanrefer", write(tmp_path / "p.jsonl", lines), GroundTruth(annotations=[annotations]), plain)
    assert result.scores.values["acc@0.5"] == 100 and result.scores.counts["missing"] == 109


def test_lines_of_video3dllm_carry_their_own_truth(golden, tmp_path, plain):
    content = golden("scanrefer")
    lines = [
        {"sample_id": i, "scene": o["scene_id"], "pred_response": o["pred_box"], "gt_response": o["gt_box"],
         "question_type": o["expected"]["v3d_eval_type"]}
        for i, o in enumerate(content["items"])
    ]  # fmt: skip
    values = score("scanrefer", write(tmp_path / "val.jsonl", lines), None, plain).scores.values
    expected = content["expected"]["video3dllm_percent"]["all"]
    for group in ("all", "unique", "multiple"):
        name = f"v3d_{'' if group == 'all' else group + '_'}acc@0.5"
        assert values[name] == pytest.approx(expected[f"{group} iou@0.5"])

    content = golden("multi3drefer")
    lines = [
        {"sample_id": i, "scores": o["scores"], "objects": o["objects"], "gt_response": o["gt_boxes"],
         "question_type": o["eval_type"]}
        for i, o in enumerate(content["A_items"])
    ]  # fmt: skip
    values = score("multi3drefer", write(tmp_path / "m.jsonl", lines), None, plain).scores.values
    for mass, name in (("0.4", "v3d_f1@0.25"), ("0.25", "mass0.25_v3d_f1@0.25")):
        printed = content["expected"]["video3dllm"][f"A_threshold_{mass}"]["printed"]
        assert values[name] == pytest.approx(100 * printed["all IoU25"])

    content = golden("scan2cap")
    lines = content["expected"]["video3dllm_percent"]["jsonl"]
    values = score("scan2cap", write(tmp_path / "c.jsonl", lines), None, plain).scores.values
    expected = content["expected"]["video3dllm_percent"]["values"]
    assert values["v3d_cider@0.5"] == pytest.approx(expected["CIDER"])
    assert values["v3d_bleu4@0.5"] == pytest.approx(expected["BLEU"])
    assert values["v3d_rouge@0.5"] == pytest.approx(expected["Rouge"])


def test_another_mass_can_be_asked_for(golden, tmp_path, plain):
    content = golden("multi3drefer")
    printed = content["expected"]["video3dllm"]["A_threshold_0.9"]["printed"]
    lines = [
        {"sample_id": i, "scores": o["scores"], "objects": o["objects"], "gt_response": o["gt_boxes"],
         "question_type": o["eval_type"]}
        for i, o in enumerate(content["A_items"])
    ]  # fmt: skip
    records = [
        {"f1@0.25": get("multi3drefer").record(
            {"scene_id": "s", "ann_id": i, "eval_type": o["eval_type"], "gt_boxes": o["gt_boxes"]},
            {"scores": o["scores"], "boxes": o["objects"]})}
        for i, o in enumerate(content["A_items"])
    ]  # fmt: skip
    for file in (write(tmp_path / "m.jsonl", lines), write(tmp_path / "s.jsonl", records)):
        values = score("multi3drefer", file, None, plain, mass=0.9).scores.values
        assert values["v3d_f1@0.25"] == pytest.approx(100 * printed["all IoU25"])
        assert values["v3d_mt_f1@0.5"] == pytest.approx(100 * printed["mt IoU50"])
    for task, mass in (("multi3drefer", 1.5), ("scanrefer", 0.5)):
        with pytest.raises(DataError, match="mass"):
            score(task, file, None, plain, mass=mass)


def multi_files(content, tmp_path):
    """Annotations, boxes by object, and a folder of predictions, of the items whose boxes are given."""
    items = content["B_items"]
    boxes, annotations, predicted = {}, [], {}
    for item in items:
        of_scene = boxes.setdefault(item["scene_id"], {})
        ids = []
        for box in item["gt_boxes"]:
            of_scene[str(len(of_scene))] = box
            ids.append(len(of_scene) - 1)
        annotations.append(
            {**{n: item[n] for n in ("scene_id", "ann_id", "eval_type")}, "object_ids": ids, "description": "x"}
        )
        corners = [corners_of_box(b).tolist() for b in item["pred_boxes"]]
        predicted.setdefault(item["scene_id"], []).append({"ann_id": item["ann_id"], "aabb": corners})
    for scene, content_ in predicted.items():
        write(tmp_path / "pred" / f"{scene}.json", content_)
    truth = GroundTruth(
        annotations=[write(tmp_path / "multi3drefer_val.json", annotations)],
        boxes=write(tmp_path / "boxes.json", boxes),
    )
    return truth, tmp_path / "pred"


def test_multi3drefers_own_format_is_a_folder(golden, tmp_path, plain):
    content = golden("multi3drefer")
    truth, folder = multi_files(content, tmp_path)
    values = score("multi3drefer", folder, truth, plain).scores.values
    expected = content["expected"]["official_M3DRef_CLIP"]["B"]
    for kind in ("zt_w_d", "zt_wo_d", "st_w_d", "st_wo_d", "mt"):
        assert values[f"{kind}_f1@0.5"] == pytest.approx(100 * expected["f1@0.5"][kind], abs=1e-4)
    assert values["f1@0.25"] == pytest.approx(100 * expected["f1@0.25"]["overall"], abs=1e-4)
    assert values["v3d_f1@0.25"] == pytest.approx(100 * content["expected"]["video3dllm"]["B"]["all IoU25"])


def test_every_box_of_a_line_counts(golden, tmp_path, plain):
    truth, _ = multi_files(golden("multi3drefer"), tmp_path)
    (first,) = json.loads(truth.annotations[0].read_text())[:1]
    ids = {name: first[name] for name in ("scene_id", "ann_id")}
    here, far = [0, 0, 0, 1, 1, 1], [50, 0, 0, 1, 1, 1]
    for line in ({"prediction": [here, far]}, {"box": [here, far]}, {"boxes": [here, far]}, {"prediction": []}):
        records = score("multi3drefer", write(tmp_path / "p.jsonl", [{**ids, **line}]), truth, plain).records
        assert records[0]["status"] == "ok"
        assert len(records[0]["chosen"]["half"]["boxes"]) == (0 if line == {"prediction": []} else 2)
    theirs = {"sample_id": "1", "scene": "s", "question_type": "mt", "gt_response": [here, far]}
    for said in ([here, far], [corners_of_box(b).tolist() for b in (here, far)]):
        path = write(tmp_path / "v.jsonl", [{**theirs, "pred_response": said}])
        assert score("multi3drefer", path, None, plain).scores.values["v3d_f1@0.5"] == 100
    annotations, _ = scanrefer_files(golden("scanrefer"), tmp_path)
    one = json.loads(annotations.read_text())[0]
    path = write(tmp_path / "s.jsonl", [{**{n: one[n] for n in IDS}, "prediction": one["gt_box"]}])
    assert score("scanrefer", path, GroundTruth(annotations=[annotations]), plain).scores.values["acc@0.5"] == 100


def scan2cap_truth(content, tmp_path):
    boxes = {}
    for o in content["objects"]:
        boxes.setdefault(o["scene_id"], {})[o["object_id"]] = o["gt_box"]
    return GroundTruth(
        annotations=[write(tmp_path / "ScanRefer_filtered_val.json", content["scanrefer_val"])],
        boxes=write(tmp_path / "boxes.json", boxes),
    )


def test_scan2caps_validation_candidates(golden, tmp_path, plain):
    content = golden("scan2cap")
    candidates = content["expected"]["official_Scan2Cap_val_protocol"]["val_protocol_candidates@0.5"]
    detected = {key: c for key, c in candidates.items() if c != ["sos eos"]}
    truth = scan2cap_truth(content, tmp_path)
    result = score("scan2cap", write(tmp_path / "c.json", detected), truth, plain)
    expected = content["expected"]["official_Scan2Cap_val_protocol"]["val_protocol@0.5"]
    assert result.scores.values["cider@0.5"] == pytest.approx(100 * expected["CIDEr"])
    assert result.scores.values["rouge@0.5"] == pytest.approx(100 * expected["ROUGE_L"])
    assert result.scores.counts["missing"] == len(content["objects"]) - len(detected)


def test_scan2caps_benchmark_form(golden, tmp_path, plain):
    content = golden("scan2cap")
    predictions = content["expected"]["official_benchmark_predictions"]
    result = score("scan2cap", write(tmp_path / "b.json", predictions), scan2cap_truth(content, tmp_path), plain)
    expected = content["expected"]["official_Scan2Cap_benchmark"]["0.5"]
    for kind, name in (("precision", "precision"), ("recall", "recall"), ("f1-score", "f1")):
        assert result.scores.values[f"benchmark_cider_{name}@0.5"] == pytest.approx(100 * expected[kind]["cider"])
    assert result.scores.values["benchmark_meteor_f1@0.5"] is None
    some = {scene: predictions[scene] for scene in list(predictions)[1:]} | {"scene9999_00": []}
    result = score("scan2cap", write(tmp_path / "b2.json", some), scan2cap_truth(content, tmp_path), plain)
    assert result.scores.counts["scenes_missing"] == 1 and result.scores.counts["scenes_extra"] == 1


def test_captions_by_scene_and_object(golden, tmp_path, plain):
    content = golden("scan2cap")
    lines = [
        {"scene_id": o["scene_id"], "object_id": o["object_id"], "caption": o["pred"], "box": o["pred_box"]}
        for o in content["objects"]
    ]
    result = score("scan2cap", write(tmp_path / "p.jsonl", lines), scan2cap_truth(content, tmp_path), plain)
    expected = content["expected"]["ChatScene"]["[scan2cap] CIDEr@0.50"]
    if result.scores.values["chatscene_cider@0.5"] is not None:  # needs Java
        assert result.scores.values["chatscene_cider@0.5"] == pytest.approx(100 * expected)
    assert result.scores.counts["no_box"] == 3 and result.scores.counts["missing"] == 0


def scanqa_truth(content, tmp_path):
    names = ("scene_id", "question_id", "question", "answers", "object_ids", "object_names")
    items = [{name: item[name] for name in names} for item in content["items"]]
    return GroundTruth(annotations=[write(tmp_path / "ScanQA_v1.0_val.json", items)])


def test_scanqas_own_format(golden, tmp_path, plain):
    content = golden("scanqa")
    predictions = [
        {"scene_id": i["scene_id"], "question_id": i["question_id"], "answer_top10": i["pred_top10"]}
        for i in content["items"]
    ]
    result = score("scanqa", write(tmp_path / "p.json", predictions), scanqa_truth(content, tmp_path), plain)
    expected = content["expected"]["official_ScanQA_score_py_percent"]["EM"]
    assert result.scores.values["em@1"] == pytest.approx(expected["Top1 (EM)"])
    assert result.scores.values["em@10"] == pytest.approx(expected["Top10 (EM)"])
    assert result.scores.values["v3d_cider"] == pytest.approx(content["expected"]["video3dllm"]["values"]["CIDER"])


def test_scanqa_of_video3dllm_and_by_id(golden, tmp_path, plain):
    content = golden("scanqa")
    truth = scanqa_truth(content, tmp_path)
    lines = [{"sample_id": f"scanqa_{i['question_id']}_0", "pred_response": i["pred"]} for i in content["items"][5:]]
    values = score("scanqa", write(tmp_path / "v.jsonl", lines), truth, plain).scores.values
    expected = content["expected"]["video3dllm"]["missing_first_5"]
    assert values["v3d_em"] == pytest.approx(100 * expected["EM"])
    assert values["v3d_rouge"] == pytest.approx(expected["Rouge"])
    by_id = {i["question_id"]: i["pred"] for i in content["items"]}
    values = score("scanqa", write(tmp_path / "d.json", by_id), truth, plain).scores.values
    assert values["em@1"] == pytest.approx(100 * content["expected"]["video3dllm"]["values"]["EM"])


def sqa_truth(tmp_path, pairs):
    questions = [
        {"scene_id": "s", "situation": f"I am {n}.", "question": q, "question_id": n} for n, (q, _) in enumerate(pairs)
    ]
    annotations = [{"scene_id": "s", "question_id": n, "answers": [{"answer": a}]} for n, (_, a) in enumerate(pairs)]
    return GroundTruth(
        annotations=[
            write(tmp_path / "questions.json", {"questions": questions}),
            write(tmp_path / "annotations.json", {"annotations": annotations}),
        ]
    )


def test_sqa3d_by_id_and_by_situation_and_question(tmp_path, plain):
    truth = sqa_truth(tmp_path, [("What is it?", "chair"), ("Is it on?", "yes")])
    lines = [
        {"question_id": 0, "answer": "the chair"},
        {"scene_id": "s", "situation": "I am 1.", "question": "Is it on?", "answer": "No"},
        {"question_id": 7, "answer": "lamp"},
    ]
    scores = score("sqa3d", write(tmp_path / "p.jsonl", lines), truth, plain).scores
    assert scores.values["em"] == 50 and scores.values["em_what"] == 100 and scores.values["em_is"] == 0
    assert scores.values["llm_acc"] == pytest.approx(100 / 3)  # the unknown question counts there as wrong
    assert scores.counts["extra"] == 1


def test_lines_that_no_id_tells_apart_go_to_one_question_each(tmp_path, plain):
    asked = {"scene_id": "s", "situation": "I sit.", "question": "What is it?"}
    questions = [{**asked, "question_id": n} for n in (1, 2)]
    annotations = [{"question_id": n, "answers": [{"answer": a}]} for n, a in ((1, "chair"), (2, "desk"))]
    files = {"questions": questions, "annotations": annotations}
    truth = GroundTruth(annotations=[write(tmp_path / f"{name}.json", {name: items}) for name, items in files.items()])
    lines = [{**asked, "answer": answer} for answer in ("chair", "desk")]
    for said, repeated in ((lines, 0), ([*lines, lines[1]], 1)):
        scores = score("sqa3d", write(tmp_path / "p.json", said), truth, plain).scores
        assert scores.values["em"] == 100 and scores.counts["duplicate"] == repeated
    one = score("sqa3d", write(tmp_path / "p.json", lines[:1]), truth, plain).scores
    assert one.values["em"] == 50 and one.counts["missing"] == 1


def test_samples_of_lmms_eval_are_scored_again_without_annotations(tmp_path, plain):
    doc = {"question_id": 1, "scene_id": "s", "question": "What?", "situation": "", "answer": "tv"}
    record = get("sqa3d").record(doc, "TV.")
    lines = [{"doc_id": 0, "filtered_resps": ["TV."], "em": {"metric": "em", **record}, "em_what": {"id": "1"}}]
    result = score("sqa3d", write(tmp_path / "x_samples_sqa3d.jsonl", lines), None, plain)
    assert result.scores.values["em"] == 100 and result.records == [record]


def test_samples_of_predict_only_are_matched_by_the_ids_in_their_target(tmp_path, plain):
    truth = sqa_truth(tmp_path, [("What is it?", "tv"), ("Is it on?", "yes")])
    lines = [
        {"doc_id": n, "target": json.dumps({"item_id": str(n)}), "filtered_resps": r}
        for n, r in ((0, ["TV"]), (1, "no"))
    ]
    scores = score("sqa3d", write(tmp_path / "s.jsonl", lines), truth, plain).scores
    assert scores.values["em_what"] == 100 and scores.values["em_is"] == 0 and scores.counts["missing"] == 0


@pytest.mark.parametrize(
    "content, message",
    [
        ("{not json", "line 1: not valid JSON"),
        ('{"id": "a", "answer": "b"}\nnonsense', "line 2: not valid JSON"),
        ("[1, 2]", "item 0 is a int"),
        ('[{"answer": "x"}]', "no id"),
        ("", "no predictions"),
        ('[{"question_id": "other", "answer": "x"}]', "none of 1 predictions"),
    ],
)
def test_files_that_cannot_be_used_are_errors_that_name_the_place(golden, tmp_path, plain, content, message):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        score("scanqa", path, scanqa_truth(golden("scanqa"), tmp_path), plain)
    assert "p.json" in str(error.value) and "\n" not in str(error.value)


DEEP = "[" * 100_000
V3D = {"sample_id": "1", "scene": "s", "question_type": "mt", "pred_response": "x"}


@pytest.mark.parametrize(
    "task, content, message",
    [
        ("scanrefer", {"sample_id": 1, "scores": None, "objects": [[0] * 6]}, "line 1: `scores`"),
        ("scanrefer", {"sample_id": 1, "scores": [1.0], "objects": 5}, "line 1: `objects`"),
        ("scanrefer", {**V3D, "gt_response": [[1, 2]]}, "line 1: `gt_response`"),
        ("multi3drefer", {**V3D, "gt_response": 5}, "line 1: `gt_response`"),
        ("multi3drefer", {**V3D, "gt_response": [["a"] * 6]}, "line 1: `gt_response.0..0.` is 'a'"),
        ("scan2cap", {**V3D, "gt_response": "a chair"}, "line 1: `gt_response`"),
        ("sqa3d", {**V3D, "gt_response": ["yes"]}, "line 1: `gt_response`"),
        ("scanqa", DEEP, "line 1: not valid JSON: nested too deeply"),
        ("scanqa", '{"question_id": "q"}\n' + DEEP, "line 2: not valid JSON: nested too deeply"),
    ],
)
def test_lines_that_cannot_be_used_are_errors_that_name_the_line(tmp_path, plain, task, content, message):
    path = tmp_path / "p.jsonl"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as error:
        score(task, path, None, plain)
    assert "p.jsonl" in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


def test_json_nested_too_deeply_is_an_error(golden, tmp_path, plain):
    (tmp_path / "p.json").write_text(DEEP)
    truth = scan2cap_truth(golden("scan2cap"), tmp_path)
    with pytest.raises(DataError, match="p.json.*nested too deeply"):
        score("scan2cap", tmp_path / "p.json", truth, plain)
    truth.boxes.write_text(DEEP)
    with pytest.raises(DataError, match="boxes.json.*nested too deeply"):
        score("scan2cap", write(tmp_path / "q.json", []), truth, plain)


@pytest.mark.parametrize("box", [[["a", "b", "c"]], "none", None, [[0, 0, 0]] * 7])
def test_a_box_of_scan2caps_benchmark_form_that_is_none_is_named(golden, tmp_path, plain, box):
    content = golden("scan2cap")
    captions = {content["objects"][0]["scene_id"]: [{"caption": "sos a eos", "box": box}]}
    with pytest.raises(DataError, match=r"b\.json, scene.*, caption 0"):
        score("scan2cap", write(tmp_path / "b.json", captions), scan2cap_truth(content, tmp_path), plain)


DOCS = {
    "scanrefer": {"scene_id": "s", "object_id": 1, "ann_id": 0, "gt_box": [0, 0, 0, 1, 1, 1], "eval_type": "unique"},
    "multi3drefer": {"scene_id": "s", "ann_id": 0, "gt_boxes": [[0, 0, 0, 1, 1, 1]], "eval_type": "st_w_d"},
    "scan2cap": {"scene_id": "s", "object_id": 1, "gt_box": [0, 0, 0, 1, 1, 1], "references": ["a chair."]},
    "scanqa": {"scene_id": "s", "question_id": "q", "question": "What?", "answers": ["chair"]},
    "sqa3d": {"scene_id": "s", "question_id": 1, "question": "What?", "answer": "chair", "situation": ""},
}


@pytest.mark.parametrize("task", DOCS)
def test_records_cut_short_are_errors_that_name_the_line(tmp_path, plain, task):
    record = get(task).record(DOCS[task], "[0, 0, 0, 1, 1, 1]")
    assert score(task, write(tmp_path / "p.jsonl", [{"m": record}]), None, plain).scores.counts["questions"] == 1
    for lacks in ("iou", "eval_type", "caption", "references", "answers", "answer", "question", "multiple", "chosen"):
        cut, wrong = ({name: v for name, v in record.items() if name != lacks}, {**record, lacks: {"x": 1}})
        for broken in (cut, wrong) if lacks in record else ():
            with pytest.raises(DataError, match=f"p.jsonl, line 2: .*`{lacks}[`.]"):
                score(task, write(tmp_path / "p.jsonl", [{"m": record}, {"m": broken}]), None, plain)


def test_bytes_that_are_not_utf8_are_an_error(golden, tmp_path, plain):
    (tmp_path / "p.json").write_bytes(b'{"a": "caf\xe9"}')
    with pytest.raises(DataError, match="UTF-8"):
        score("scanqa", tmp_path / "p.json", scanqa_truth(golden("scanqa"), tmp_path), plain)


def test_what_is_missing_is_said_with_the_remedy(golden, tmp_path, plain):
    path = write(tmp_path / "p.json", [{"question_id": "a", "answer": "x"}])
    with pytest.raises(MissingError, match="--annotations"):
        score("scanqa", path, None, plain)
    with pytest.raises(MissingError, match="annotation file"):
        score("scanqa", path, GroundTruth(annotations=[tmp_path / "absent.json"]), plain)
    with pytest.raises(MissingError, match="predictions"):
        score("scanqa", tmp_path / "absent.json", scanqa_truth(golden("scanqa"), tmp_path), plain)
    with pytest.raises(DataError, match="2 annotation"):
        score("sqa3d", path, GroundTruth(annotations=[path]), plain)
    annotations, _ = scanrefer_files(golden("scanrefer"), tmp_path)
    items = [{k: v for k, v in i.items() if k not in ("bbox", "gt_box")} for i in json.loads(annotations.read_text())]
    with pytest.raises(MissingError, match="--boxes"):
        score("scanrefer", path, GroundTruth(annotations=[write(annotations, items)]), plain)


def test_objects_without_a_box_are_left_out_and_counted(golden, tmp_path, plain):
    content = golden("scan2cap")
    truth = scan2cap_truth(content, tmp_path)
    boxes = json.loads(truth.boxes.read_text())
    first = content["objects"][0]
    del boxes[first["scene_id"]][first["object_id"]]
    write(truth.boxes, boxes)
    lines = [
        {"scene_id": o["scene_id"], "object_id": o["object_id"], "caption": o["pred"], "box": None}
        for o in content["objects"]
    ]
    result = score("scan2cap", write(tmp_path / "p.jsonl", lines), truth, plain)
    assert result.notes == {"left out: object has no annotated box": 1} or sum(result.notes.values()) >= 1
    assert result.scores.counts["extra"] == 1


def test_boxes_in_the_references_form(golden, tmp_path, plain):
    from video3d_plugin.score.documents import read_boxes

    path = write(tmp_path / "gt_box.json", {"scannet/s": [[0, 0, 0, 1, 1, 1], None, corners_of_box([1] * 6).tolist()]})
    assert read_boxes(path) == {"s": {0: (0, 0, 0, 1, 1, 1), 2: (1, 1, 1, 1, 1, 1)}}


def test_a_flag_that_differs_from_the_annotations_is_counted(shared, golden, tmp_path, plain):
    labels = shared / "realscan" / "scannetv2-labels.combined.tsv"
    if not labels.is_file():
        pytest.skip("VIDEO3D_SHARED has no label table")
    annotations, predictions = scanrefer_files(golden("scanrefer"), tmp_path)
    truth = GroundTruth(annotations=[annotations], labels=labels)
    result = score("scanrefer", write(tmp_path / "a.json", predictions), truth, plain)
    assert result.notes == {}  # the golden's groups are those of the table
    expected = golden("scanrefer")["expected"]["video3dllm_percent"]["all"]
    assert result.scores.values["v3d_unique_acc@0.5"] == pytest.approx(expected["unique iou@0.5"])
    predictions[0]["unique_multiple"] = 1 - predictions[0]["unique_multiple"]
    result = score("scanrefer", write(tmp_path / "b.json", predictions), truth, plain)
    assert list(result.notes.values()) == [1]


def test_nan_in_a_prediction_is_wrong_and_counted(golden, tmp_path, plain):
    annotations, predictions = scanrefer_files(golden("scanrefer"), tmp_path)
    path = tmp_path / "p.json"
    predictions[0]["bbox"] = [[float("nan")] * 3] * 8
    path.write_text(json.dumps(predictions))
    result = score("scanrefer", path, GroundTruth(annotations=[annotations]), plain)
    assert result.scores.counts["unreadable"] == 1


def test_the_command_prints_numbers_and_reasons(golden, tmp_path, capsys):
    pytest.importorskip("pycocoevalcap")
    content = golden("scanqa")
    truth = scanqa_truth(content, tmp_path)
    path = write(tmp_path / "p.json", {i["question_id"]: i["pred"] for i in content["items"][1:]})
    parser = __import__("argparse").ArgumentParser()
    cli.add_arguments(parser)
    base = ["scanqa", str(path), "--annotations", str(truth.annotations[0]), "--without-meteor"]
    assert cli.run(parser.parse_args([*base, "--records", str(tmp_path / "r.jsonl")])) == 0
    text = capsys.readouterr().out
    assert "em@1" in text and "1 missing" in text and "--without-meteor" in text and "v3d_em" not in text
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == len(content["items"])
    assert cli.run(parser.parse_args([*base, "--json"])) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["values"]["meteor"] is None and printed["missing"]["meteor"] and printed["counts"]["missing"] == 1
    assert cli.run(parser.parse_args([*base, "--all"])) == 0
    assert "v3d_em" in capsys.readouterr().out


@pytest.mark.parametrize(
    "asked, split",
    [("sqa3d", "test"), ("sqa3d --split val", "val"), ("scanqa", "val"), ("scanqa --split test", "test")],
)
def test_the_split_asked_for_is_used(monkeypatch, asked, split):
    seen = []
    monkeypatch.setattr(cli, "score", lambda task, path, truth, *more: seen.append(truth.split) or Result(task, EMPTY))
    parser = __import__("argparse").ArgumentParser()
    cli.add_arguments(parser)
    task, *options = asked.split()
    cli.run(parser.parse_args([task, "p.jsonl", "--data", "DATA", "--without-meteor", "--json", *options]))
    assert seen == [split]


def test_records_hold_any_text_and_come_after_the_numbers(tmp_path, capsys):
    pytest.importorskip("pycocoevalcap")
    truth = sqa_truth(tmp_path, [("What is it?", "chair")])
    path = write(tmp_path / "p.jsonl", [{"question_id": 0, "answer": "half a pair: \ud83d, café"}])
    parser = __import__("argparse").ArgumentParser()
    cli.add_arguments(parser)
    base = ["sqa3d", str(path), "--without-meteor", "--annotations", *map(str, truth.annotations), "--records"]
    assert cli.run(parser.parse_args([*base, str(tmp_path / "new" / "r.jsonl")])) == 0
    (line,) = (tmp_path / "new" / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["answer"] == "half a pair: \ud83d, café" and "café" in line
    capsys.readouterr()
    with pytest.raises(DataError, match="cannot be written"):
        cli.run(parser.parse_args([*base, str(tmp_path)]))
    assert "em_what" in capsys.readouterr().out
    assert not [p for p in tmp_path.rglob("*") if "tmp" in p.name.removeprefix(".").split(".", 1)[-1]]


def help_examples() -> list[list[str]]:
    lines = cli.EPILOG.split("examples:")[1].replace("\\\n", " ").strip().splitlines()
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("example", help_examples(), ids=" ".join)
def test_every_example_of_the_help_gives_numbers(example, tmp_path, monkeypatch, capsys, benchmark_folder):
    pytest.importorskip("pycocoevalcap")
    command, task, file, *words = example
    official = [next(benchmark_folder.parent.rglob(name)) for name in get(task).files[get(task).eval_split]]
    for path in official:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "video3d-data").symlink_to(benchmark_folder)
    items = get(task).read(official)
    write(tmp_path / file, [{"question_id": item["question_id"], "answer": item["answer"]} for item in items])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = [str(Path(word).expanduser()) for word in words]
    assert main([command, task, file, *words, "--without-meteor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["values"]["em"] == 100 and printed["counts"]["questions"] == len(items) > 0


def test_every_format_of_the_docstring_is_read(tmp_path):
    path = write(tmp_path / "p.jsonl", [{"item_id": "s|1|0", "unanswered": "no scene"}])
    (given,) = read_predictions(get("scanrefer"), path)
    assert given.prediction == {"unanswered": "no scene"}
