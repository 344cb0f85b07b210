"""Generated phrases about the objects of a scene, with the objects that their names denote and their target."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Literal, TypeAlias

from video3d_plugin.mini.curriculum.object_questions import ObjectNames, clearly_nearest
from video3d_plugin.scene import Question
from video3d_plugin.tokens import COORD_TOKEN

_PLAIN = ("the {a}.", "a {a}.", "find the {a}.", "this is a {a}.", "{a}", "there is a {a}.", "the {a} in the room.")
_NEAREST = (
    "the {a} nearest to {b}.",
    "the {a} closest to {b}.",
    "the {a} next to {b}.",
    "find the {a} that is nearest to {b}.",
    "this is a {a}. it is close to {b}.",
    "closest to {b} there is a {a}.",
)
_FARTHEST = ("the {a} farthest from {b}.", "this is a {a}. it is far away from {b}.")
_ASK_COLOR = ("what color is the {a}?", "what is the color of the {a}?")
_ASK_NEAREST = (
    "which {a} is nearest to {b}?",
    "which {a} is closest to {b}?",
    "what is next to {b}?",
    "what is nearest to {b}?",
)
_ASK_WHERE = ("where is {b}?", "where is {b} located?", "where can you find {b}?")  # the answer begins with _NEXT_TO
_NEXT_TO = "next to the"
_ASK_FARTHEST = ("which {a} is farthest from {b}?", "what is farthest away from {b}?")
_ASK_COLOR_NEAREST = (
    "what color is the {a} nearest to {b}?",
    "what color is the {a} next to {b}?",
    "what is the color of the {a} that is closest to {b}?",
)
_ASK_COLOR_FARTHEST = ("what color is the {a} farthest from {b}?",)
_COLORS = frozenset("black white gray grey red orange yellow green blue purple pink brown beige".split())
_SITUATIONS = (
    "i am standing by the {a} and facing the {b}. ",
    "next to the {a}, looking at the {b}. ",
    "facing the {b}, beside the {a}. ",
)
_SITUATED = ("where is the {c}?", "the {c}.", "is the {c} on my left or my right?", "which way is the {c}?")

# Shares of all phrases
_P_QUESTION = 0.4  # ask for a label or a colour
_P_RELATED, _TRIES = 0.75, 12  # relate an object to another; often it is ambiguous which is nearest, so several tries
_P_SITUATED = 0.2  # state where somebody stands and what they face
_P_ABSENT = 0.06  # of the others: name an object that is not there, a label with an attribute that none of it has
_P_FRAMED = 0.15  # stand in the prompt of a benchmark
# Shares of the phrases that relate an object to another
_P_ANY_OBJECT = 0.35  # say "the object" instead of a label that several objects have
_P_ANY_OBJECT_SINGLE = 0.6  # the same where no label has several objects, so that a label alone decides
_P_COLORED_OBJECT = 0.6  # of these, if they are not questions: say "the red object" where several are red
_P_POINT = 0.4  # give the other object by a point instead of a name
_P_FARTHEST = 0.3  # the farthest instead of the nearest
_P_WHERE = 0.4  # of questions for the label nearest to a named object: ask where that is, with the answer begun
# Shares of names
_P_LABEL_ONLY = 0.25  # leave the attribute out
_P_LABEL_ONLY_TARGET = 0.7  # the same for a target of several with its label: with the attribute it is often the only
_P_SYNONYM = 0.4  # use a synonym of the label, where there is one
_MIN_APART_M = 1.0  # horizontally, between viewpoint, faced object and target

Boxes: TypeAlias = Mapping[int, Sequence[float]]  # by object id: centre first, world, metres
Ids: TypeAlias = tuple[int, ...]
Name: TypeAlias = tuple[str, Ids]  # the words, and the ids of all objects that they denote


@dataclass(frozen=True)
class Phrase:
    """A description, question or situation about objects of a scene.

    Attributes:
        text: The words.
        names: For each name in the text, in order: the index of the character after it, and the ids of all objects that
            it denotes.
        target: Ids of the objects that the phrase as a whole denotes.
        anchor: Ids of the objects whose place identifies the target: the other object in a relation, or the target
            itself without one.
        points: Ids of the objects whose centres stand for the <coord>s of the text.
        asks: What a question asks of the target: its "label", its "attribute", or "words", the answer of `question`.
            None for a description.
        framed: Whether the phrase stands in the prompt of a benchmark.
        question: The benchmark question that the phrase was made from (`curriculum.question_phrases`).
        answer_start: The beginning of the answer, after which the target is to be named, such as "next to the".
        viewpoint: For a situation: the index of the character after it, where the asker stands, and a point ahead
            (world, metres).
        standing_at: Id of the object in the situation that the asker stands at.
        facing: Ids of the objects in the situation that the asker faces.
        is_farthest: Whether the target is the object farthest from the anchor instead of the nearest.
    """

    text: str
    names: tuple[tuple[int, Ids], ...]
    target: Ids
    anchor: Ids
    points: Ids = ()
    asks: Literal["attribute", "label", "words"] | None = None
    framed: bool = False
    question: Question | None = None
    answer_start: str = ""
    viewpoint: tuple[int, tuple[float, ...], tuple[float, ...]] | None = None
    standing_at: Ids = ()
    facing: Ids = ()
    is_farthest: bool = False

    @property
    def mentions(self) -> list[Ids]:
        """The ids of the objects that each name denotes, then of those that each <coord> stands for."""
        return [*(ids for _, ids in self.names), *((i,) for i in self.points)]


def phrases(objects: ObjectNames, boxes: Boxes, visible: Sequence[int], count: int, rng: random.Random) -> list[Phrase]:
    """Generate phrases about visible objects of a scene.

    Args:
        objects: Attribute and label of the scene's objects.
        boxes: Their boxes.
        visible: Ids of the objects that phrases may be about.
        count: Number of phrases.
        rng: Draws the phrases.

    Returns:
        `count` phrases: descriptions and questions, most of them relating an object to another by distance, some with a
        situation, a few about an object that is not there. Empty if nothing is visible.
    """
    result: list[Phrase] = []
    while visible and len(result) < count:
        is_question, make = rng.random() < _P_QUESTION, _related if rng.random() < _P_RELATED else _plain
        make = _situated if rng.random() < _P_SITUATED else _absent if rng.random() < _P_ABSENT else make
        tries = (make(objects, boxes, visible, is_question, rng) for _ in range(_TRIES))
        phrase = next(filter(None, tries), None) or _plain(objects, boxes, visible, False, rng)
        result.append(replace(phrase, framed=phrase.viewpoint is None and rng.random() < _P_FRAMED))
    return result


def with_synonyms(
    phrase: Phrase, objects: ObjectNames, synonyms: Mapping[str, Sequence[str]], rng: random.Random
) -> Phrase:
    """Replace some labels in the names of a phrase by synonyms.

    Args:
        phrase: The phrase.
        objects: Attribute and label of the scene's objects.
        synonyms: Other words by label.
        rng: Draws which labels are replaced.

    Returns:
        The phrase in other words, with the same meaning.
    """
    text, names, begin, viewpoint = "", [], 0, phrase.viewpoint
    for end, ids in phrase.names:
        part, begin = phrase.text[begin:end], end
        label = objects[ids[0]][1]
        if label in synonyms and part.endswith(label) and rng.random() < _P_SYNONYM:
            part = part.removesuffix(label) + rng.choice(synonyms[label])
        text += part
        names.append((len(text), ids))
        if phrase.viewpoint and end <= phrase.viewpoint[0]:
            viewpoint = (phrase.viewpoint[0] + len(text) - end, *phrase.viewpoint[1:])
    return replace(phrase, text=text + phrase.text[begin:], names=tuple(names), viewpoint=viewpoint)


def _name(
    objects: ObjectNames, visible: Sequence[int], object_id: int, rng: random.Random, label_only: float = _P_LABEL_ONLY
) -> Name:
    attribute, label = objects[object_id]
    if attribute is None or rng.random() < label_only:
        return label, tuple(i for i in visible if objects[i][1] == label)
    return f"{attribute} {label}", tuple(i for i in visible if objects[i] == (attribute, label))


def _plain(
    objects: ObjectNames, boxes: Boxes, visible: Sequence[int], is_question: bool, rng: random.Random
) -> Phrase | None:
    """One object by its name, or a question for its colour; None for a colour that is ambiguous."""
    object_id = rng.choice(visible)
    if not is_question:
        name, target = _name(objects, visible, object_id, rng)
        return _phrase(rng.choice(_PLAIN), {"a": (name, target)}, target, anchor=target)
    color, label = objects[object_id]
    target = tuple(i for i in visible if objects[i][1] == label)
    if color not in _COLORS or any(objects[i][0] != color for i in target):
        return None
    return _phrase(rng.choice(_ASK_COLOR), {"a": (label, target)}, target, anchor=target, asks="attribute")


def _related(
    objects: ObjectNames, boxes: Boxes, visible: Sequence[int], is_question: bool, rng: random.Random
) -> Phrase | None:
    """One object by its distance to another; None where that is ambiguous."""
    anchor, by_point, farthest = rng.choice(visible), rng.random() < _P_POINT, rng.random() < _P_FARTHEST
    anchor_name, same_name = (COORD_TOKEN, ()) if by_point else _name(objects, visible, anchor, rng)
    others = [i for i in visible if objects[i][1] != objects[anchor][1]]
    if len(same_name) > 1 or not others:
        return None
    names = {"b": (anchor_name if by_point else f"the {anchor_name}", same_name)}
    counts = Counter(objects[i][1] for i in others)
    several = [i for i in others if counts[objects[i][1]] > 1]
    if rng.random() < (_P_ANY_OBJECT if several else _P_ANY_OBJECT_SINGLE):
        names["a"], candidates = _any_object(objects, visible, anchor, is_question, rng)
        asks, forms = "label", _ASK_FARTHEST if farthest else _ASK_NEAREST
    else:
        label_only = 1.0 if is_question else _P_LABEL_ONLY_TARGET if several else _P_LABEL_ONLY
        name, candidates = _name(objects, others, rng.choice(several or others), rng, label_only)
        names["a"] = name, candidates
        asks, forms = "attribute", _ASK_COLOR_FARTHEST if farthest else _ASK_COLOR_NEAREST
    target = candidates[0] if len(candidates) == 1 else clearly_nearest(boxes, candidates, anchor, farthest)
    if target is None or (is_question and asks == "attribute" and objects[target][0] not in _COLORS):
        return None
    answer_start = ""
    if not is_question:
        asks, forms = None, _FARTHEST if farthest else _NEAREST
    elif asks == "label" and not (farthest or by_point) and rng.random() < _P_WHERE:
        forms, answer_start = _ASK_WHERE, _NEXT_TO
    phrase = _phrase(rng.choice(forms), names, (target,), (anchor,), (anchor,) if by_point else (), asks)
    return replace(phrase, is_farthest=farthest, answer_start=answer_start)


def _any_object(
    objects: ObjectNames, visible: Sequence[int], anchor: int, is_question: bool, rng: random.Random
) -> tuple[Name, Ids]:
    """The name "object" or, where several objects but not the anchor are red, "red object"; and the candidates."""
    others = tuple(i for i in visible if i != anchor)
    counts = Counter(objects[i][0] for i in visible if objects[i][0] not in (None, objects[anchor][0]))
    several = [i for i in others if counts[objects[i][0]] > 1]
    if is_question or not several or rng.random() > _P_COLORED_OBJECT:
        return ("object", ()), others
    attribute = objects[rng.choice(several)][0]
    candidates = tuple(i for i in others if objects[i][0] == attribute)
    return (f"{attribute} object", candidates), candidates


def _absent(
    objects: ObjectNames, boxes: Boxes, visible: Sequence[int], is_question: bool, rng: random.Random
) -> Phrase | None:
    """An object that is not there: a visible label with an attribute of other labels; None without such attributes."""
    label = objects[rng.choice(visible)][1]
    present = {attribute for attribute, other in objects.values() if other == label}
    others = sorted({attribute for attribute, _ in objects.values() if attribute} - present)
    if not others or None in present:
        return None
    return _phrase(rng.choice(_PLAIN), {"a": (f"{rng.choice(others)} {label}", ())}, (), ())


def _situated(
    objects: ObjectNames, boxes: Boxes, visible: Sequence[int], is_question: bool, rng: random.Random
) -> Phrase | None:
    """One object for somebody who stands at another and faces a third; None where these are too close together."""
    if len(visible) < 3:
        return None
    ids = tuple(rng.sample(visible, 3))
    names = {key: _name(objects, visible, i, rng) for key, i in zip("abc", ids, strict=True)}
    (x, y), faced, target = (boxes[i][:2] for i in ids)
    apart = [hypot(q[0] - p[0], q[1] - p[1]) for p, q in (((x, y), faced), ((x, y), target), (faced, target))]
    if any(len(same_name) > 1 for _, same_name in names.values()) or min(apart) < _MIN_APART_M:
        return None
    situation = rng.choice(_SITUATIONS)
    phrase = _phrase(situation + rng.choice(_SITUATED), names, (ids[2],), ())
    z, step = boxes[ids[0]][2], ((faced[0] - x) / apart[0], (faced[1] - y) / apart[0])
    end = phrase.text.index(". ") + 1
    viewpoint = (end, (x, y, z), (x + step[0], y + step[1], z))
    return replace(phrase, viewpoint=viewpoint, standing_at=ids[:1], facing=ids[1:2])


def _phrase(form: str, names: Mapping[str, Name], target: Ids, anchor: Ids, points: Ids = (), asks=None) -> Phrase:
    """Fill the names into `form`; a name that denotes no object is left out of the phrase's `names`."""
    text, ends = "", []
    for number, part in enumerate(re.split(r"\{(\w)\}", form)):
        name, ids = names[part] if number % 2 else (part, ())
        text += name
        ends += [(len(text), ids)] if ids else []
    return Phrase(text, tuple(ends), target, anchor, points, asks)
