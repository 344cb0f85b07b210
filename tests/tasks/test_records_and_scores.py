from __future__ import annotations

import json

import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.iou import corners_of_box
from video3d_plugin.tasks import get, usable
from video3d_plugin.tasks.kinds import LONGEST_ANSWER

TASKS = usable()
BOX = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
FAR = [9.0, 9.0, 9.0, 1.0, 1.0, 1.0]


def scanrefer_doc(ann_id="0", **more):
    ids = {"scene_id": "s", "object_id": "3", "ann_id": ann_id, "description": "the chair"}
    return {**ids, "gt_box": BOX, "eval_type": "unique", "multiple": True, "others": False, **more}


def multi_doc(ann_id=0, boxes=(BOX,), eval_type="st_w_d", **more):
    return {"scene_id": "s", "ann_id": ann_id, "eval_type": eval_type, "gt_boxes": [list(b) for b in boxes], **more}


def cap_doc(object_id="1", box=BOX, **more):
    doc = {"scene_id": "s", "object_id": object_id, "object_name": "chair", "gt_box": BOX, "box": box}
    return {**doc, "references": ["a brown chair."], "token": [["a", "brown", "chair", "."]], **more}


def qa_doc(question_id="q", answers=("brown", "dark brown")):
    return {"question_id": question_id, "scene_id": "s", "question": "What color?", "answers": list(answers)}


def sqa_doc(question_id=1, question="What is it?", answer="tv"):
    return {"question_id": question_id, "scene_id": "s", "situation": "I sit.", "question": question, "answer": answer}


def repr_start(value):
    return type(value).__name__ if isinstance(value, int | str) else repr(value)[:20]


def referit_doc(**more):
    return {**scanrefer_doc(), "easy": True, "view_dependent": False, **more}


DOCS = {
    "nr3d": referit_doc(),
    "sr3d": referit_doc(),
    "scanrefer": scanrefer_doc(),
    "multi3drefer": multi_doc(),
    "scan2cap": cap_doc(),
    "scanqa": qa_doc(),
    "sqa3d": sqa_doc(),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "prediction", [None, "", "none", "[0,0,0,1,1,1]", "a\nb\n", "日本 café", "{", '{"x": 1}', [], ["x"]]
)
def test_any_prediction_gives_a_record_that_json_can_hold(task, prediction):
    record = TASKS[task].record(DOCS[task], prediction)
    assert json.loads(json.dumps(record)) == json.loads(json.dumps(record))
    assert record["status"] in ("ok", "missing", "empty", "unreadable")
    assert record["id"] and record["scene_id"] == "s"


@pytest.mark.parametrize("task", TASKS)
def test_a_record_scores_the_same_after_a_trip_through_json(task, score):
    records = [TASKS[task].record(DOCS[task], "[0,0,0,1,1,1]")]
    again = json.loads(json.dumps(records))
    assert TASKS[task].scores(again, score) == TASKS[task].scores(records, score)


@pytest.mark.parametrize("task", TASKS)
def test_every_name_is_there_with_and_without_records(task, score):
    records = [TASKS[task].record(DOCS[task], "x")]
    assert set(TASKS[task].scores(records, score).flat()) == set(TASKS[task].names())
    assert set(TASKS[task].headline) <= set(TASKS[task].names())


@pytest.mark.parametrize("task", TASKS)
def test_unanswered_questions_are_counted(task, score):
    record = TASKS[task].record(DOCS[task], {"unanswered": "the scene cannot be read"})
    assert record["status"] == "missing" and record["reason"] == "the scene cannot be read"
    assert TASKS[task].scores([record], score).counts["missing"] == 1


def test_several_lines_and_characters_beyond_ascii_are_counted_and_scored(score):
    task = TASKS["scan2cap"]
    scores = task.scores([task.record(cap_doc(), "a brown\nchair.\n"), task.record(cap_doc("2"), "un café ✓")], score)
    assert scores.counts["multi_line"] == 1 and scores.counts["non_ascii"] == 1
    only = task.scores([task.record(cap_doc(), "a brown\nchair.")], score)
    assert only.values["rouge@0.5"] == pytest.approx(100) and only.values["benchmark_rouge_f1@0.5"] == pytest.approx(
        100
    )
    text = TASKS["scanrefer"].record(scanrefer_doc(), "Voilà:\n[0,0,0,1,1,1]")
    assert text["peculiar"] == ["multi_line", "non_ascii"] and text["status"] == "ok"


def test_without_pycocoevalcap_exact_matches_still_come(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    scores = TASKS["sqa3d"].scores([TASKS["sqa3d"].record(sqa_doc(), "TV")])
    assert scores.values["em"] == 100 and scores.values["leo_cider"] is None
    assert "pycocoevalcap is not installed" in scores.missing["leo_cider"]


def test_where_pycocoevalcap_is_not_installed_at_all_exact_matches_come_too(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "pycocoevalcap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    scores = TASKS["sqa3d"].scores([TASKS["sqa3d"].record(sqa_doc(), "TV")])
    assert scores.values["em"] == 100 and scores.values["leo_cider"] is None
    assert {"leo_cider", "chatscene_cider"} <= set(scores.missing)


def test_scores_of_proposals_choose_the_box():
    prediction = {"scores": [0.1, 0.9, 2.0], "boxes": [FAR, BOX], "has_zero_target": True}
    for form in (prediction, json.dumps(prediction), [json.dumps(prediction)]):
        record = TASKS["scanrefer"].record(scanrefer_doc(), form)
        assert record["box"] == BOX and record["iou"] == pytest.approx(1)
        assert record["prediction"]["scores"] == [0.1, 0.9, 2.0]


def test_groups_come_from_the_document():
    record = TASKS["scanrefer"].record(scanrefer_doc(multiple=True, others=True), "[0,0,0,1,1,1]")
    numbers = TASKS["scanrefer"].aggregate([record])
    assert numbers["multiple_in_others_acc@0.5"] == 100 and numbers["v3d_unique_acc@0.5"] == 100
    unknown = TASKS["scanrefer"].record(scanrefer_doc(eval_type="unknown", multiple=None, others=None), "[0,0,0,1,1,1]")
    numbers = TASKS["scanrefer"].aggregate([unknown])
    assert numbers["acc@0.5"] == 100 and numbers["count_unique"] == numbers["count_multiple"] == 0


@pytest.mark.parametrize(
    "prediction",
    [
        {"scores": [0.1], "boxes": [FAR, BOX], "has_zero_target": True},
        {"scores": [float("nan"), 0.1], "boxes": [BOX, FAR]},
        {"scores": ["a", 0.1], "boxes": [BOX, FAR]},
        {"scores": [1.0], "boxes": [[1, 2]]},
        {"box": [1, 2, 3]},
        {"box": [[1, 2], [3, 4]] * 4},
        {"boxes": [[0, 0, 0, 1, 1, 1e39]]},
        {"box": [10**400] * 6},
        {"box": [["a"] * 3] * 8},
        {"scores": [float("inf"), 0.1, 0.0], "boxes": [BOX, FAR]},
        {"scores": [-1e39, -1e39, -1e39], "boxes": [BOX, FAR]},
        {"caption": "a chair"},
        {"boxes": 5},
        {"boxes": "none"},
        {"boxes": [BOX, None]},
        [BOX, [1, 2]],
        ["[0, 0, 0, 1, 1, 1]", "[9, 9, 9, 1, 1, 1]"],
        '{"answer": "yes"}',
        '{"caption": "a chair"}',
        "no idea [1, 2]",
        "[0, 0, 0, 1, 1, 1e39]",
    ],
)
def test_unreadable_predictions_are_wrong_and_counted(prediction):
    for task in ("scanrefer", "multi3drefer"):
        doc = DOCS["scanrefer"] if task == "scanrefer" else multi_doc(boxes=(), eval_type="zt_w_d")
        record = TASKS[task].record(doc, prediction)
        numbers = TASKS[task].aggregate([record])
        assert record["status"] == "unreadable" and numbers["count_unreadable"] == 1
        assert numbers["acc@0.25" if task == "scanrefer" else "f1@0.25"] == 0


def test_saying_nothing_is_there_is_right_for_zero_targets_and_silence_is_not():
    doc = multi_doc(boxes=(), eval_type="zt_wo_d")
    assert TASKS["multi3drefer"].aggregate([TASKS["multi3drefer"].record(doc, "[]")])["f1@0.5"] == 100
    assert TASKS["multi3drefer"].aggregate([TASKS["multi3drefer"].record(doc, "")])["f1@0.5"] == 0


def test_all_rules_are_reported():
    import math

    shares = [0.3, 0.3, 0.2, 0.2]
    prediction = {"scores": [math.log(s) * 0.07 for s in shares], "boxes": [BOX, FAR, [5, 5, 5, 1, 1, 1]]}
    prediction["scores"][0] += 1e-3
    numbers = TASKS["multi3drefer"].aggregate([TASKS["multi3drefer"].record(multi_doc(), prediction)])
    assert numbers["mass0.25_f1@0.5"] == 100 and numbers["f1@0.5"] == pytest.approx(200 / 3)
    assert numbers["mass0.25_v3d_f1@0.5"] == 100 and numbers["v3d_f1@0.5"] == pytest.approx(200 / 3)
    assert numbers["half_f1@0.5"] == numbers["half_v3d_f1@0.5"] == pytest.approx(50)  # 0.2 is more than half of 0.3


def test_a_repeated_object_id_is_one_box_for_m3dref_and_two_for_video3dllm():
    doc = multi_doc(boxes=(BOX, BOX), eval_type="mt", object_ids=[4, 4])
    numbers = TASKS["multi3drefer"].aggregate([TASKS["multi3drefer"].record(doc, "[0,0,0,1,1,1]")])
    assert numbers["f1@0.5"] == 100 and numbers["v3d_f1@0.5"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    "answer",
    [
        {"boxes": [{"bbox_3d": BOX, "label": "chair"}]},
        {"answer": BOX},
        {"answer": str(BOX)},
        {"caption": "a chair", "bbox_3d": [BOX]},
        {"scores": [0.9], "bbox_3d": [BOX]},
        {"boxes": [[*BOX, 0.0]]},
        {"box": {"center": BOX[:3], "size": BOX[3:]}},
        {"unanswered": "", "box": BOX},
    ],
)
def test_json_of_a_foreign_model_is_read_as_text_with_boxes(answer):
    assert TASKS["scanrefer"].record(scanrefer_doc(), json.dumps(answer))["box"] == BOX
    record = TASKS["multi3drefer"].record(multi_doc(), json.dumps(answer))
    assert record["status"] == "ok" and TASKS["multi3drefer"].aggregate([record])["f1@0.5"] == 100


@pytest.mark.parametrize("form", [BOX, [BOX], (BOX,), {"box": BOX}, {"boxes": BOX}, {"box": [BOX]}, {"bbox": BOX}])
def test_one_box_may_stand_alone_or_in_a_list(form):
    assert TASKS["scanrefer"].record(scanrefer_doc(), form)["box"] == BOX
    assert TASKS["multi3drefer"].record(multi_doc(), form)["chosen"]["half"]["boxes"] == [BOX]


@pytest.mark.parametrize("key", [None, "box", "boxes"])
def test_every_box_of_a_list_counts(key):
    corners = [corners_of_box(box).tolist() for box in (BOX, FAR)]
    for boxes in ([BOX, FAR], corners, [BOX] * 8, []):
        record = TASKS["multi3drefer"].record(multi_doc(), {key: boxes} if key else boxes)
        assert record["status"] == "ok" and len(record["chosen"]["half"]["boxes"]) == len(boxes)
    both = TASKS["multi3drefer"].record(multi_doc(), {key: [BOX, FAR]} if key else [BOX, FAR])
    assert TASKS["multi3drefer"].aggregate([both])["f1@0.5"] == pytest.approx(200 / 3)


def test_an_answer_of_a_task_of_words_may_be_json(score):
    for task, doc in (("scanqa", qa_doc()), ("sqa3d", sqa_doc())):
        assert TASKS[task].record(doc, '{"answer": "brown"}')["answer"] == "brown"
        assert TASKS[task].record(doc, '{"colour": "brown"}')["answer"] == '{"colour": "brown"}'
    assert TASKS["scan2cap"].record(cap_doc(), '{"caption": "a chair"}')["caption"] == "a chair"


def test_json_without_an_end_is_text():
    text = '{"a": ' * 3_000
    assert TASKS["sqa3d"].record(sqa_doc(), text)["answer"] == text
    assert TASKS["multi3drefer"].record(multi_doc(), text)["status"] == "unreadable"


@pytest.mark.parametrize("task", ["scan2cap", "scanqa", "sqa3d"])
@pytest.mark.parametrize(
    "words", ["x" * (LONGEST_ANSWER + 1), True, ["a", "list"], {"a": 1}, 10**5000, float("nan")], ids=repr_start
)
def test_what_is_no_text_or_too_long_is_unreadable_and_counted(task, words, score):
    key = "caption" if task == "scan2cap" else "answer"
    record = TASKS[task].record(DOCS[task], {key: words})
    assert record["status"] == "unreadable" and record[key] == ""
    assert TASKS[task].scores([record], score).counts["unreadable"] == 1


@pytest.mark.parametrize("answers", [[True], ["a", None], ["x" * (LONGEST_ANSWER + 1)], [["a"]], [{}]], ids=repr_start)
def test_ranked_answers_that_are_no_texts_are_unreadable(answers):
    record = TASKS["scanqa"].record(qa_doc(), {"answers": answers})
    assert (record["status"], record["answer"], record["answers_top10"]) == ("unreadable", "", None)


@pytest.mark.parametrize("task", ["scanrefer", "multi3drefer"])
@pytest.mark.parametrize("scores", [["1", "2"], [True, False], [float("nan"), 1.0], [[1.0], [2.0]], [None, 1.0]])
def test_scores_that_are_no_numbers_are_unreadable_and_never_written_as_nan(task, scores):
    record = TASKS[task].record(DOCS[task], {"scores": scores, "boxes": [BOX, FAR]})
    assert record["status"] == "unreadable"
    json.dumps(record, allow_nan=False)


def test_a_duplicate_replaces_the_earlier_one_and_is_counted():
    record = TASKS["scanrefer"].record
    numbers = TASKS["scanrefer"].aggregate(
        [record(scanrefer_doc(), "[9,9,9,1,1,1]"), record(scanrefer_doc(), "[0,0,0,1,1,1]")]
    )
    assert numbers["acc@0.5"] == 100 and numbers["count_duplicate"] == 1 and numbers["count_questions"] == 1


def test_a_caption_counts_for_the_box_it_came_with(score):
    task = TASKS["scan2cap"]
    good, bad = (
        task.record(cap_doc(), "a brown chair."),
        task.record(cap_doc(), {"caption": "a brown chair.", "box": FAR}),
    )
    nothing = task.record(cap_doc(box=None), "a brown chair.")
    assert task.scores([good], score).values["rouge@0.5"] == pytest.approx(100)
    assert task.scores([bad], score).values["rouge@0.5"] < 60
    assert nothing["iou"] is None and task.scores([nothing], score).counts["no_box"] == 1


def test_without_tokens_in_the_annotations_descriptions_are_split(score):
    record = TASKS["scan2cap"].record(cap_doc(token=[[]]), "a brown chair.")
    assert record["reference_tokens"] == [["a", "brown", "chair", "."]]


def test_ranked_answers_give_em10_and_plain_ones_say_why_not(score):
    task = TASKS["scanqa"]
    ranked = task.record(qa_doc(), {"answers": ["red", "brown"]})
    assert ranked["answer"] == "red"
    values = task.scores([ranked], score).values
    assert values["em@1"] == 0 and values["em@10"] == 100
    plain = task.scores([task.record(qa_doc(), "brown")], score)
    assert plain.values["em@1"] == 100 and plain.values["em@10"] is None and "ranked" in plain.missing["em@10"]


@pytest.mark.parametrize("value, answer", [("brown", "brown"), (2, "2")])
def test_what_is_no_list_of_ranked_answers_is_one_answer(value, answer):
    record = TASKS["scanqa"].record(qa_doc(), json.dumps({"answers": value}))
    assert record["status"] == "ok" and record["answer"] == answer and record["answers_top10"] == [answer]


@pytest.mark.parametrize("more", [{"tokens": 5}, {"tokens": "a chair"}, {"box": [BOX, BOX]}, {"box": "here"}])
def test_a_caption_with_unreadable_tokens_or_box_is_wrong_and_counted(score, more):
    record = TASKS["scan2cap"].record(cap_doc(), {"caption": "a brown chair.", **more})
    scores = TASKS["scan2cap"].scores([record], score)
    assert scores.counts["unreadable"] == 1 and scores.values["rouge@0.5"] < 60


def test_the_exact_match_of_scanqa_is_letter_for_letter(score):
    values = TASKS["scanqa"].scores([TASKS["scanqa"].record(qa_doc(), "Brown.")], score).values
    assert values["em@1"] == values["v3d_em"] == 0 and values["leo_em"] == 100


def test_a_missing_answer_is_wrong_in_every_convention_that_keeps_it(score):
    for task, doc in (("scanqa", qa_doc()), ("sqa3d", sqa_doc())):
        values = TASKS[task].scores([TASKS[task].record(doc, None)], score).values
        assert {n: v for n, v in values.items() if "em" in n.split("_")[0] and v not in (0, None)} == {}
        assert values["leo_em_refined"] == 0 and values["v3d_em"] is None


def test_questions_without_public_answers_are_counted_and_not_scored(score):
    scores = TASKS["scanqa"].scores([TASKS["scanqa"].record(qa_doc(answers=()), "brown")], score)
    assert scores.values["em@1"] is None and scores.counts["without_reference"] == 1


def test_sqa3d_types_by_both_rules(score):
    records = [
        TASKS["sqa3d"].record(sqa_doc(1, "Isn't it on?", "yes"), "Yes."),
        TASKS["sqa3d"].record(sqa_doc(2), "a TV"),
    ]
    values = TASKS["sqa3d"].scores(records, score).values
    assert values["em"] == values["em_others"] == values["em_what"] == values["v3d_em_is"] == 100
    assert values["em_is"] is None and values["v3d_em_others"] is None


def test_sqa3d_types_are_the_stated_ones_where_the_question_follows_its_situation_in_one_text(score):
    text = "I sit on the couch. Is it on?"
    processed = {**sqa_doc(1, text, "yes"), "situation": "", "question_type": "is"}
    values = TASKS["sqa3d"].scores([TASKS["sqa3d"].record(processed, "yes")], score).values
    assert values["em_is"] == values["v3d_em_is"] == values["leo_em_is"] == 100
    assert values["em_others"] is None and values["v3d_em_others"] is None
    official = {**sqa_doc(2, "Isn't it on?", "yes"), "question_type": "is"}
    for doc in (official, {**official, "question_type": "N/A"}, {**official, "question_type": None}):
        values = TASKS["sqa3d"].scores([TASKS["sqa3d"].record(doc, "yes")], score).values
        assert values["em_others"] == values["v3d_em_is"] == 100


def test_without_java_the_official_scanqa_numbers_are_missing_with_the_reason(no_java):
    pytest.importorskip("pycocoevalcap")
    scores = TASKS["scanqa"].scores([TASKS["scanqa"].record(qa_doc(), "brown")])
    for name in ("bleu1", "bleu4", "meteor", "rouge", "cider", "v3d_meteor", "chatscene_cider"):
        assert scores.values[name] is None and "java" in scores.missing[name].lower()
    assert scores.values["em@1"] == 100 and scores.values["v3d_bleu1"] == pytest.approx(100)
    assert all(name in scores.missing for name, value in scores.values.items() if value is None)


def test_without_java_scan2cap_still_has_all_but_meteor_and_ptb(no_java):
    pytest.importorskip("pycocoevalcap")
    scores = TASKS["scan2cap"].scores([TASKS["scan2cap"].record(cap_doc(), "a brown chair.")])
    assert scores.values["rouge@0.5"] == pytest.approx(100) and scores.values["meteor@0.5"] is None
    assert scores.values["benchmark_rouge_f1@0.5"] == pytest.approx(100)
    gone = {name for name, value in scores.values.items() if value is None}
    assert gone and all("meteor" in name or "chatscene" in name for name in gone) and gone == set(scores.missing)


def test_an_unknown_task_lists_the_known_ones():
    with pytest.raises(DataError, match="scanrefer, multi3drefer"):
        get("scanreefer")
