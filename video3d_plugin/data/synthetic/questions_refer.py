"""ScanRefer-like descriptions (Scan2Cap is made from the same file) and Multi3DRefer-like queries of one room."""

from __future__ import annotations

import numpy as np

from .mixing import mixed
from .objects import COLORS, KINDS
from .referring import ALONE, ANCHORED, Referrer, anchors_for, compose, fits
from .relations import Body, Facts
from .rooms import stream
from .wording import name_of, noun, phrase, pick, plural, tokens

# Shares of the Multi3DRefer types; what a room cannot give goes to the others.
TYPES = {"zt_wo_d": 0.10, "zt_w_d": 0.14, "st_wo_d": 0.10, "st_w_d": 0.42, "mt": 0.24}
V3D_CLASSES = {
    *range(1, 13),
    14,
    16,
    24,
    28,
    33,
    34,
    36,
    39,
}  # nyu40 ids that keep their own name; the rest are one class


def scanrefer(facts: Facts, referrer: Referrer, objects: int, references: tuple[int, int]) -> list[dict]:
    """Items of ScanRefer_filtered: several descriptions for each of up to `objects` objects."""
    room = facts.room
    rng = stream(*room.seed, room.scene_id, "scanrefer")
    bodies = list(facts.bodies.values())
    order = [bodies[i] for i in rng.permutation(len(bodies))]
    # A fifth of the objects is the only one of its (metric) class; most of the rest have sisters of their own label.
    classes = [_v3d_class(b.label) for b in order]
    easy = [b for b, c in zip(order, classes, strict=True) if classes.count(c) == 1][: max(2, objects // 5)]
    rest = [b for b in order if b not in easy]
    rest.sort(key=lambda b: len(facts.group(b.label)) == 1)
    order = easy + rest
    items: list[dict] = []
    described = 0
    for body in order:
        if described == objects:
            break
        texts = _descriptions(referrer, body, rng, int(rng.integers(references[0], references[1] + 1)))
        described += bool(texts)
        items += [_scanrefer_item(room.scene_id, body, number, text) for number, text in enumerate(texts)]
    _add_eval_type(items)
    return sorted(items, key=lambda item: (int(item["object_id"]), int(item["ann_id"])))


def _descriptions(referrer: Referrer, body: Body, rng: np.random.Generator, wanted: int) -> list[str]:
    texts: list[str] = []
    for _ in range(3 * wanted):
        expression = referrer.expression(body, rng)
        text = referrer.sentence(expression, rng) if expression else None
        if text and text not in texts:
            texts.append(text)
        if expression is None or len(texts) == wanted:
            break
    return texts


def _scanrefer_item(scene_id: str, body: Body, number: int, text: str) -> dict:
    return {
        "scene_id": scene_id,
        "object_id": str(body.id),
        "object_name": body.label.replace(" ", "_"),
        "ann_id": str(number),
        "description": text,
        "token": tokens(text),
    }


def _add_eval_type(items: list[dict]) -> None:
    """unique | multiple as Video-3D-LLM's script writes it into the file: by class over the *described* objects."""
    classes: dict[int, set[str]] = {}
    for item in items:
        classes.setdefault(_v3d_class(item["object_name"].replace("_", " ")), set()).add(item["object_id"])
    for item in items:
        item["eval_type"] = (
            "unique" if len(classes[_v3d_class(item["object_name"].replace("_", " "))]) == 1 else "multiple"
        )


def _v3d_class(label: str) -> int:
    nyu40 = KINDS[label].nyu40[0]
    return nyu40 if nyu40 in V3D_CLASSES else 39


def multi3drefer(facts: Facts, referrer: Referrer, count: int) -> list[dict]:
    """`count` items of multi3drefer: none, one or many targets, with and without sisters of the same class."""
    room = facts.room
    rng = stream(*room.seed, room.scene_id, "multi3drefer")
    makers = {"zt_wo_d": _zero_without, "zt_w_d": _zero_with, "st_wo_d": _single, "st_w_d": _single, "mt": _many}
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


def _random_phrase(facts: Facts, rng, label: str) -> tuple[str, tuple[Body, ...], str] | None:
    """A predicate, its anchor and its words, whether or not it is true of anything."""
    kind = pick(rng, (*ANCHORED, *ALONE))
    if kind in ALONE:
        return kind, (), phrase(rng, kind, [])
    anchors = [a for a in anchors_for(facts, label) if fits(facts, kind, a) and _plausible(kind, label, a)]
    if not anchors:
        return None
    anchor = pick(rng, anchors)
    return kind, (anchor,), phrase(rng, kind, [name_of(facts, anchor, rng)])


def _plausible(kind: str, label: str, anchor: Body) -> bool:
    """Nobody asks for the bed on the chair."""
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


def _zero_without(facts: Facts, referrer: Referrer, rng, _: str) -> dict | None:
    """Nothing of that class is in the room."""
    present = {b.label for b in facts.bodies.values()}
    label = pick(rng, [k for k in KINDS if k not in present])
    color = pick(rng, KINDS[label].colors) if KINDS[label].colors and rng.random() < 0.8 else None
    said = _random_phrase(facts, rng, label)
    if said is None:
        return None
    if rng.random() < 0.25:
        text = _plural_text(rng, label, color, said[2])
    else:
        text = compose(noun(rng, label), color, [said[2]], rng)
    return _item(label, [], text, True, color is not None)


def _zero_with(facts: Facts, referrer: Referrer, rng, _: str) -> dict | None:
    """The class is there, but none in that colour, or none in that place."""
    label = pick(rng, sorted({b.label for b in facts.bodies.values()}))
    group, said = facts.group(label), _random_phrase(facts, rng, label)
    missing = [c for c in KINDS[label].colors if c in COLORS and not facts.group(label, c)]
    if said is None:
        return None
    kind, anchors, words = said
    if missing and rng.random() < 0.55:
        color, phrases = pick(rng, missing), [words]
    else:
        if facts.holders(kind, anchors, group) != set():
            return None
        color, phrases = (pick(rng, group).color if rng.random() < 0.7 else None), [words]
    if rng.random() < 0.25:
        text = _plural_text(rng, label, color, phrases[0])
    else:
        text = compose(noun(rng, label), color, phrases, rng)
    return _item(label, [], text, bool(phrases), color is not None)


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
    """Two or more of a class: all, those of a colour, those in a place."""
    labels = sorted({b.label for b in facts.bodies.values() if len(facts.group(b.label)) > 1})
    label = pick(rng, labels)
    shared = [c for c in COLORS if len(facts.group(label, c)) > 1]
    color = pick(rng, shared) if shared and rng.random() < 0.5 else None
    group, words = facts.group(label, color), None
    if len(group) > 2 and rng.random() < 0.6 or color is None and rng.random() < 0.5:
        said = _random_phrase(facts, rng, label)
        if said is None:
            return None
        kind, anchors, words = said
        held = facts.holders(kind, anchors, group)
        if held is None or len(held) < 2:
            return None
        group = [b for b in group if b.id in held]
    return _item(
        label, [b.id for b in group], _plural_text(rng, label, color, words), words is not None, color is not None
    )
