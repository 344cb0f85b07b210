"""SQA3D-like questions: the answer must hold for anyone who stands and looks as the situation says.

An independent reading: the situation's text alone gives place and facing here (from the named object's box and the way
its front points), and the answer is checked there and from places a step aside, not at the annotated position only.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from room_words import COLOR, DIRECTIONS, LABEL_OF, NOUN, ROOMS, THE

from video3d_plugin.mini.rooms import synthetic_scene
from video3d_plugin.mini.rooms.situations import Situation

SITUATIONS = [
    ("toward", rf"I am standing by {THE} and facing {THE}\.|Standing beside {THE}, I am looking at {THE}\."),
    ("toward from", rf"I am facing {THE} and standing next to {THE}\."),
    ("facing", rf"I am standing in front of {THE} and facing it\.|I am facing {THE} and standing right in front of it\."
               rf"|Standing directly before {THE}, I am looking at it\."),
    ("back", rf"I am standing right in front of {THE} with my back to it\.|(?i:{THE}) is right behind my back\."
             rf"|I am standing just in front of {THE} and looking away from it\."),
    ("sitting", rf"I am sitting on {THE}\.|I just sat down on {THE} and look straight ahead\."),
    ("entering", rf"I just came in through {THE}\.|I am entering the room through {THE}\."),
    ("leaving", rf"I am about to leave the room through {THE}\.|I am facing {THE} to leave the room\."),
]  # fmt: skip
SIDES = {"on my left": -90, "on my right": 90, "in front of me": 0, "behind me": 180}
NUMBERS = dict(zip("zero one two three four five six seven eight nine ten".split(), range(11), strict=True))


class Stander:
    """Someone in a room. `where` (2,) metres, `facing` (2,) unit."""

    def __init__(self, room, where, facing):
        self.room, self.where, self.facing = room, where, facing

    def angle(self, thing) -> float:
        """Degrees to the thing's middle: 0 ahead, 90 to the right."""
        away = thing.center[:2] - self.where
        right = np.array([self.facing[1], -self.facing[0]])
        return float(np.degrees(np.arctan2(away @ right, away @ self.facing)))

    def is_at(self, thing, direction: float, reach: float = 45.0) -> bool:
        return abs((self.angle(thing) - direction + 180) % 360 - 180) < reach

    def distance(self, thing) -> float:
        return float(np.linalg.norm(thing.center[:2] - self.where))


def named(room, color, word):
    found = [t for t in room.things if t.label == LABEL_OF[word] and color in (None, t.color)]
    assert len(found) == 1, f"{color} {word} names {len(found)}"
    return found[0]


def read_situation(room, text):
    """(standers, things named, second sentence): the first where it is meant, the others where the words allow."""
    read = [(manner, match) for manner, pattern in SITUATIONS if (match := re.match(pattern, text))]
    assert len(read) == 1, f"situation not understood: {text!r}"
    manner, match = read[0]
    parts = [p.lower() if p else p for p in match.groups()]
    things = [named(room, parts[i - 1], parts[i]) for i in range(1, len(parts), 2) if parts[i]]
    rest = text[match.end() :].strip()
    if manner.startswith("toward"):
        return _by(room, *(things if manner == "toward" else things[::-1])), things, rest
    (anchor,) = things
    front = DIRECTIONS[anchor.quarter_turns]
    half = np.abs(front) @ (anchor.hi - anchor.lo)[:2] / 2
    where = anchor.center[:2] + front * (0 if manner == "sitting" else half + 0.5)
    facing = -front if manner in ("facing", "leaving") else front
    steps = [(0, 0), (0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)]
    standers = [Stander(room, where + np.array(step), facing) for step in steps]
    return standers, things, rest


def _by(room, anchor, faced):
    """Somebody by the anchor, wherever it is not built up, who looks at the middle of what is faced."""
    half = (anchor.hi - anchor.lo)[:2] / 2 + 0.4
    spots = [anchor.center[:2] + half * np.array(side) for side in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    low = [t for t in room.things if t.lo[2] < 0.9]
    free = [
        spot
        for spot in spots
        if np.all(spot > room.lo[:2] + 0.2) and np.all(spot < room.hi[:2] - 0.2)
        and not any(np.all(spot >= t.lo[:2]) and np.all(spot <= t.hi[:2]) for t in low)
    ]  # fmt: skip
    free.sort(key=lambda spot: np.linalg.norm(spot - faced.center[:2]))
    steps = [free[0] + np.array(step) for step in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1))]
    standers = []
    for spot in (*free[:1], *steps, *free[1:]):
        away = faced.center[:2] - spot
        standers.append(Stander(room, spot, away / np.linalg.norm(away)))
    return standers


def check_tail(standers, tail):
    """The second sentence, if there is one, is true."""
    if not tail:
        return
    match = re.fullmatch(rf"(?:The|There is the) (?:({COLOR}) )?({NOUN}) (?:is )?(?:on|to) my (left|right)\.", tail)
    assert match, f"tail not understood: {tail!r}"
    thing = named(standers[0].room, match[1], match[2])
    for stander in standers:
        assert stander.is_at(thing, SIDES[f"on my {match[3]}"], 75), tail


def judge(stander, question, answer) -> str | None:
    """Which rule understood the question; raises AssertionError where the answer is wrong."""
    room, text = stander.room, question.rstrip("?")
    names = (
        [named(room, c or None, n) for c, n in re.findall(THE, text.lower())] if not _is_color_or_count(text) else []
    )
    if match := re.match(rf"(?:What color is|What is the color of) the ({NOUN}) (on my left|on my right)$", text):
        there = [t for t in _group(room, match[1]) if stander.is_at(t, SIDES[match[2]], 75)]
        assert [t.color for t in there] == [answer]
        return "color"
    if match := re.match(r"What is (?:the closest object|the nearest thing|closest to me) (.*)$", text):
        return _nearest(stander, SIDES[match[1]], answer)
    if match := re.match(rf"How many ({NOUN}) are (?:there )?(.*)$", text):
        there = [t for t in _group(room, match[1]) if stander.is_at(t, SIDES[match[2]], 85)]
        assert len(there) == NUMBERS[answer]
        return "count"
    if re.search(r"left or (to )?my right|right or to my left|turn left or right|turn right or left", text):
        assert stander.is_at(names[0], SIDES[f"on my {answer}"], 80)
        return "left or right"
    if match := re.match(rf"Is {THE} (on my left|on my right|in front of me|behind me)$", text):
        assert stander.is_at(names[0], SIDES[match[3]]) == (answer == "yes")
        return "is at"
    if text.startswith("Can I"):
        assert stander.is_at(names[0], 0, 60) == (answer == "yes")
        return "can see"
    if text.startswith(("Which direction", "Which way")):
        assert stander.is_at(names[0], {"forward": 0, "left": -90, "right": 90, "backward": 180}[answer])
        return "direction"
    if text.startswith("Which is closer"):
        assert min(names, key=stander.distance).label == LABEL_OF[answer]
        return "closer"
    assert re.match(r"Where is|In which direction", text), f"question not understood: {question!r}"
    direction = SIDES.get(answer, SIDES.get(f"on my {answer}"))
    assert direction is not None and stander.is_at(names[0], direction)
    return "where"


def _is_color_or_count(text):
    return re.match(r"What|How many", text)


def _group(room, word):
    return [t for t in room.things if t.label == LABEL_OF[word]]


def _nearest(stander, direction, answer):
    room = stander.room
    ahead = [t for t in room.things if t.mount != "top" and stander.is_at(t, direction) and stander.distance(t) > 0.55]
    assert min(ahead, key=stander.distance).label == answer
    return "nearest"


@pytest.fixture(scope="module", params=ROOMS, ids=lambda r: f"{r[0]}-{r[2]}")
def scene(request):
    split, seed, index = request.param
    return synthetic_scene(seed, split, index, frames=6)


def pairs(scene):
    return zip(scene.annotations["sqa3d_questions"], scene.annotations["sqa3d_annotations"], strict=True)


def test_every_situated_answer_is_right_where_the_words_put_the_asker(scene):
    rules = Counter()
    for q, a in pairs(scene):
        standers, _, tail = read_situation(scene.room, q["situation"])
        check_tail(standers, tail)
        for stander in standers:
            rules[judge(stander, q["question"], a["answers"][0]["answer"])] += 1
    assert len(rules) >= 5 and rules.total() >= 5 * 12


def test_what_is_closer_is_answered_in_the_words_that_are_offered():
    asked = {q["question"]: a["answers"][0]["answer"] for q, a in pairs(synthetic_scene(5, "val", 17, frames=1))}
    closer = {question: answer for question, answer in asked.items() if question.startswith("Which is closer")}
    assert closer and all(re.search(rf"\b{answer}\b", question) for question, answer in closer.items())
    assert closer["Which is closer to me, the red garbage can or the couch?"] == "garbage can"


def test_position_and_rotation_say_the_same_as_the_text(scene):
    for q, a in pairs(scene):
        standers, things, _ = read_situation(scene.room, q["situation"])
        at, turn = np.array([a["position"]["x"], a["position"]["y"]]), a["rotation"]
        assert np.linalg.norm(at - standers[0].where) <= 0.11 and a["position"]["z"] == 0
        yaw = 2 * np.arctan2(turn["_z"], turn["_w"])
        assert np.allclose((-np.sin(yaw), np.cos(yaw)), standers[0].facing, atol=1e-6)
        assert abs(turn["_z"] ** 2 + turn["_w"] ** 2 - 1) < 1e-6 and turn["_x"] == turn["_y"] == 0


def test_alternative_situations_name_the_same_place(scene):
    seen = 0
    for q, _ in pairs(scene):
        standers, things, _ = read_situation(scene.room, q["situation"])
        for text in q["alternative_situation"]:
            others, same, _ = read_situation(scene.room, text)
            assert {t.object_id for t in same} == {t.object_id for t in things} and np.allclose(
                others[0].where, standers[0].where
            )
            assert np.allclose(others[0].facing, standers[0].facing) and text != q["situation"]
            seen += 1
        assert len(q["alternative_situation"]) <= 2
    assert seen


def test_the_judge_refuses_a_mirrored_asker(scene):
    """Seen failing: someone who looks the other way gives other answers to most questions of side and direction."""
    refused = total = 0
    for q, a in pairs(scene):
        standers, _, _ = read_situation(scene.room, q["situation"])
        turned = Stander(scene.room, standers[0].where, -standers[0].facing)
        if not re.match(r"Which is closer|How many|Is ", q["question"]):
            total += 1
            try:
                judge(turned, q["question"], a["answers"][0]["answer"])
            except AssertionError:
                refused += 1
    assert refused > 0.8 * total > 0


def test_bearings_by_hand():
    """Facing +x at the origin: what is at +y is to the left, at -y to the right, at -x behind."""
    here = Situation("", (), (0.0, 0.0), (1.0, 0.0), frozenset())

    class Thing:
        def __init__(self, x, y):
            self.id, self.center = (x, y), (x, y, 0.5)

    assert [here.quarter(Thing(*p)) for p in ((3, 0), (0, 3), (-3, 0), (0, -3))] == ["ahead", "left", "behind", "right"]
    assert here.side(Thing(0, 3)) == "left" and here.side(Thing(3, 0.1)) is None
    assert here.quarter(Thing(3, 3)) is None and here.half(Thing(3, 3)) == "ahead" and here.half(Thing(0, 3)) is None
    assert here.quarter(Thing(0.3, 0)) is None  # too near to say
    assert here.rotation == {"_x": 0, "_y": 0, "_z": pytest.approx(-(0.5**0.5)), "_w": pytest.approx(0.5**0.5)}
