"""Phrases about the objects of a scene, for the lesson in looking: what each name in them names, and what they mean."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Literal

from video3d_plugin.scene import Question
from video3d_plugin.tokens import COORD_TOKEN
from video3d_plugin.training.objects import Named, clearly_nearest

_PHRASES = ("the {a}.", "a {a}.", "find the {a}.", "this is a {a}.", "{a}", "there is a {a}.", "the {a} in the room.")
_NEAR_PHRASES = (
    "the {a} nearest to {b}.",
    "the {a} closest to {b}.",
    "the {a} next to {b}.",
    "find the {a} that is nearest to {b}.",
    "this is a {a}. it is close to {b}.",
    "closest to {b} there is a {a}.",
)
_FAR_PHRASES = ("the {a} farthest from {b}.", "this is a {a}. it is far away from {b}.")
_ASK_COLOR = ("what color is the {a}?", "what is the color of the {a}?")
_ASK_NEAR = (
    "which {a} is nearest to {b}?",
    "which {a} is closest to {b}?",
    "what is next to {b}?",
    "what is nearest to {b}?",
)
_ASK_WHERE = ("where is {b}?", "where is {b} located?", "where can you find {b}?")  # answers begin with _BESIDE
_BESIDE = "next to the"
_ASK_FAR = ("which {a} is farthest from {b}?", "what is farthest away from {b}?")
_ASK_COLOR_NEAR = (
    "what color is the {a} nearest to {b}?",
    "what color is the {a} next to {b}?",
    "what is the color of the {a} that is closest to {b}?",
)
_ASK_COLOR_FAR = ("what color is the {a} farthest from {b}?",)
_COLORS = frozenset("black white gray grey red orange yellow green blue purple pink brown beige".split())
_ASKED = 0.4  # share of phrases that ask for a label or colour in words
_LABEL_ALONE = 0.25  # share of names in phrases that leave the attribute out
_SEVERAL_ALONE = 0.7  # the same of what is meant by its place, where there are several of a label: with it, often one
_RELATED, _TRIES = 0.75, 12  # share of phrases that name one thing by another; often it is not clear which is nearest
_OBJECT = 0.35  # share of these that say "the object" where a label could be
_OBJECT_INSTEAD = 0.6  # the same, where there is but one of each label: nothing to compare
_OF_A_COLOR = 0.6  # share of these, if nothing is asked, that say "the red object", where several are red
_BY_POINT = 0.4  # share of those that name one thing by another that point to the other instead of naming it
_WHERE = 0.4  # share of those that would ask what is nearest to a named thing: where is it, with the answer begun
_FAR = 0.3  # share of them that ask for the farthest
_FRAMED = 0.15  # share of all phrases that are put as the benchmarks put them
_PLACED = 0.2  # share of all phrases that say where somebody is and what they face
_ABSENT = 0.06  # share of the others that name what is not there: a label with an attribute that none of it has
_PLACES = (
    "i am standing by the {a} and facing the {b}. ",
    "next to the {a}, looking at the {b}. ",
    "facing the {b}, beside the {a}. ",
)
_PLACED_PHRASES = ("where is the {c}?", "the {c}.", "is the {c} on my left or my right?", "which way is the {c}?")
_OTHERWISE = 0.4  # share of names that use another word for their label, where there is one
_APART_M = 1.0  # horizontally, between where somebody is, what they face and what is meant


@dataclass(frozen=True)
class Phrase:
    """A few words about objects of a scene.

    names   of each name in it, in order: the character that it ends before, and the ids of all that are called so
    meant   what the whole denotes
    beside  whose place tells which that is: the other thing's, or (where there is none) that of what is meant
    points  of each <coord> in it, whose centre it stands for
    asks    what is to be said of what is meant, where the phrase is a question: "words", the question's own answer
    framed  to be put as a benchmark's description or question is, with the words around it
    whole   the benchmark's question that this is, with those words (`training.told`)
    begun   how the answer begins, after which what is meant is to be said: "next to the"
    stands  where a situation ends in it: the character; where the asker stands, and a point ahead (world, metres)
    by      the thing that the asker stands by, of those that the situation names
    faced   those that it names straight ahead
    away    whether it is the far one that is meant, not the near one
    """

    text: str
    names: tuple[tuple[int, tuple[int, ...]], ...]
    meant: tuple[int, ...]
    beside: tuple[int, ...]
    points: tuple[int, ...] = ()
    asks: Literal["attribute", "label", "words"] | None = None
    framed: bool = False
    whole: Question | None = None
    begun: str = ""
    stands: tuple[int, tuple[float, ...], tuple[float, ...]] | None = None
    by: tuple[int, ...] = ()
    faced: tuple[int, ...] = ()
    away: bool = False

    @property
    def mentions(self) -> list[tuple[int, ...]]:
        """The ids that each name stands for, then those that each <coord> does."""
        return [*(ids for _, ids in self.names), *((i,) for i in self.points)]


def phrases(
    objects: Named, boxes: Mapping[int, Sequence[float]], among: Sequence[int], count: int, rng: random.Random
) -> list[Phrase]:
    """`count` phrases about objects of `among`: some by label, most by attribute and label, most of them by what is
    nearest to another as well, or farthest from it, the other being named or pointed to; and questions of that kind.
    Some say where somebody is, a few name what is not there.

    boxes   by id, centre first, metres
    """
    made: list[Phrase] = []
    while among and len(made) < count:
        asked, make = rng.random() < _ASKED, _related if rng.random() < _RELATED else _plain
        make = _placed if rng.random() < _PLACED else _absent if rng.random() < _ABSENT else make
        tries = (make(objects, boxes, among, asked, rng) for _ in range(_TRIES))
        phrase = next(filter(None, tries), None) or _plain(objects, boxes, among, False, rng)
        made.append(replace(phrase, framed=phrase.stands is None and rng.random() < _FRAMED))
    return made


def in_other_words(phrase: Phrase, objects: Named, others: Mapping[str, Sequence[str]], rng: random.Random) -> Phrase:
    """The same, with some labels in its names replaced by what else their objects are called (`others`, by label)."""
    text, names, begin, stands = "", [], 0, phrase.stands
    for end, ids in phrase.names:
        part, begin = phrase.text[begin:end], end
        label = objects[ids[0]][1]
        if label in others and part.endswith(label) and rng.random() < _OTHERWISE:
            part = part.removesuffix(label) + rng.choice(others[label])
        text += part
        names.append((len(text), ids))
        if phrase.stands and end <= phrase.stands[0]:
            stands = (phrase.stands[0] + len(text) - end, *phrase.stands[1:])
    return replace(phrase, text=text + phrase.text[begin:], names=tuple(names), stands=stands)


def _called(
    objects: Named, among: Sequence[int], object_id: int, rng: random.Random, label_alone: float = _LABEL_ALONE
) -> tuple[str, tuple[int, ...]]:
    """What to call an object, and all that are called so."""
    attribute, label = objects[object_id]
    if attribute is None or rng.random() < label_alone:
        return label, tuple(i for i in among if objects[i][1] == label)
    return f"{attribute} {label}", tuple(i for i in among if objects[i] == (attribute, label))


def _plain(objects: Named, boxes, among: Sequence[int], asked: bool, rng: random.Random) -> Phrase | None:
    chosen = rng.choice(among)
    if not asked:
        name, meant = _called(objects, among, chosen, rng)
        return _phrase(rng.choice(_PHRASES), {"a": (name, meant)}, meant, beside=meant)
    color, label = objects[chosen]
    meant = tuple(i for i in among if objects[i][1] == label)
    if color not in _COLORS or any(objects[i][0] != color for i in meant):
        return None
    return _phrase(rng.choice(_ASK_COLOR), {"a": (label, meant)}, meant, beside=meant, asks="attribute")


def _related(objects: Named, boxes, among: Sequence[int], asked: bool, rng: random.Random) -> Phrase | None:
    """One thing by another; None where that is not clear."""
    anchor, by_point, far = rng.choice(among), rng.random() < _BY_POINT, rng.random() < _FAR
    called, called_so = (COORD_TOKEN, ()) if by_point else _called(objects, among, anchor, rng)
    others = [i for i in among if objects[i][1] != objects[anchor][1]]
    if len(called_so) > 1 or not others:
        return None
    names = {"b": (called if by_point else f"the {called}", called_so)}
    counts = Counter(objects[i][1] for i in others)
    several = [i for i in others if counts[objects[i][1]] > 1]
    if rng.random() < (_OBJECT if several else _OBJECT_INSTEAD):
        names["a"], candidates = _object(objects, among, anchor, asked, rng)
        asks, forms = "label", _ASK_FAR if far else _ASK_NEAR
    else:
        alone = 1.0 if asked else _SEVERAL_ALONE if several else _LABEL_ALONE
        name, candidates = _called(objects, others, rng.choice(several or others), rng, alone)
        names["a"] = name, candidates
        asks, forms = "attribute", _ASK_COLOR_FAR if far else _ASK_COLOR_NEAR
    chosen = candidates[0] if len(candidates) == 1 else clearly_nearest(boxes, candidates, anchor, far)
    if chosen is None or (asked and asks == "attribute" and objects[chosen][0] not in _COLORS):
        return None
    begun = ""
    if not asked:
        asks, forms = None, _FAR_PHRASES if far else _NEAR_PHRASES
    elif asks == "label" and not (far or by_point) and rng.random() < _WHERE:
        forms, begun = _ASK_WHERE, _BESIDE
    phrase = _phrase(rng.choice(forms), names, (chosen,), (anchor,), (anchor,) if by_point else (), asks)
    return replace(phrase, away=far, begun=begun)


def _object(
    objects: Named, among: Sequence[int], anchor: int, asked: bool, rng: random.Random
) -> tuple[tuple[str, tuple[int, ...]], tuple[int, ...]]:
    """What to call an object of any kind, with whom that names, and which may be meant: "object", or "red object"
    where several are red but not the anchor."""
    others = tuple(i for i in among if i != anchor)
    counts = Counter(objects[i][0] for i in among if objects[i][0] not in (None, objects[anchor][0]))
    several = [i for i in others if counts[objects[i][0]] > 1]
    if asked or not several or rng.random() > _OF_A_COLOR:
        return ("object", ()), others
    attribute = objects[rng.choice(several)][0]
    alike = tuple(i for i in others if objects[i][0] == attribute)
    return (f"{attribute} object", alike), alike


def _absent(objects: Named, boxes, among: Sequence[int], asked: bool, rng: random.Random) -> Phrase | None:
    """Nothing: a label that is there by an attribute that others have; None where there is no such attribute."""
    label = objects[rng.choice(among)][1]
    own = {attribute for attribute, of in objects.values() if of == label}
    others = sorted({attribute for attribute, _ in objects.values() if attribute} - own)
    if not others or None in own:
        return None
    return _phrase(rng.choice(_PHRASES), {"a": (f"{rng.choice(others)} {label}", ())}, (), ())


def _placed(objects: Named, boxes, among: Sequence[int], asked: bool, rng: random.Random) -> Phrase | None:
    """One thing, to somebody who is by another and faces a third; None where these are too near each other."""
    if len(among) < 3:
        return None
    chosen = tuple(rng.sample(among, 3))
    names = {key: _called(objects, among, i, rng) for key, i in zip("abc", chosen, strict=True)}
    (x, y), faced, meant = (boxes[i][:2] for i in chosen)
    apart = [hypot(q[0] - p[0], q[1] - p[1]) for p, q in (((x, y), faced), ((x, y), meant), (faced, meant))]
    if any(len(so) > 1 for _, so in names.values()) or min(apart) < _APART_M:
        return None
    where = rng.choice(_PLACES)
    phrase = _phrase(where + rng.choice(_PLACED_PHRASES), names, (chosen[2],), ())
    z, step = boxes[chosen[0]][2], ((faced[0] - x) / apart[0], (faced[1] - y) / apart[0])
    ends = phrase.text.index(". ") + 1
    stands = (ends, (x, y, z), (x + step[0], y + step[1], z))
    return replace(phrase, stands=stands, by=chosen[:1], faced=chosen[1:2])


def _phrase(form: str, names: Mapping[str, tuple[str, tuple[int, ...]]], meant, beside, points=(), asks=None) -> Phrase:
    """`form` with "{a}" and "{b}" replaced; a name of no object is only said."""
    text, ends = "", []
    for number, part in enumerate(re.split(r"\{(\w)\}", form)):
        name, ids = names[part] if number % 2 else (part, ())
        text += name
        ends += [(len(text), ids)] if ids else []
    return Phrase(text, tuple(ends), meant, beside, points, asks)
