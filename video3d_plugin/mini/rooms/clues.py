"""Clues: relations that are true of an object, and which other objects of its class they may be true of.

A clue that is unclear for another object counts as satisfied by it, so that a borderline case is always ruled out by
another clue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from video3d_plugin.mini.rooms import relations as rel
from video3d_plugin.mini.rooms.relations import Body, Facts
from video3d_plugin.mini.rooms.wording import name_of

ANCHORED = ("next_to", "on", "below", "in_front_of", "left_of", "right_of", "same_wall", "opposite_wall")
ALONE = ("corner", "wall", "middle")
COMPARED = ("biggest", "smallest", "tallest")  # said of an object "than the others" of its class, whatever their colour


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
    of_kinds = [_predicate(facts, kind, target, (), group) for kind in ALONE]
    anchors = anchors_for(facts, target.label)
    for anchor in anchors:
        of_kinds += [
            _predicate(facts, kind, target, (anchor,), group) for kind in ANCHORED if fits(facts, kind, anchor)
        ]
    for i, first in enumerate(anchors):
        of_kinds += [_predicate(facts, "between", target, (first, second), group) for second in anchors[i + 1 :]]
    of_kinds = [clue for clue in of_kinds if clue is not None]
    return of_kinds + [c for c in superlatives(facts, group, anchors) if target.id in c.holders]


def _predicate(facts, kind, target, anchors, group) -> Clue | None:
    if not facts.holds(kind, target, anchors):
        return None
    return Clue(kind, anchors, frozenset(b.id for b in group if facts.holds(kind, b, anchors) is not False))


def superlatives(facts: Facts, group: list[Body], anchors: list[Body]) -> Iterator[Clue]:
    """Return the clues that single out one object of a group: nearest, leftmost, biggest and the like."""
    if len(group) < 2:
        return
    winners: list[tuple[str, tuple[Body, ...], int | None]] = []
    for anchor in anchors:
        winners += [
            ("nearest", (anchor,), rel.nearest(group, anchor)),
            ("farthest", (anchor,), rel.farthest(group, anchor)),
        ]
        if fits(facts, "leftmost_facing", anchor) and anchor.label not in ("door", "chair"):
            view = anchor.center, (-anchor.front[0], -anchor.front[1])
            winners += [
                ("leftmost_facing", (anchor,), rel.leftmost(group, *view)),
                ("rightmost_facing", (anchor,), rel.rightmost(group, *view)),
            ]
        if fits(facts, "leftmost_door", anchor):
            view = anchor.center, anchor.front
            winners += [
                ("leftmost_door", (anchor,), rel.leftmost(group, *view)),
                ("rightmost_door", (anchor,), rel.rightmost(group, *view)),
            ]
    winners += [
        ("biggest", (), rel.biggest(group)),
        ("smallest", (), rel.smallest(group)),
        ("tallest", (), rel.tallest(group)),
    ]
    for kind, used, winner in winners:
        if winner is not None:
            yield Clue(kind, used, frozenset((winner,)))
