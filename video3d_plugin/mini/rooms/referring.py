"""Referring expressions: clues that identify an object among others of its class, and sentences made of them.

A clue is a relation that is true of the object. Clues, with the class and the colour if it is stated, identify the
object if no other object of the class satisfies all of them. A clue that is unclear for another object counts as
satisfied by it, so that a borderline case is always ruled out by another clue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.mini.rooms import relations as rel
from video3d_plugin.mini.rooms.relations import PREDICATES, Body, Facts
from video3d_plugin.mini.rooms.wording import article, name_of, noun, phrase, pick, plural

ANCHORED = ("next_to", "on", "below", "in_front_of", "left_of", "right_of", "same_wall", "opposite_wall")
ALONE = ("corner", "wall", "middle")
COMPARED = ("biggest", "smallest", "tallest")  # said of an object "than the others" of its class, whatever their colour


# How often each relation is chosen, where it is to be had.
WEIGHTS = {
    "nearest": 2.0,
    "farthest": 2.0,
    "leftmost_door": 1.6,
    "rightmost_door": 1.6,
    "leftmost_facing": 1.0,
    "rightmost_facing": 1.0,
    "left_of": 1.0,
    "right_of": 1.0,
    "between": 2.0,
    "corner": 2.0,
    "wall": 0.6,
    "middle": 1.2,
    "next_to": 3.0,
    "on": 5.0,
    "below": 3.0,
    "in_front_of": 3.0,
    "same_wall": 1.2,
    "opposite_wall": 1.2,
    "biggest": 4.0,
    "smallest": 4.0,
    "tallest": 4.0,
}


@dataclass(frozen=True)
class Style:
    """Which descriptions a benchmark has, and so how hard it is.

    Attributes:
        relations: How often each relation is chosen where it applies; others are never used.
        color: How often the colour is stated where the place would do.
        extra: How often a second clue is stated where one would do: the more, the easier.
    """

    relations: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    color: float = 0.75
    extra: float = 0.3

    def __post_init__(self):
        unknown = sorted(set(self.relations) - set(WEIGHTS))
        if unknown or not 0 <= self.color <= 1 or not 0 <= self.extra <= 1:
            raise DataError(
                f"bad style: {unknown or 'shares'}", remedy=f"relations: {', '.join(WEIGHTS)}; shares in 0..1"
            )


# Nothing that depends on a viewpoint or on comparing sizes, and more said than is needed.
_PLAIN = ("nearest", "farthest", "between", "corner", "middle", "next_to", "on", "below", "in_front_of")
PLAIN_STYLE = Style({kind: WEIGHTS[kind] for kind in _PLAIN}, color=0.9, extra=0.7)


# The mini benchmark's: every sort of relation, the plain ones more often, and redundant as people's descriptions are.
MINI_STYLE = Style(
    {
        "nearest": 3.0,
        "farthest": 2.0,
        "between": 2.0,
        "corner": 2.0,
        "middle": 1.0,
        "next_to": 3.0,
        "on": 5.0,
        "below": 2.0,
        "in_front_of": 2.0,
        "left_of": 0.15,
        "right_of": 0.15,
        "leftmost_door": 0.7,
        "rightmost_door": 0.7,
        "biggest": 1.5,
        "smallest": 1.5,
    },
    color=0.9,
    extra=0.8,
)


@dataclass(frozen=True)
class Clue:
    """A relation with its anchors; `holders` are the ids of the objects of the class that it may be true of."""

    kind: str
    anchors: tuple[Body, ...]
    holders: frozenset[int]


def fits(facts: Facts, kind: str, anchor: Body) -> bool:
    """Return whether a relation can be stated of an anchor: some need a front, a thing on a wall, or a surface."""
    if kind in ("left_of", "right_of", "in_front_of") or kind.endswith("_facing"):
        return anchor.front is not None and (anchor.label not in ("curtain",))
    if kind in ("below", "same_wall", "opposite_wall"):
        hanging = anchor.label in rel.WALL_LABELS and anchor.front is not None
        return hanging and (kind != "below" or anchor.lo[2] > 0.8)
    if kind.endswith("_door"):
        return anchor.label == "door"
    return True


def anchors_for(facts: Facts, label: str) -> list[Body]:
    """Return the objects of other classes that a noun phrase alone identifies, in a fixed order."""
    quiet = np.random.default_rng(0)
    return [b for b in facts.bodies.values() if b.label != label and name_of(facts, b, quiet) is not None]


def clues(facts: Facts, target: Body, group: list[Body]) -> list[Clue]:
    """Return all relations that are clearly true of an object.

    Args:
        facts: The room.
        target: The object.
        group: The objects of its class.

    Returns:
        Clues, each with the objects of the group that it is or may be true of.
    """
    found = [_predicate(facts, kind, target, (), group) for kind in ALONE]
    anchors = anchors_for(facts, target.label)
    for anchor in anchors:
        found += [_predicate(facts, kind, target, (anchor,), group) for kind in ANCHORED if fits(facts, kind, anchor)]
    for i, first in enumerate(anchors):
        found += [_predicate(facts, "between", target, (first, second), group) for second in anchors[i + 1 :]]
    found = [clue for clue in found if clue is not None]
    return found + [c for c in superlatives(facts, group, anchors) if target.id in c.holders]


def _predicate(facts, kind, target, anchors, group) -> Clue | None:
    if not facts.holds(kind, target, anchors):
        return None
    return Clue(kind, anchors, frozenset(b.id for b in group if facts.holds(kind, b, anchors) is not False))


def superlatives(facts: Facts, group: list[Body], anchors: list[Body]) -> Iterator[Clue]:
    """Return the clues that single out one object of a group: nearest, leftmost, biggest and the like."""
    if len(group) < 2:
        return
    found: list[tuple[str, tuple[Body, ...], int | None]] = []
    for anchor in anchors:
        found += [
            ("nearest", (anchor,), rel.nearest(group, anchor)),
            ("farthest", (anchor,), rel.farthest(group, anchor)),
        ]
        if fits(facts, "leftmost_facing", anchor) and anchor.label not in ("door", "chair"):
            view = anchor.center, (-anchor.front[0], -anchor.front[1])
            found += [
                ("leftmost_facing", (anchor,), rel.leftmost(group, *view)),
                ("rightmost_facing", (anchor,), rel.rightmost(group, *view)),
            ]
        if fits(facts, "leftmost_door", anchor):
            view = anchor.center, anchor.front
            found += [
                ("leftmost_door", (anchor,), rel.leftmost(group, *view)),
                ("rightmost_door", (anchor,), rel.rightmost(group, *view)),
            ]
    found += [
        ("biggest", (), rel.biggest(group)),
        ("smallest", (), rel.smallest(group)),
        ("tallest", (), rel.tallest(group)),
    ]
    for kind, used, winner in found:
        if winner is not None:
            yield Clue(kind, used, frozenset((winner,)))


@dataclass(frozen=True)
class Expression:
    """The colour (None: not stated) and the clues that, with the class, identify an object."""

    target: Body
    color: str | None
    clues: tuple[Clue, ...]


class Referrer:
    """Makes expressions for the objects of one room. Clues are computed once for each class."""

    def __init__(self, facts: Facts, style: Style | None = None):
        self.facts, self.style = facts, style or Style()
        self._clues: dict[tuple[int, str | None], list[Clue]] = {}

    def clues(self, target: Body, color: str | None = None) -> list[Clue]:
        """Return the clues of an object among those of its class, or of its class and colour."""
        key = (target.id, color)
        if key not in self._clues:
            found = clues(self.facts, target, self.facts.group(target.label, color))
            found = [c for c in found if self.style.relations.get(c.kind, 0) > 0]
            if color:
                found = [c for c in found if c.kind not in COMPARED or c in self.clues(target)]
            self._clues[key] = found
        return self._clues[key]

    def of_color_only(self, expression: Expression) -> bool:
        """Return whether the object is the nearest, leftmost ... of its colour, and not clearly of its class."""
        of_class = self.clues(expression.target)
        return any(c.kind not in PREDICATES and c not in of_class for c in expression.clues)

    def expression(self, target: Body, rng: np.random.Generator, *, color: str = "may") -> Expression | None:
        """Draw an expression for an object.

        Args:
            target: The object.
            rng: Draws colour and clues.
            color: "may" or "never" be stated.

        Returns:
            None if two clues do not identify the object.
        """
        sisters = self.facts.group(target.label)
        colored = self.facts.group(target.label, target.color) if target.color and color == "may" else sisters
        said = target.color if color == "may" else None
        if len(sisters) == 1:
            extra = self._extra(self.clues(target), rng)
            return Expression(target, said if rng.random() < 0.8 else None, (extra,) if extra else ())
        options = []
        if said and len(colored) < len(sisters):  # colour does part or all of the work
            if len(colored) == 1:
                extra = self._extra([c for c in self.clues(target) if c.kind in (*ANCHORED, *ALONE)], rng)
                options.append((0.3, said, (extra,) if extra else ()))
            else:
                options += [(0.35, said, chosen) for chosen in (self._enough(self.clues(target, said), rng),) if chosen]
        chosen = self._enough(self.clues(target), rng)
        if chosen:
            options.append((0.65, said if rng.random() < self.style.color else None, chosen))
        if not options:
            return None
        weights = np.array([o[0] for o in options])
        _, said, chosen = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        return Expression(target, said, self._embroider(target, chosen, rng))

    def _enough(self, found: list[Clue], rng: np.random.Generator) -> tuple[Clue, ...]:
        """One or two clues that identify the object; empty if there are none."""
        single = [c for c in found if len(c.holders) == 1]
        if single and rng.random() < 0.9:
            return (self._draw(single, rng),)
        partial = [c for c in found if len(c.holders) > 1]
        pairs = [(a, b) for i, a in enumerate(partial) for b in partial[i + 1 :] if len(a.holders & b.holders) == 1]
        if pairs:
            return pick(rng, pairs)
        return (self._draw(single, rng),) if single else ()

    def _embroider(self, target: Body, chosen: tuple[Clue, ...], rng: np.random.Generator) -> tuple[Clue, ...]:
        """Sometimes add a second true clue where one would do."""
        if len(chosen) != 1 or rng.random() > self.style.extra:
            return chosen
        used = {chosen[0].kind}
        more = [c for c in self.clues(target) if c.kind not in used and c.kind in (*ANCHORED, *ALONE)]
        extra = self._extra(more, rng)
        return (*chosen, extra) if extra else chosen

    def _extra(self, found: list[Clue], rng: np.random.Generator) -> Clue | None:
        """A clue that is not needed; mostly none where only kinds are left that the style rarely uses."""
        weight = sum(self.style.relations[kind] for kind in {c.kind for c in found})
        return self._draw(found, rng) if weight >= 1 or rng.random() < weight else None

    def _draw(self, found: list[Clue], rng: np.random.Generator) -> Clue | None:
        """Draw the kind of relation by the style first, then a clue of that kind; else anchors would decide."""
        kinds = sorted({c.kind for c in found})
        if not kinds:
            return None
        weights = np.array([self.style.relations[k] for k in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        return pick(rng, [c for c in found if c.kind == kind])

    def say(self, clue: Clue, label: str, rng: np.random.Generator) -> str:
        """Return a clue in words."""
        names = [name_of(self.facts, a, rng) for a in clue.anchors]
        if clue.kind == "between" and rng.random() < 0.5:
            names.reverse()
        sisters = len(self.facts.group(label))
        others = "other one" if sisters == 2 else f"other {plural(label)}"
        return phrase(rng, clue.kind, names, others)

    def sentence(self, expression: Expression, rng: np.random.Generator) -> str:
        """Return a description as in ScanRefer: lower case, with full stops."""
        label, color = expression.target.label, expression.color
        said = [self.say(c, label, rng) for c in expression.clues]
        return compose(noun(rng, label), color, said, rng, one_phrase=self.of_color_only(expression))

    def noun_phrase(self, expression: Expression, rng: np.random.Generator) -> str:
        """Return "red chair closest to the door and next to the bed", without an article."""
        words = f"{expression.color} " if expression.color else ""
        said = [self.say(c, expression.target.label, rng) for c in expression.clues]
        return words + " ".join([noun(rng, expression.target.label), " and ".join(said)]).strip()


def compose(
    word: str, color: str | None, said: list[str], rng: np.random.Generator, *, one_phrase: bool = False
) -> str:
    """Compose a description of a noun, a colour and up to two relation phrases.

    Args:
        word: The noun.
        color: The colour, or None.
        said: The relation phrases.
        rng: Draws the form.
        one_phrase: The first relation is true among objects of the colour only: "the red chair closest to the door",
            not "this chair is closest to the door. it is red."
    """
    named = f"{color} {word}" if color else word
    if not said:
        return pick(
            rng,
            (
                f"this is {article(named)}.",
                f"the {named} in the room.",
                f"there is {article(named)}.",
                f"find the {named}.",
            ),
        )
    both, first, rest = " and ".join(said), said[0], said[1:]
    tail = "".join(f" it is {s}." for s in rest)
    forms = [
        f"this is {article(named)}. it is {both}.",
        f"the {named} {both}.",
        f"there is {article(named)} {first}.{tail}",
        f"{article(named)}. it is {first}.{tail}",
        f"find the {named} that is {both}.",
        f"it is the {named} {first}.{tail}",
        f"the {named} that is {first}.{tail}",
        f"{first} there is {article(named)}.{tail}",
        f"look for the {named} {both}.",
        f"i am looking for the {named}. it is {both}.",
    ]
    if color:
        forms.append(f"the {word} is {color}. it is {both}.")
        forms.append(f"this {word} is {first}. it is {color}.{tail}")
        forms.append(f"it is {article(word)} that is {color} and {first}.{tail}")
    if one_phrase:
        forms = [form for form in forms if f"{named} {first}" in form or f"{named} that is {first}" in form]
    return pick(rng, forms)
