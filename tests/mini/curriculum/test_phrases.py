"""Generated phrases: their names, targets and answers."""

from __future__ import annotations

import random
import re

import numpy as np

from video3d_plugin.mini.curriculum.phrase_rows import phrase_rows
from video3d_plugin.mini.curriculum.phrases import phrases


def test_names_and_targets_of_phrases_worked_by_hand():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: (None, "trash can")}
    boxes = {1: (0, 0, 0), 2: (5, 0, 0), 3: (1, 0, 0)}
    called = {"red chair": (1,), "blue chair": (2,), "chair": (1, 2), "trash can": (3,)}
    made = phrases(objects, boxes, [1, 2, 3], 3000, random.Random(0))
    assert len(made) == 3000
    for phrase in made:
        for end, ids in phrase.names:
            name = max((n for n in called if phrase.text[:end].endswith(n)), key=len)
            assert called[name] == ids
        assert len(phrase.points) == phrase.text.count("<coord>") <= 1
        assert phrase.mentions == [*(ids for _, ids in phrase.names), *((i,) for i in phrase.points)]
        if phrase.viewpoint:
            continue
        assert (phrase.asks is not None) == phrase.text.endswith("?")
        assert phrase.target, "there is a chair of either color, and trash cans may be of any"
        if phrase.anchor == phrase.target:
            assert not phrase.points and phrase.target == phrase.names[0][1]
        else:
            assert phrase.anchor in {phrase.points, *(ids for _, ids in phrase.names)}
            assert not set(phrase.target) & set(phrase.anchor)
            assert phrase.is_farthest == ("far" in phrase.text)
    told = {phrase.text: phrase.target for phrase in made}
    by_point = {phrase.points: phrase.target for phrase in made if "the chair nearest to <coord>" in phrase.text}
    assert by_point == {(3,): (1,)}
    assert 0.08 < sum(phrase.framed for phrase in made) / 3000 < 0.2
    assert told["the chair nearest to the trash can."] == (1,)
    assert told["this is a chair. it is far away from the trash can."] == (2,)
    assert told["closest to the trash can there is a chair."] == (1,)
    assert told["the object nearest to the red chair."] == (3,)
    assert phrases(objects, boxes, [], 5, random.Random(0)) == []


def test_absent_objects_have_an_attribute_of_others():
    objects = {1: ("red", "chair"), 2: ("blue", "lamp"), 3: ("red", "lamp"), 4: (None, "desk"), 5: ("blue", "bed")}
    boxes = {i: (i * i, 0, 0) for i in objects}
    made = phrases(objects, boxes, [1, 2, 4], 3000, random.Random(0))
    absent = [p for p in made if not p.target]
    assert 0.02 < len(absent) / 3000 < 0.09
    named = {found[0] for p in absent if (found := re.search(r"\b(red|blue) (chair|lamp|desk|bed)", p.text))}
    assert all(p.names == p.points == p.anchor == () and p.asks is None and not p.is_farthest for p in absent)
    assert named == {"blue chair"}, "a red lamp is there, if not seen; no bed is seen; of a desk no color is known"


def test_an_object_of_any_label_may_be_named_by_an_attribute_of_several():
    objects = {1: ("red", "chair"), 2: ("red", "lamp"), 3: ("blue", "table"), 4: ("blue", "bed"), 5: (None, "desk")}
    boxes = {1: (0, 0, 0), 2: (3, 0, 0), 3: (1, 0, 0), 4: (9, 0, 0), 5: (4, 0, 0)}
    made = phrases(objects, boxes, [1, 2, 3, 4, 5], 3000, random.Random(0))
    told = {p.text: (p.target, p.names[0][1]) for p in made if p.text.startswith("the red object")}
    assert told["the red object nearest to the desk."] == ((2,), (1, 2))
    assert told["the red object farthest from the desk."] == ((1,), (1, 2))
    assert not [text for text in told if "chair" in text or "lamp" in text], "one of them would be nearest to itself"
    assert not [p for p in made if p.asks and re.search("(red|blue) object", p.text)]


def test_questions_have_one_right_answer():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: ("wooden", "table"), 4: ("white", "lamp")}
    boxes = {1: (0, 0, 0), 2: (5, 0, 0), 3: (1, 0, 0), 4: (9, 0, 0)}
    made = phrases(objects, boxes, [1, 2, 3, 4], 3000, random.Random(0))
    asked = {(p.text, p.asks): p.target for p in made if p.asks}
    assert 0.2 < sum(p.asks is not None for p in made) / 3000 < 0.45
    assert asked["what color is the lamp?", "attribute"] == (4,)
    assert asked["what color is the chair nearest to the wooden table?", "attribute"] == (1,)
    assert asked["what color is the chair farthest from the lamp?", "attribute"] == (1,)
    assert asked["which object is nearest to the red chair?", "label"] == (3,)
    texts = {text for text, _ in asked}
    assert "what color is the chair?" not in texts, "there are a red one and a blue one"
    assert not any("what color is the table" in text for text in texts), "wooden is no color"
    only = phrases({1: (None, "chair")}, {1: (0, 0, 0)}, [1], 200, random.Random(0))
    assert len(only) == 200 and not any(phrase.asks for phrase in only)


def test_where_questions_begin_the_answer_and_end_with_it(build):
    """A phrase's last token is that of the answer so far, framed or not, and no name is one of its tokens."""
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: ("wooden", "table"), 4: ("white", "lamp")}
    boxes = {1: (0, 0, 0), 2: (5, 0, 0), 3: (1, 0, 0), 4: (9, 0, 0)}
    made = [p for p in phrases(objects, boxes, [1, 2, 3, 4], 6000, random.Random(0)) if p.answer_start]
    assert {(p.names[0][1], p.target) for p in made} == {((1,), (3,)), ((3,), (1,)), ((4,), (2,))}
    assert all(p.text.startswith("where ") and p.asks == "label" and not p.points and not p.is_farthest for p in made)
    assert all(p.anchor == p.names[0][1] for p in made) and {p.framed for p in made} == {True, False}
    _, processor = build()
    items = phrase_rows(0, made, processor)
    rows, segments = (items[name][len(processor.prefix_ids()) :] for name in ("ids", "segments"))
    for number, (phrase, name, end) in enumerate(
        zip(made, items["name_columns"].tolist(), items["end_columns"].tolist(), strict=True), 1
    ):
        own = rows[segments == number]
        assert end == int((segments == number).nonzero()[-1]) > name
        said = processor.tokenizer.decode(own)
        assert said.endswith(phrase.answer_start) and phrase.text.lower() in said.lower()
    assert not len(items["answers"])


PLACES = (
    r"i am standing by the (?P<by>.+) and facing the (?P<faced>.+)\.",
    r"next to the (?P<by>.+), looking at the (?P<faced>.+)\.",
    r"facing the (?P<faced>.+), beside the (?P<by>.+)\.",
)


def test_situations_name_unambiguous_objects_that_are_apart():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: (None, "lamp"), 4: ("white", "table"), 5: (None, "lamp")}
    boxes = {1: (0, 0, 0.5), 2: (5, 0, 0.4), 3: (1, 3, 1), 4: (4.5, 3, 0.3), 5: (4, 4, 1)}
    alone = {"red chair": 1, "blue chair": 2, "white table": 4, "table": 4}
    placed = [p for p in phrases(objects, boxes, [1, 2, 3, 4, 5], 2000, random.Random(0)) if p.viewpoint]
    assert 100 < len(placed) < 600 and {p.standing_at for p in placed} == {p.facing for p in placed} == {
        (1,),
        (2,),
        (4,),
    }
    for p in placed:
        end, here, ahead = p.viewpoint
        (read,) = (match for pattern in PLACES if (match := re.fullmatch(pattern, p.text[:end])))
        assert (p.standing_at, p.facing) == ((alone[read["by"]],), (alone[read["faced"]],)) and here == boxes[
            p.standing_at[0]
        ]
        assert len(p.names) == 3 and not p.framed and p.asks is None and p.anchor == ()
        assert {*p.standing_at, *p.facing, *p.target} == {1, 2, 4} and p.names[2] == (p.names[2][0], p.target)
        way = np.subtract(boxes[p.facing[0]], here)[:2]
        assert np.allclose(np.subtract(ahead, here), [*(way / np.linalg.norm(way)), 0])
    near = {**boxes, 4: (4.5, 0.5, 0.3)}
    assert not [p for p in phrases(objects, near, [1, 2, 3, 4, 5], 2000, random.Random(0)) if p.viewpoint], "too near"


def test_objects_about_as_near_are_not_the_nearest():
    objects = {1: ("red", "chair"), 2: ("blue", "chair"), 3: (None, "lamp")}
    boxes = {1: (0, 0, 0), 2: (2.1, 0, 0), 3: (1, 0, 0)}
    made = phrases(objects, boxes, [1, 2, 3], 300, random.Random(0))
    assert not [phrase for phrase in made if "chair nearest to the lamp" in phrase.text and len(phrase.names[0][1]) > 1]
