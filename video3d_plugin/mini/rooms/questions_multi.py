"""Queries in the format of Multi3DRefer: no, one or several targets, with and without other objects of the class.

A query without a target is worded like others: its clues are borrowed from a real object, so that the words do not tell
that there is no target.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np

from video3d_plugin.mini.rooms.clues import ALONE, ANCHORED, anchors_for, fits
from video3d_plugin.mini.rooms.mixing import mixed
from video3d_plugin.mini.rooms.objects import COLORS, KINDS
from video3d_plugin.mini.rooms.referring import Expression, Referrer, compose
from video3d_plugin.mini.rooms.relations import PREDICATES, Body, Facts
from video3d_plugin.mini.rooms.rooms import stream
from video3d_plugin.mini.rooms.wording import name_of, noun, phrase, pick, plural

# Shares of the types; what a room cannot give goes to the others.
TYPES = {"zt_wo_d": 0.10, "zt_w_d": 0.14, "st_wo_d": 0.10, "st_w_d": 0.42, "mt": 0.24}
# How often each class is looked for where it is missing: objects a room over the share of rooms without it, measured
# over 150 full rooms. With it, a class is asked for in vain about as often as with success, in full rooms.
VAIN = {
    "chair": 8.1,
    "box": 5.0,
    "picture": 3.8,
    "lamp": 5.8,
    "trash can": 3.0,
    "stool": 1.8,
    "plant": 2.5,
    "cabinet": 1.7,
    "ottoman": 1.1,
    "pillow": 1.7,
    "curtain": 1.6,
    "couch": 1.6,
    "bookshelf": 1.6,
    "dresser": 1.1,
    "desk": 0.9,
    "backpack": 0.8,
    "coffee table": 0.8,
    "tv": 1.0,
    "suitcase": 0.6,
    "table": 0.8,
    "refrigerator": 0.5,
    "bed": 0.6,
    "nightstand": 0.4,
    "monitor": 0.4,
    "whiteboard": 0.3,
}
PLURAL_IN_VAIN, BARE = 0.28, 0.4  # shares of plural queries among those without target, and of those that only name


def multi3drefer(facts: Facts, referrer: Referrer, count: int, labels: Collection[str]) -> list[dict]:
    """Return queries about one room.

    Args:
        facts: The room.
        referrer: Makes expressions for its objects.
        count: Number of queries.
        labels: Classes that rooms of this kind may hold; another class would tell that there is no target.

    Returns:
        Items of the official file, with ann_id counting from 0.
    """
    room = facts.room
    rng = stream(*room.seed, room.scene_id, "multi3drefer")
    missing = [label for label in VAIN if label in labels and not facts.group(label)]
    makers = {
        "zt_wo_d": partial(_zero_without, missing),
        "zt_w_d": _zero_with,
        "st_wo_d": _single,
        "st_w_d": _single,
        "mt": _many,
    }
    drawn = mixed(rng, TYPES, lambda kind: makers[kind](facts, referrer, rng, kind), count, lambda m: m["description"])
    return [
        {"scene_id": room.scene_id, **made, "ann_id": number, "eval_type": kind}
        for number, (kind, made) in enumerate(drawn)
    ]


def _item(label: str, targets, text: str, spatial: bool, color: bool) -> dict:
    return {
        "object_ids": sorted(targets),
        "object_name": label,
        "description": text,
        "spatial": spatial,
        "color": color,
        "texture": False,
        "shape": False,
    }


def _single(facts: Facts, referrer: Referrer, rng, kind: str) -> dict | None:
    alone = [b for b in facts.bodies.values() if (len(facts.group(b.label)) == 1) == (kind == "st_wo_d")]
    if not alone:
        return None
    body = pick(rng, alone)
    expression = referrer.expression(body, rng)
    if expression is None:
        return None
    text = referrer.sentence(expression, rng)
    return _item(body.label, [body.id], text, bool(expression.clues), expression.color is not None)


def random_phrase(referrer: Referrer, rng, label: str) -> tuple[str, tuple[Body, ...], str] | None:
    """Return a relation, its anchor and its words, whether or not it is true of anything."""
    facts, allowed = referrer.facts, [k for k in (*ANCHORED, *ALONE) if referrer.style.relations.get(k, 0) > 0]
    if not allowed:
        return None
    kind = pick(rng, allowed)
    if kind in ALONE:
        return kind, (), phrase(rng, kind, [])
    anchors = [a for a in anchors_for(facts, label) if fits(facts, kind, a) and plausible(kind, label, a)]
    if not anchors:
        return None
    anchor = pick(rng, anchors)
    return kind, (anchor,), phrase(rng, kind, [name_of(facts, anchor, rng)])


def plausible(kind: str, label: str, anchor: Body) -> bool:
    """Return whether a person might say this of the class: nobody asks for the bed on the chair."""
    if kind != "on":
        return True
    return label in ("box", "lamp", "monitor", "pillow") and anchor.label in (
        "table",
        "desk",
        "bed",
        "couch",
        "dresser",
        "cabinet",
        "nightstand",
        "coffee table",
    )


def _borrowed(facts: Facts, referrer: Referrer, rng, label: str) -> Expression | None:
    """An expression of some object that is there, whose clues could be said of a `label` as well."""
    body = pick(rng, list(facts.bodies.values()))
    expression = referrer.expression(body, rng)
    if expression is None or not expression.clues:
        return None
    anchors = [(c.kind, a) for c in expression.clues for a in c.anchors]
    sayable = all(a.label != label and plausible(kind, label, a) for kind, a in anchors)
    return expression if sayable else None


def _in_vain(referrer: Referrer, rng, label: str, color: str | None, expression: Expression) -> dict:
    """A query for a `label`, in words that are true of another object."""
    phrases = [referrer.say(clue, label, rng) for clue in expression.clues]
    return _item(label, [], compose(noun(rng, label), color, phrases, rng), True, color is not None)


def _plural_in_vain(referrer: Referrer, rng, label: str, color: str | None, bare: bool) -> dict | None:
    words = None
    if not (bare and rng.random() < BARE):
        phrase = random_phrase(referrer, rng, label)
        if phrase is None:
            return None
        words = phrase[2]
    return _item(label, [], _plural_text(rng, label, color, words), words is not None, color is not None)


def _some_color(rng, label: str) -> str | None:
    colors = KINDS[label].colors
    return pick(rng, colors) if colors and rng.random() < 0.75 else None


def _zero_without(missing: list[str], facts: Facts, referrer: Referrer, rng, _: str) -> dict | None:
    """No target: the class is not in the room."""
    if not missing:
        return None
    weights = np.array([VAIN[label] for label in missing])
    label = missing[int(rng.choice(len(missing), p=weights / weights.sum()))]
    if rng.random() < PLURAL_IN_VAIN:
        color = pick(rng, KINDS[label].colors) if KINDS[label].colors and rng.random() < 0.5 else None
        return _plural_in_vain(referrer, rng, label, color, bare=True)
    expression = _borrowed(facts, referrer, rng, label)
    return _in_vain(referrer, rng, label, _some_color(rng, label), expression) if expression else None


def _zero_with(facts: Facts, referrer: Referrer, rng, _: str) -> dict | None:
    """No target: the class is there, but none of that colour, or none at that place."""
    label = pick(rng, list(facts.bodies.values())).label
    group = facts.group(label)
    missing = [c for c in KINDS[label].colors if not facts.group(label, c)]
    if missing and rng.random() < 0.45:
        color = pick(rng, missing)
        if rng.random() < PLURAL_IN_VAIN:
            return _plural_in_vain(referrer, rng, label, color, bare=True)
        expression = _borrowed(facts, referrer, rng, label)
        return _in_vain(referrer, rng, label, color, expression) if expression else None
    color = pick(rng, group).color if rng.random() < 0.75 else None
    if rng.random() < PLURAL_IN_VAIN:
        phrase = random_phrase(referrer, rng, label)
        if phrase is None or facts.holders(phrase[0], phrase[1], group) != set():
            return None
        return _item(label, [], _plural_text(rng, label, color, phrase[2]), True, color is not None)
    expression = _borrowed(facts, referrer, rng, label)
    if expression is None or not any(_nowhere(facts, clue, group) for clue in expression.clues):
        return None
    return _in_vain(referrer, rng, label, color, expression)


def _nowhere(facts: Facts, clue, group: list[Body]) -> bool:
    """Whether the clue is clearly true of none of `group`; a superlative is always true of one."""
    return clue.kind in PREDICATES and facts.holders(clue.kind, clue.anchors, group) == set()


def _plural_text(rng, label: str, color: str | None, words: str | None) -> str:
    named = f"{color} {plural(label)}" if color else plural(label)
    if words is None:
        return pick(
            rng, (f"the {named}.", f"all of the {named} in the room.", f"find all the {named}.", f"all {named}.")
        )
    return pick(
        rng,
        (
            f"the {named} {words}.",
            f"all the {named} that are {words}.",
            f"find the {named} {words}.",
            f"these are {named}. they are {words}.",
        ),
    )


def _many(facts: Facts, referrer: Referrer, rng, _: str) -> dict | None:
    """Two or more targets of a class: all, those of a colour, those at a place."""
    labels = sorted({b.label for b in facts.bodies.values() if len(facts.group(b.label)) > 1})
    label = pick(rng, labels)
    shared = [c for c in COLORS if len(facts.group(label, c)) > 1]
    color = pick(rng, shared) if shared and rng.random() < 0.5 else None
    group, words = facts.group(label, color), None
    if len(group) > 2 and rng.random() < 0.6 or color is None and rng.random() < 0.5:
        phrase = random_phrase(referrer, rng, label)
        if phrase is None:
            return None
        kind, anchors, words = phrase
        held = facts.holders(kind, anchors, group)
        if held is None or len(held) < 2:
            return None
        group = [b for b in group if b.id in held]
    return _item(
        label, [b.id for b in group], _plural_text(rng, label, color, words), words is not None, color is not None
    )
