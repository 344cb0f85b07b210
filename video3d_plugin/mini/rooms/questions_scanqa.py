"""Questions in the format of ScanQA: colour, number, existence, where an object is, and what is near another.

Where possible the answer is drawn before the question (first a number, then a class of which there are as many), so
that one answer to all questions scores little. Within a kind the words give more away: about half of the answers of how
many, where and what, and more of yes or no (`guessing.baselines` measures it by kind).
"""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms import relations as rel
from video3d_plugin.mini.rooms.clues import anchors_for, fits
from video3d_plugin.mini.rooms.mixing import mixed
from video3d_plugin.mini.rooms.objects import KINDS
from video3d_plugin.mini.rooms.questions_multi import random_phrase
from video3d_plugin.mini.rooms.referring import Referrer
from video3d_plugin.mini.rooms.relations import Body, Facts
from video3d_plugin.mini.rooms.rooms import stream
from video3d_plugin.mini.rooms.wording import NUMBERS, article, name_of, noun, phrase, pick, plural

# As ScanQA: mostly what, what colour and where; how many and yes or no are rare there.
SHARES = {"color": 0.36, "count": 0.10, "exists": 0.10, "where": 0.20, "what": 0.24}


def scanqa(facts: Facts, referrer: Referrer, count: int, split: str) -> list[dict]:
    """Return questions about one room.

    Args:
        facts: The room.
        referrer: Makes expressions for its objects.
        count: Number of questions.
        split: Name of the split, part of the question ids.

    Returns:
        Items of ScanQA_v1.0, with one to three lower-case answers and the object_ids that they are about.
    """
    room = facts.room
    rng = stream(*room.seed, room.scene_id, "scanqa")
    makers = {"color": _color, "count": _count, "exists": _exists, "where": _where}
    options = _what_options(facts)
    makers["what"] = lambda facts, _, rng: _what(facts, options, rng)
    drawn = mixed(rng, SHARES, lambda kind: makers[kind](facts, referrer, rng), count, lambda made: made[0])
    return [
        {
            "scene_id": room.scene_id,
            "question_id": f"{split}-{room.scene_id.split('_')[0]}-{number}",
            "question": question[0].upper() + question[1:],
            "answers": list(dict.fromkeys(answers))[:3],
            "object_ids": [b.id for b in bodies],
            "object_names": [b.label for b in bodies],
        }
        for number, (_, (question, answers, bodies)) in enumerate(drawn)
    ]


def _color(facts: Facts, referrer: Referrer, rng):
    """The colour of an object that is named by its place; the colour is drawn first."""
    color = pick(rng, sorted({b.color for b in facts.bodies.values() if b.color}))
    body = pick(rng, [b for b in facts.bodies.values() if b.color == color])
    expression = referrer.expression(body, rng, color="never")
    if expression is None or any(
        a.color == color and a.label == body.label for c in expression.clues for a in c.anchors
    ):
        return None
    words = referrer.noun_phrase(expression, rng)
    form = pick(rng, ("what color is the {}?", "what is the color of the {}?", "which color does the {} have?"))
    return form.format(words), [color], [body]


def _count(facts: Facts, referrer: Referrer, rng):
    """The number of objects of a class, of a colour, or at a place; the number is drawn first."""
    options: dict[int, list[tuple[str, list[Body]]]] = {}
    for label in sorted({b.label for b in facts.bodies.values()}):
        group = facts.group(label)
        options.setdefault(len(group), []).append((plural(label), group))
        for color in sorted({b.color for b in group if b.color}):
            if len(group) > 1:
                part = facts.group(label, color)
                options.setdefault(len(part), []).append((f"{color} {plural(label)}", part))
        phrase = random_phrase(referrer, rng, label)
        held = facts.holders(phrase[0], phrase[1], group) if phrase and len(group) > 1 else None
        if held:
            options.setdefault(len(held), []).append(
                (f"{plural(label)} {phrase[2]}", [b for b in group if b.id in held])
            )
    number = pick(rng, sorted(options))
    words, bodies = pick(rng, options[number])
    form = pick(rng, ("how many {} are there?", "how many {} can you find in this room?", "what is the number of {}?"))
    return form.format(words), [str(number), NUMBERS[number]], bodies


def _exists(facts: Facts, referrer: Referrer, rng):
    """Yes or no, equally often: a class by its place or colour; objects of the class are usually there."""
    is_so = bool(rng.random() < 0.5)
    label = pick(rng, sorted({b.label for b in facts.bodies.values()}))
    group = facts.group(label)
    if rng.random() < 0.4 and KINDS[label].colors:
        color = pick(rng, group).color if is_so else pick(rng, KINDS[label].colors)
        bodies = facts.group(label, color)
        words = article(f"{color} {noun(rng, label)}") + " in the room"
    else:
        phrase = random_phrase(referrer, rng, label)
        held = facts.holders(phrase[0], phrase[1], group) if phrase else None
        if held is None:
            return None
        bodies, words = [b for b in group if b.id in held], f"{article(noun(rng, label))} {phrase[2]}"
    if bool(bodies) != is_so:
        return None
    form = pick(rng, ("is there {}?", "can you see {}?"))
    return form.format(words), ["yes" if is_so else "no"], bodies or group


def places(facts: Facts, body: Body) -> list[str]:
    """Return where an object is, in a fixed wording, the most specific first (on, below, in the corner, next to
    ...).
    """
    quiet = np.random.default_rng(1)
    texts: list[str] = []
    anchors = [(a, name) for a in anchors_for(facts, body.label) if (name := _plain_name(facts, a, quiet))]
    for kind in ("on", "below", "corner", "next_to", "in_front_of", "middle"):
        if kind in ("corner", "middle"):
            if facts.holds(kind, body, ()):
                texts.append({"corner": "in the corner", "middle": "in the middle of the room"}[kind])
            continue
        held = [
            (rel.gap(body, a), a.id, n) for a, n in anchors if fits(facts, kind, a) and facts.holds(kind, body, (a,))
        ]
        form = {
            "on": "on the {}",
            "below": "below the {}",
            "next_to": "next to the {}",
            "in_front_of": "in front of the {}",
        }
        texts += [form[kind].format(n) for _, _, n in sorted(held)[:1]]
    return texts


def _plain_name(facts: Facts, body: Body, rng) -> str | None:
    if len(facts.group(body.label)) == 1:
        return body.label
    return f"{body.color} {body.label}" if name_of(facts, body, rng) else None


def _where(facts: Facts, referrer: Referrer, rng):
    """Where an object is that colour or class alone identifies, with up to three answers."""
    named = [b for b in facts.bodies.values() if name_of(facts, b, np.random.default_rng(0))]
    if not named:
        return None
    body = pick(rng, named)
    answers = places(facts, body)
    if not answers or body.label in ("door", "window"):
        return None
    form = pick(rng, ("where is the {}?", "where is the {} located?", "where can you find the {}?"))
    return form.format(name_of(facts, body, rng)), answers, [body]


def _what_options(facts: Facts) -> dict[str, list[tuple[str, Body, list[Body]]]]:
    """All (relation, anchor, bodies) for which a single class is the right answer, by that class."""
    options: dict[str, list[tuple[str, Body, list[Body]]]] = {}
    bodies = list(facts.bodies.values())
    for anchor in (b for b in bodies if name_of(facts, b, np.random.default_rng(0))):
        others = [b for b in bodies if b.id != anchor.id]
        winner = facts.bodies.get(rel.nearest(others, anchor))
        # What stands on something, or the anchor on it, is no answer; where it is the nearest, there is no question.
        if winner is not None and winner.support is None and winner.id != anchor.support:
            options.setdefault(winner.label, []).append(("nearest", anchor, [winner]))
        for kind in (k for k in ("on", "next_to", "below", "in_front_of") if fits(facts, k, anchor)):
            held = facts.holders(kind, (anchor,), others)
            labels = {facts.bodies[i].label for i in held or ()}
            if len(labels) == 1:
                options.setdefault(labels.pop(), []).append((kind, anchor, [facts.bodies[i] for i in sorted(held)]))
    return options


def _what(facts: Facts, options: dict[str, list], rng):
    """What is on, below, next to, in front of or nearest to an object; the answer is drawn first."""
    if not options:
        return None
    label = pick(rng, sorted(options))
    kind, anchor, bodies = pick(rng, options[label])
    words = phrase(rng, kind, [name_of(facts, anchor, rng)])
    form = pick(rng, ("what is {}?", "what can you see {}?", "which object is {}?"))
    return form.format(words), list(KINDS[label].nouns), bodies
