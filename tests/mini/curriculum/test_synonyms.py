"""Synonyms of labels: read from answers, understood in questions, used in phrases."""

from __future__ import annotations

import random
import re

import pytest

from video3d_plugin.mini.curriculum.object_questions import synonyms
from video3d_plugin.mini.curriculum.phrases import Phrase, phrases, with_synonyms
from video3d_plugin.mini.curriculum.question_phrases import question_phrase, question_phrases
from video3d_plugin.prompts import ANSWER_PROMPT
from video3d_plugin.scene import Question

ROOM = {1: ("red", "couch"), 2: ("blue", "couch"), 3: ("brown", "table"), 4: (None, "tv"), 5: (None, "tv stand")}
BOXES = {1: (0, 2.5, 0), 2: (3, 2, 0), 3: (0, 2, 0), 4: (9, 9, 0), 5: (1, 8, 0)}
OTHERS = {"couch": ("sofa",), "tv": ("television", "screen")}


def asking(question, answer, about, item="0", task="scanqa"):
    prompt = ANSWER_PROMPT.format(question=question)
    return Question(task, item, "room", prompt, answer, metadata={"object_ids": about})


def several(question, answers, about):
    return [asking(question, answer, about, str(n)) for n, answer in enumerate(answers)]


def test_synonyms_worked_by_hand():
    questions = [
        *several("What is by the table?", ["couch", "sofa"], [1]),
        *several("What is in front of it?", ["Sofa", "Couch"], [1, 2]),
        *several("What stands there?", ["couch", "sofa", "red thing"], [1]),
        *several("What is on it?", ["couch"], [2]),
        *several("Which one?", ["couch", "seat"], [2]),
        *several("How many?", ["1", "one"], [3]),  # the label is no answer
        *several("What is here?", ["table", "couch"], [1, 3]),  # about two labels
        *several("What is under it?", ["tv stand", "cabinet"], [77]),  # not annotated
        Question("scanrefer", "0", "room", "the couch", "<ground>", targets=(1,)),
    ]
    assert synonyms(questions, {"room": ROOM}) == {"couch": ("sofa",)}
    assert synonyms([], {"room": ROOM}) == synonyms(questions, {}) == {}


@pytest.mark.parametrize(
    ("question", "ends"),
    [
        ("What color is the sofa?", [("sofa", (1, 2))]),
        ("What color is the red Sofa by the television?", [("red Sofa", (1,)), ("television", (4,))]),
        ("Are there sofas by the screens?", [("sofas", (1, 2)), ("screens", (4,))]),
        ("Is the couch near the tv stand?", [("couch", (1, 2)), ("tv stand", (5,))]),
        ("Is it on the sofabed?", []),
    ],
)
def test_synonyms_are_read_as_their_label(question, ends):
    phrase = question_phrase(asking(question, "red", [1]), ROOM, BOXES, ROOM, OTHERS)
    assert len(phrase.names) == len(ends)
    assert all(
        phrase.text[:end].endswith(word) and ids == named
        for (end, ids), (word, named) in zip(phrase.names, ends, strict=True)
    )


def test_without_synonyms_they_are_no_names():
    (phrase,) = question_phrases([asking("What color is the sofa?", "red", [1])], ROOM, BOXES, ROOM, 3)
    assert phrase.names == ()


def test_a_synonym_in_an_answer_names_the_target():
    phrase = question_phrase(asking("Where is the table?", "next to the sofa", [3]), ROOM, BOXES, ROOM, OTHERS)
    assert phrase.target == (1,) and phrase.anchor == (3,)


def test_phrases_with_synonyms_keep_their_names_and_targets():
    rng = random.Random(0)
    boxes = {i: (*box, 1, 1, 1) for i, box in BOXES.items()}
    seen = set()
    for phrase in phrases(ROOM, boxes, sorted(ROOM), 300, rng):
        other = with_synonyms(phrase, ROOM, OTHERS, rng)
        back = re.sub(r"\bsofa\b", "couch", re.sub(r"\b(television|screen)\b", "tv", other.text))
        assert back == phrase.text and len(other.names) == len(phrase.names)
        for (end, ids), (_, same) in zip(other.names, phrase.names, strict=True):
            word = re.search(r"(sofa|couch|television|screen|tv|tv stand|table|object)$", other.text[:end])
            assert word and ids == same
            seen.add(word[0])
        if phrase.viewpoint:
            assert other.text[: other.viewpoint[0]][-1] == phrase.text[: phrase.viewpoint[0]][-1]
            assert other.viewpoint[1:] == phrase.viewpoint[1:]
    assert {"sofa", "couch", "television", "screen", "tv", "tv stand"} <= seen


def test_a_word_within_a_longer_label_is_not_replaced():
    phrase = Phrase("by the tv stand, red object.", ((15, (5,)), (27, (1, 2))), (5,), (5,))
    others = {"stand": ("rack",), "tv": ("screen",), "couch": ("sofa",), "object": ("thing",)}
    assert {with_synonyms(phrase, ROOM, others, random.Random(seed)) for seed in range(20)} == {phrase}
    said = {with_synonyms(phrase, ROOM, {"tv stand": ("bench",)}, random.Random(seed)).text for seed in range(20)}
    assert said == {phrase.text, "by the bench, red object."}
