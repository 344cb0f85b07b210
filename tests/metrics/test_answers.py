from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video3d_plugin.metrics import answers
from video3d_plugin.metrics.answers import clean_answer


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("The TV.", "TV"),
        ("  two   Chairs ", "two chairs"),
        ("12 chairs, 3 tables", "twelve chairs, three tables"),
        ("café", "caf"),
        ("3.5", "35"),
        ("letf of the chai", "left of chair"),
        ("", ""),
        ("日本語", ""),
    ],
)
def test_clean_answer(text, cleaned):
    assert clean_answer(text) == cleaned


@given(st.text(max_size=200))
def test_clean_answer_takes_any_text_and_leaves_plain_characters(text):
    assert all(c.isspace() or (c.isascii() and (c.isalnum() or c in ",'-:")) for c in clean_answer(text))


def test_leo_stops_at_the_first_reference_that_contains_or_is_contained():
    assert answers.leo_match("brown", ["dark brown", "brown"]) == (0, 1)
    assert answers.llava3d_match("brown", ["dark brown", "brown"]) == (1, 1)


def test_an_empty_answer_is_in_every_reference_but_for_chat_scene():
    assert answers.leo_match("", ["brown"]) == answers.llava3d_match("", ["brown"]) == (0, 1)
    assert answers.chatscene_match("", ["brown"]) == (0, 0)


def test_white_space_does_not_matter_for_refined_matches():
    assert answers.leo_match("night stand", ["nightstand"]) == (0, 1)


def test_the_lenient_script_accepts_a_shared_word():
    assert answers.lenient_match("left side", "left") == 1
    assert answers.lenient_match("right", "left") == 0
    assert answers.lenient_match("", "left") == 1


def test_question_types_differ_where_a_word_only_begins_with_a_type():
    for question, prefix, first in [("Isn't it?", "is", "others"), ("Candle or lamp?", "can", "others")]:
        assert answers.question_type_by_prefix(question) == prefix
        assert answers.question_type_by_first_word(question) == first
    assert answers.question_type_by_first_word("What's this?") == "what"
    assert answers.question_type_by_prefix("") == answers.question_type_by_first_word("") == "others"


def test_scanqas_classes_go_by_the_first_phrase_found():
    cases = {
        "Where is it?": "place", "How many are there?": "number", "What is the color of it?": "color",
        "What kind of chair is it?": "object_nature", "What is on it?": "object", "what is on it?": "other",
    }  # fmt: skip
    assert {q: answers.scanqa_question_type(q) for q in cases} == cases


def test_by_type_by_hand():
    numbers = answers.by_type([1, 0, 1], ["what", "what", "is"], "em")
    assert numbers["em"] == pytest.approx(200 / 3) and numbers["em_what"] == 50 and numbers["em_is"] == 100
    assert numbers["em_how"] is None


def test_both_type_rules_give_the_published_counts_on_the_real_questions(shared):
    files = sorted((shared / "sqa3d").rglob("*questions_test*.json"))
    if not files:
        pytest.skip("VIDEO3D_SHARED has no test questions of SQA3D")
    questions = [q["question"] for q in json.loads(files[0].read_text())["questions"]]
    for rule in (answers.question_type_by_prefix, answers.question_type_by_first_word):
        counts = Counter(map(rule, questions))
        assert [counts[name] for name in answers.SQA3D_TYPES] == [1147, 652, 465, 338, 351, 566]


def test_clean_answer_leaves_the_real_answers_alone(shared):
    files = sorted((shared / "sqa3d").rglob("*annotations_test*.json"))
    if not files:
        pytest.skip("VIDEO3D_SHARED has no test annotations of SQA3D")
    found = [a["answer"] for item in json.loads(files[0].read_text())["annotations"] for a in item["answers"]]
    assert len(found) == 3519 and [clean_answer(a) for a in found] == found
