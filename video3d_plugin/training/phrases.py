"""Phrases about the objects of a scene, for the lesson in looking: what each name in them names, and what they mean."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from video3d_plugin.model.host_methods import COORD_TOKEN
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
_LABEL_ALONE = 0.25  # share of names in phrases that leave the attribute out
_RELATED, _TRIES = 0.75, 12  # share of phrases that name one thing by another; often it is not clear which is nearest
_OBJECT = 0.35  # share of these that say "the object" where a label could be
_BY_POINT = 0.4  # share of these that give the place of the other thing instead of its name
_FAR = 0.3  # share of these that ask for the farthest
_FRAMED = 0.15  # share of all phrases that are put as the benchmarks put them


@dataclass(frozen=True)
class Phrase:
    """A few words about objects of a scene.

    names   of each name in it, in order: the character that it ends before, and the ids of all that are called so
    meant   what the whole denotes
    beside  whose place tells which that is: the other thing's, or (where there is none) that of what is meant
    points  of each <coord> in it, whose centre it stands for
    framed  to be put as a benchmark's description is, with the words around it
    """

    text: str
    names: tuple[tuple[int, tuple[int, ...]], ...]
    meant: tuple[int, ...]
    beside: tuple[int, ...]
    points: tuple[int, ...] = ()
    framed: bool = False


def phrases(
    objects: Named, boxes: Mapping[int, Sequence[float]], among: Sequence[int], count: int, rng: random.Random
) -> list[Phrase]:
    """`count` phrases about objects of `among`: some by label, most by attribute and label, most of them by what is
    nearest to another as well, or farthest from it, the other being named or pointed to.

    boxes   by id, centre first, metres
    """
    made: list[Phrase] = []
    while among and len(made) < count:
        tries = _TRIES if rng.random() < _RELATED else 0
        related = next(filter(None, (_related(objects, boxes, among, rng) for _ in range(tries))), None)
        phrase = related or _plain(objects, among, rng)
        made.append(replace(phrase, framed=rng.random() < _FRAMED))
    return made


def _called(objects: Named, among: Sequence[int], object_id: int, rng: random.Random) -> tuple[str, tuple[int, ...]]:
    """What to call an object, and all that are called so."""
    attribute, label = objects[object_id]
    if attribute is None or rng.random() < _LABEL_ALONE:
        return label, tuple(i for i in among if objects[i][1] == label)
    return f"{attribute} {label}", tuple(i for i in among if objects[i] == (attribute, label))


def _plain(objects: Named, among: Sequence[int], rng: random.Random) -> Phrase:
    name, meant = _called(objects, among, rng.choice(among), rng)
    return _phrase(rng.choice(_PHRASES), {"a": (name, meant)}, meant, beside=meant)


def _related(objects: Named, boxes, among: Sequence[int], rng: random.Random) -> Phrase | None:
    anchor = rng.choice(among)
    by_point = rng.random() < _BY_POINT
    called, called_so = (COORD_TOKEN, ()) if by_point else _called(objects, among, anchor, rng)
    others = [i for i in among if objects[i][1] != objects[anchor][1]]
    if len(called_so) > 1 or not others:
        return None
    counts = Counter(objects[i][1] for i in others)
    several = [i for i in others if counts[objects[i][1]] > 1]
    name, candidates = _called(objects, others, rng.choice(several or others), rng)
    names = {"a": (name, candidates), "b": (called if by_point else f"the {called}", called_so)}
    if rng.random() < _OBJECT:
        names["a"], candidates = ("object", ()), tuple(i for i in among if i != anchor)
    forms, far = (_FAR_PHRASES, True) if rng.random() < _FAR else (_NEAR_PHRASES, False)
    chosen = candidates[0] if len(candidates) == 1 else clearly_nearest(boxes, candidates, anchor, far)
    if chosen is None:
        return None
    return _phrase(rng.choice(forms), names, (chosen,), (anchor,), (anchor,) if by_point else ())


def _phrase(form: str, names: Mapping[str, tuple[str, tuple[int, ...]]], meant, beside, points=()) -> Phrase:
    """`form` with "{a}" and "{b}" replaced; a name of no object is only said."""
    text, ends = "", []
    for number, part in enumerate(re.split(r"\{(\w)\}", form)):
        name, ids = names[part] if number % 2 else (part, ())
        text += name
        ends += [(len(text), ids)] if ids else []
    return Phrase(text, tuple(ends), meant, beside, points)
