"""Descriptions in the format of ScanRefer; Scan2Cap uses the same file."""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms.objects import KINDS
from video3d_plugin.mini.rooms.referring import Referrer
from video3d_plugin.mini.rooms.relations import Body, Facts
from video3d_plugin.mini.rooms.rooms import stream
from video3d_plugin.mini.rooms.wording import tokens

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
    """Return descriptions of the objects of one room.

    Args:
        facts: The room.
        referrer: Makes expressions for its objects.
        objects: Objects to describe, at most.
        references: Fewest and most descriptions of an object.

    Returns:
        Items of ScanRefer_filtered.
    """
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
    """ "unique" or "multiple" by class over the *described* objects, as Video-3D LLM's script writes it."""
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
