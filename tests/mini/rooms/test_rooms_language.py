"""Every sentence of the synthetic benchmark, read back by a grammar of its own and checked against the room.

The grammar and the geometry here share no code with the package's relations.py and wording.py: they know the wording
by its surface and the room by its boxes. Where the generator keeps a margin, the checker tries several thresholds
inside it; a statement passes only if all of them agree.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from room_words import COLOR, DIRECTIONS, LABEL_OF, NOUN, ROOMS, THE

from video3d_plugin.errors import DataError
from video3d_plugin.mini.rooms import PLAIN_STYLE, Style, synthetic_scene
from video3d_plugin.mini.rooms.objects import KINDS
from video3d_plugin.mini.rooms.styles import MINI_STYLE
from video3d_plugin.mini.rooms.themes import plan_called

# Surface forms, longest first: an earlier one would otherwise eat a part of a later one.
RELATIONS = [
    ("leftmost_door", rf"(?:furthest to the left when you enter through|leftmost as seen from) {THE}"),
    ("rightmost_door", rf"(?:furthest to the right when you enter through|rightmost as seen from) {THE}"),
    ("leftmost_facing", rf"(?:furthest to the left when you face|leftmost when looking at) {THE}"),
    ("rightmost_facing", rf"(?:furthest to the right when you face|rightmost when looking at) {THE}"),
    ("left_of", rf"to the left of {THE} when you face it|on the left side of {THE} as you look at it"),
    ("right_of", rf"to the right of {THE} when you face it|on the right side of {THE} as you look at it"),
    ("between", rf"(?:in )?between {THE} and {THE}"),
    ("same_wall", rf"(?:on|along) the same wall as {THE}"),
    ("opposite_wall", rf"(?:on|along) the wall opposite {THE}"),
    ("nearest", rf"(?:closest|nearest) to {THE}"),
    ("farthest", rf"(?:farthest|furthest|most distant) from {THE}"),
    ("in_front_of", rf"(?:just )?in front of {THE}"),
    ("next_to", rf"(?:next to|beside|right by|close to) {THE}"),
    ("below", rf"(?:below|under|underneath) {THE}"),
    ("on", rf"(?:on top of|sitting on|on) {THE}"),
    ("biggest", rf"(?:bigger|larger) than the other (?:one|{NOUN})"),
    ("smallest", rf"(?:smaller|more compact) than the other (?:one|{NOUN})"),
    ("tallest", rf"taller than the other (?:one|{NOUN})"),
    ("corner", r"in the corner of the room|in a corner|tucked into a corner|in the corner"),
    ("wall", r"(?:against|along) the wall"),
    ("middle", r"in the middle of the room|away from the walls"),
]
FILLER = set("this is a an the it there find that and are these they all of in room can you see how many what number "
             "color which does have where located object look looking for i am we want".split())  # fmt: skip


class Checker:
    """Meaning by geometry. `softness` in 0..1 moves every threshold from its strict to its loose end."""

    def __init__(self, room, softness: float):
        self.room, self.things, self.soft = room, list(room.things), softness

    def group(self, label, color=None):
        return [t for t in self.things if t.label == label and color in (None, t.color)]

    def one(self, color, word):
        found = self.group(LABEL_OF[word], color)
        assert len(found) == 1, f"{color} {word} names {len(found)} objects"
        return found[0]

    def up_to(self, value, strict, loose):
        return value <= strict + (loose - strict) * self.soft

    def gap(self, a, b):
        return np.linalg.norm(np.maximum(0, np.maximum(a.lo[:2] - b.hi[:2], b.lo[:2] - a.hi[:2])))

    def walls(self, t):
        low, high = t.lo[:2] - self.room.lo[:2], self.room.hi[:2] - t.hi[:2]
        return np.array([low[1], high[0], high[1], low[0]])

    def right_coordinate(self, t, origin, facing):
        right = np.array([facing[1], -facing[0]])
        return float((t.center[:2] - origin[:2]) @ right)

    def width(self, t, facing):
        right = np.abs([facing[1], -facing[0]])
        return float((t.hi - t.lo)[:2] @ right)

    def is_on(self, t, a):
        tops = {"bed": a.lo[2] + 0.52, "couch": a.lo[2] + 0.42}
        inside = (t.lo[:2] >= a.lo[:2] - 0.02).all() and (t.hi[:2] <= a.hi[:2] + 0.02).all()
        return inside and abs(t.lo[2] - tops.get(a.label, a.hi[2])) < 0.01

    def true(self, kind, t, anchors):
        """Whether a relation that is not a superlative holds."""
        if any(a is t for a in anchors):
            return False
        a, front = (anchors[0], DIRECTIONS[anchors[0].quarter_turns]) if anchors else (None, None)
        if kind == "on":
            return self.is_on(t, a)
        if kind == "next_to":
            rise = max(t.lo[2] - a.hi[2], a.lo[2] - t.hi[2])
            stacked = self.is_on(t, a) or self.is_on(a, t)
            return not stacked and self.up_to(self.gap(t, a), 0.5, 0.89) and self.up_to(rise, 0.1, 0.39)
        if kind in ("left_of", "right_of"):
            lateral = self.right_coordinate(t, a.center, -front) * (1 if kind == "right_of" else -1)
            return self.up_to(self.width(a, front) / 2 - lateral, -0.2, 0.14)
        if kind in ("below", "in_front_of"):
            return self._by_front(kind, t, a, front)
        if kind == "between":
            start, end = anchors[0].center[:2], anchors[1].center[:2]
            line = (end - start) / np.linalg.norm(end - start)
            along = (t.center[:2] - start) @ line / np.linalg.norm(end - start)
            off = abs((t.center[:2] - start) @ np.array([line[1], -line[0]]))
            return self.up_to(abs(along - 0.5), 0.3, 0.44) and self.up_to(off, 0.45, 0.84)
        gaps = self.walls(t)
        if kind in ("same_wall", "opposite_wall"):
            wall = (a.quarter_turns + (2 if kind == "opposite_wall" else 0)) % 4
            return self.up_to(gaps[wall], 0.12, 0.44)
        if kind == "corner":
            return self.up_to(max(min(gaps[0], gaps[2]), min(gaps[1], gaps[3])), 0.35, 0.79)
        if kind == "wall":
            return self.up_to(gaps.min(), 0.12, 0.44)
        assert kind == "middle", kind
        return self.up_to(-gaps.min(), -0.95, -0.66)

    def _by_front(self, kind, t, a, front):
        aside = abs(self.right_coordinate(t, a.center, front)) - self.width(a, front) / 2
        if kind == "below":
            return (self.up_to(aside, 0, 0.29) and self.up_to(self.gap(t, a), 0.45, 0.89)
                    and self.up_to(t.hi[2] - a.lo[2], 0.1, 0.49))  # fmt: skip
        depth = np.abs(front) @ ((a.hi - a.lo) + (t.hi - t.lo))[:2] / 2
        ahead = (t.center - a.center)[:2] @ front - depth
        return (self.up_to(aside, 0, 0.34) and self.up_to(ahead, 1.0, 1.49) and self.up_to(-ahead, 0.05, 0.29)
                and not self.is_on(t, a))  # fmt: skip

    def winner(self, kind, group, anchors):
        """The one of `group` that a superlative picks."""
        a = anchors[0] if anchors else None
        if kind in ("nearest", "farthest"):
            far = [np.linalg.norm((t.center - a.center)[:2]) for t in group]
            return group[int(np.argmin(far) if kind == "nearest" else np.argmax(far))]
        if kind in ("biggest", "smallest", "tallest"):
            size = [np.prod(t.hi - t.lo) if kind != "tallest" else (t.hi - t.lo)[2] for t in group]
            return group[int(np.argmin(size) if kind == "smallest" else np.argmax(size))]
        facing = DIRECTIONS[a.quarter_turns] * (1 if kind.endswith("_door") else -1)
        across = [self.right_coordinate(t, a.center, facing) for t in group]
        return group[int(np.argmin(across) if kind.startswith("leftmost") else np.argmax(across))]

    def denotes(self, statement):
        """The objects that a parsed statement fits."""
        color, label, relations = statement
        group = self.group(label, color)
        fits = set(t.object_id for t in group)
        for kind, names in relations:
            anchors = [self.one(*name) for name in names]
            if kind in ("nearest", "farthest", "biggest", "smallest", "tallest") or "most_" in kind:
                fits &= {self.winner(kind, group, anchors).object_id} if group else set()
            else:
                fits &= {t.object_id for t in group if self.true(kind, t, anchors)}
        return fits


def small_room(index):
    return synthetic_scene(0, "val", index, frames=1, style=MINI_STYLE, plan="small")


def relations_in(text):
    """(relations, what is left of the text): relations are (kind, [(color, noun), ...])."""
    found = []
    for kind, pattern in RELATIONS:
        for match in re.finditer(rf"\b(?:{pattern})(?!\w)", text):
            parts = [g for g in match.groups()]
            names = [(parts[i], parts[i + 1]) for i in range(0, len(parts), 2) if parts[i + 1]]
            found.append((kind, names))
        text = re.sub(rf"\b(?:{pattern})(?!\w)", " ", text)
    return found, text


def parse(text):
    """A description as (color or None, label, relations); fails on any word that it cannot account for."""
    relations, rest = relations_in(re.sub(r"[.,?]", " ", text.lower()))
    nouns = {LABEL_OF[n] for n in re.findall(rf"\b({NOUN})\b", rest)}
    colors = set(re.findall(rf"\b({COLOR})\b", rest))
    left = re.sub(rf"\b({NOUN}|{COLOR})\b", " ", rest).split()
    assert len(nouns) == 1 and len(colors) <= 1, f"{text!r}: {nouns} {colors}"
    assert set(left) <= FILLER, f"{text!r}: not understood: {set(left) - FILLER}"
    return (colors.pop() if colors else None), nouns.pop(), relations


@pytest.fixture(scope="module", params=ROOMS, ids=lambda r: f"{r[0]}-{r[2]}")
def scene(request):
    split, seed, index = request.param
    return synthetic_scene(seed, split, index, frames=6)


@pytest.fixture(scope="module")
def checkers(scene):
    return [Checker(scene.room, softness) for softness in (0.02, 0.5, 0.98)]


def test_every_scanrefer_description_denotes_its_object_and_no_other(scene, checkers):
    items = scene.annotations["scanrefer"]
    assert len(items) >= 30 and {i["eval_type"] for i in items} == {"unique", "multiple"}
    for item in items:
        for checker in checkers:
            assert checker.denotes(parse(item["description"])) == {int(item["object_id"])}, item["description"]
        assert parse(item["description"])[1] == item["object_name"].replace("_", " ")
        assert item["token"] == re.findall(r"\w+|[.,]", item["description"])


def test_every_multi3drefer_query_denotes_exactly_its_targets(scene, checkers):
    for item in scene.annotations["multi3drefer"]:
        statement = parse(item["description"])
        for checker in checkers:
            assert checker.denotes(statement) == set(item["object_ids"]), item["description"]
        sisters, targets = len(checkers[0].group(item["object_name"])), len(item["object_ids"])
        kind = item["eval_type"]
        assert statement[1] == item["object_name"] and item["color"] == (statement[0] is not None)
        assert targets == 0 if kind.startswith("zt") else targets == 1 if kind.startswith("st") else targets > 1
        if kind.startswith("zt"):
            assert (sisters > 0) == (kind == "zt_w_d")
        elif kind.startswith("st"):
            assert (sisters > 1) == (kind == "st_w_d")


def test_what_small_rooms_never_hold_is_not_looked_for_in_them():
    asked = [i for n in range(8) for i in small_room(n).annotations["multi3drefer"] if i["eval_type"] == "zt_wo_d"]
    assert len(asked) > 20 and {i["object_name"] for i in asked} <= plan_called("small").labels


def _answer_of_color_question(checker, question):
    text = re.sub(r"^(what color is|what is the color of|which color does)|\?$|have\?$", " ", question.lower())
    (target,) = checker.denotes(parse(text))
    return checker.room.thing(target).color


def _count(checker, question):
    text = re.sub(r"^(how many|what is the number of)|(are there|can you find in this room)?\?$", " ", question.lower())
    return len(checker.denotes(parse(text)))


def _exists(checker, question):
    return bool(checker.denotes(parse(re.sub(r"^(is there|can you see)|in the room\?$|\?$", " ", question.lower()))))


def test_every_scanqa_answer_is_what_the_room_says(scene, checkers):
    seen = set()
    for item in scene.annotations["scanqa"]:
        question, answers = item["question"], item["answers"]
        assert 1 <= len(answers) <= 3 and all(a == a.lower() and not a.endswith(".") for a in answers)
        assert [scene.room.thing(i).label for i in item["object_ids"]] == item["object_names"]
        for checker in checkers:
            if re.search(r"\bcolor\b", question):
                seen.add("color")
                assert [_answer_of_color_question(checker, question)] == answers, question
            elif re.match(r"How many|What is the number", question):
                seen.add("count")
                assert answers[0] == str(_count(checker, question)), question
            elif re.match(r"Is there|Can you", question):
                seen.add("exists")
                assert answers == ["yes" if _exists(checker, question) else "no"], question
            elif question.startswith("Where"):
                seen.add("where")
                _check_places(checker, item)
            else:
                seen.add("what")
                _check_what(checker, item)
    assert seen >= {"color", "where", "what"}, "every room has these, and some of the rarer ones"
    assert seen & {"count", "exists"}


def _check_places(checker, item):
    name = re.sub(r"^where (is|can you find)|located|\?$", " ", item["question"].lower())
    (target,) = checker.denotes(parse(name))
    assert [target] == item["object_ids"]
    for answer in item["answers"]:
        [(kind, names)], rest = relations_in(answer)
        anchors = [checker.one(*n) for n in names]
        assert not rest.strip() and checker.true(kind, checker.room.thing(target), anchors), (item, answer)


def _check_what(checker, item):
    [(kind, names)], _ = relations_in(re.sub(r"\?$", "", item["question"].lower()))
    anchor = checker.one(*names[0])
    others = [t for t in checker.things if t is not anchor]
    if kind == "nearest":
        found = [checker.winner("nearest", others, [anchor])]
    else:
        found = [t for t in others if checker.true(kind, t, [anchor])]
    assert {t.object_id for t in found} == set(item["object_ids"]), item
    assert item["answers"] == list(KINDS[found[0].label].nouns)[:3]


def test_a_style_limits_the_relations_and_says_more():
    def kinds(style):
        scenes = [synthetic_scene(3, "val", i, frames=4, style=style) for i in range(3)]
        statements = [parse(i["description"]) for s in scenes for i in s.annotations["scanrefer"]]
        return {kind for s in statements for kind, _ in s[2]}, np.mean([len(s[2]) for s in statements])

    (plain, said), (all_kinds, said_usually) = kinds(PLAIN_STYLE), kinds(None)
    assert plain <= set(PLAIN_STYLE.relations) and len(all_kinds) > 12 and said > said_usually
    with pytest.raises(DataError, match="behind_of"):
        Style({"behind_of": 1.0})


def test_the_checker_rejects_a_statement_about_the_wrong_object(scene, checkers):
    """Seen failing: the same descriptions, attributed to another object of the class, are all refused."""
    swapped = 0
    for item in scene.annotations["scanrefer"]:
        sisters = [t for t in checkers[0].group(item["object_name"].replace("_", " "))]
        for sister in sisters:
            if sister.object_id != int(item["object_id"]):
                swapped += 1
                assert {sister.object_id} != checkers[1].denotes(parse(item["description"]))
    assert swapped > 20


def test_words_the_grammar_does_not_know_are_not_passed_over():
    with pytest.raises(AssertionError, match="not understood"):
        parse("the red chair that was haunted")


SUPERLATIVES = ("nearest", "farthest", "leftmost", "rightmost", "biggest", "smallest", "tallest")


def test_what_is_said_apart_from_the_color_is_true_among_the_whole_class():
    """Such as "this cabinet is closest to the tv. it is purple."; "the purple cabinet closest to the tv" is not."""
    patterns = "|".join(pattern for kind, pattern in RELATIONS if kind.startswith(SUPERLATIVES))
    patterns = re.sub(r"\((?!\?)", "(?:", patterns)
    together = re.compile(rf"\b({COLOR}) ({NOUN}) (that is )?({patterns})")
    seen = {True: 0, False: 0}
    for index in range(16):
        scene = small_room(index)
        checker = Checker(scene.room, 0.5)
        for item in scene.annotations["scanrefer"]:
            text = item["description"]
            color, label, relations = parse(text)
            among_color = bool(color and together.search(text)) and "than the other" not in text
            for kind, names in ((kind, names) for kind, names in relations if kind.startswith(SUPERLATIVES)):
                seen[among_color] += 1
                group = checker.group(label, color if among_color else None)
                winner = checker.winner(kind, group, [checker.one(*name) for name in names])
                assert winner.object_id == int(item["object_id"]), text
    assert min(seen.values()) > 40
