"""Questions in the format of SQA3D: asked by somebody who stands at a place in the room and faces a direction.

The six types of SQA3D go by the first word: what, is, how, can, which, and others. Where possible the answer is drawn
before the question. Some kinds are easy to guess all the same: sides and yes or no have two answers, and about half of
how many follows from the words (`guessing.baselines` measures it by kind).
"""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms.mixing import mixed
from video3d_plugin.mini.rooms.relations import Body, Facts
from video3d_plugin.mini.rooms.rooms import stream
from video3d_plugin.mini.rooms.situations import Situation, situations
from video3d_plugin.mini.rooms.wording import NUMBERS, name_of, noun, pick, plural

TYPES = {"what": 0.32, "is": 0.17, "how": 0.14, "can": 0.09, "which": 0.13, "others": 0.15}
TURNS = {"ahead": "forward", "left": "left", "right": "right", "behind": "backward"}
ON = {"left": "on my left", "right": "on my right", "ahead": "in front of me", "behind": "behind me"}


def sqa3d(facts: Facts, count: int, first_id: int) -> tuple[list[dict], list[dict]]:
    """Return questions about one room.

    Args:
        facts: The room.
        count: Number of questions.
        first_id: Id of the first question; the others count up.

    Returns:
        (question, annotation) items of the two official files, with one answer each.
    """
    room = facts.room
    rng = stream(*room.seed, room.scene_id, "sqa3d")
    makers = {"what": _what, "is": _is, "how": _how, "can": _can, "which": _which, "others": _others}
    places = situations(facts, rng, max(4, count // 2))
    if not places:
        return [], []

    def make(kind: str):
        situation = pick(rng, places)
        made = makers[kind](facts, situation, rng)
        return made and (situation, *made)

    drawn = mixed(rng, TYPES, make, count, lambda made: (made[0].text, made[1]))
    pairs = [_items(room.scene_id, first_id + n, *made) for n, (_, made) in enumerate(drawn)]
    return [q for q, _ in pairs], [a for _, a in pairs]


def _items(scene_id: str, question_id: int, situation: Situation, question: str, answer: str) -> tuple[dict, dict]:
    x, y = situation.position
    asked = {
        "scene_id": scene_id,
        "situation": situation.text,
        "alternative_situation": list(situation.alternatives[:2]),
        "question": question,
        "question_id": question_id,
    }
    answered = {
        "scene_id": scene_id,
        "question_type": "N/A",
        "answer_type": "other",
        "question_id": question_id,
        "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": 1}],
        "rotation": situation.rotation,
        "position": {"x": round(x, 6), "y": round(y, 6), "z": 0},
    }
    return asked, answered


def _named(facts: Facts, situation: Situation) -> list[Body]:
    """The objects that a question may name: those with a name, but those of the situation."""
    quiet = np.random.default_rng(0)
    return [b for b in facts.bodies.values() if b.id not in situation.spoken and name_of(facts, b, quiet)]


def _by_answer(rng, pairs: list[tuple[str, Body]], choices: int = 1) -> tuple[str, Body] | None:
    """Draw an answer first, then one of the objects that have it.

    None where there are fewer than `choices` answers: in front of a wall hardly anything is ahead, and such a situation
    would give its answers away.
    """
    answers = sorted({a for a, _ in pairs})
    if len(answers) < choices:
        return None
    answer = pick(rng, answers)
    return answer, pick(rng, [b for a, b in pairs if a == answer])


def _what(facts: Facts, situation: Situation, rng):
    """The colour of the only object of a class on a side, or the nearest object on a side."""
    if rng.random() < 0.55:
        pairs = []
        for label in sorted({b.label for b in facts.bodies.values() if b.color}):
            sides = {b.id: situation.side(b) for b in facts.group(label)}
            for side in ("left", "right"):
                there = [i for i, s in sides.items() if s == side]
                others_clear = all(s is not None or situation.distance(facts.bodies[i]) > 0.7 for i, s in sides.items())
                ahead = [i for i, s in sides.items() if s is None]
                if len(there) == 1 and others_clear and not ahead and there[0] not in situation.spoken:
                    pairs.append((side, facts.bodies[there[0]]))
        colors = [(body.color, body) for _, body in pairs]
        drawn = _by_answer(rng, colors)
        if drawn is None:
            return None
        color, body = drawn
        side = ON[next(s for s, b in pairs if b.id == body.id)]
        form = pick(rng, ("What color is the {n} {s}?", "What is the color of the {n} {s}?"))
        return form.format(n=noun(rng, body.label), s=side), color
    side = pick(rng, ("left", "right", "behind", "ahead"))
    body = _nearest(facts, situation, side)
    if body is None or body.id in situation.spoken:
        return None
    form = pick(
        rng, ("What is the closest object {s}?", "What is the nearest thing {s}?", "What is closest to me {s}?")
    )
    return form.format(s=ON[side]), body.label


def _nearest(facts: Facts, situation: Situation, quarter: str) -> Body | None:
    """The nearest object on the floor or a wall in a quarter, 0.4 m nearer than the next."""
    standing = [b for b in facts.bodies.values() if b.support is None]
    near = [b for b in standing if situation.quarter(b) in (quarter, None) and situation.distance(b) > 0.3]
    if not near:
        return None
    first = min(near, key=situation.distance)
    if first.id in situation.spoken or situation.quarter(first) != quarter:
        return None
    return first if all(situation.nearer(first, other, 0.4) for other in near if other is not first) else None


def _is(facts: Facts, situation: Situation, rng):
    named = _named(facts, situation)
    if rng.random() < 0.35:
        drawn = _by_answer(rng, [(s, b) for b in named if (s := situation.side(b))], 2)
        if drawn is None:
            return None
        side, body = drawn
        form = pick(rng, ("Is the {n} on my left or my right?", "Is the {n} to my right or to my left?"))
        return form.format(n=name_of(facts, body, rng)), side
    drawn = _by_answer(rng, [(q, b) for b in named if (q := situation.quarter(b))], 2)
    if drawn is None:
        return None
    where, body = drawn
    is_so = bool(rng.random() < 0.5)
    asked = where if is_so else pick(rng, [q for q in ON if q != where])
    return f"Is the {name_of(facts, body, rng)} {ON[asked]}?", "yes" if is_so else "no"


def _how(facts: Facts, situation: Situation, rng):
    """The number of objects of a class on a side or behind, drawn first. Each must clearly count or not count."""
    options: dict[int, list[tuple[str, str]]] = {}
    for label in sorted({b.label for b in facts.bodies.values()}):
        group = facts.group(label)
        if len(group) < 2 or any(b.id in situation.spoken for b in group):
            continue
        sides, halves = [situation.side(b) for b in group], [situation.half(b) for b in group]
        if None not in sides:
            for side in ("left", "right"):
                options.setdefault(sides.count(side), []).append((label, side))
        if None not in halves:
            options.setdefault(halves.count("behind"), []).append((label, "behind"))
    if not options:
        return None
    number = pick(rng, sorted(options))
    label, side = pick(rng, options[number])
    form = pick(rng, ("How many {p} are {s}?", "How many {p} are there {s}?"))
    return form.format(p=plural(label), s=ON[side]), NUMBERS[number]


def _can(facts: Facts, situation: Situation, rng):
    named = _named(facts, situation)
    sides = {q: [b for b in named if situation.quarter(b) == q] for q in ("ahead", "behind")}
    if not all(sides.values()):
        return None
    is_so = bool(rng.random() < 0.5)
    bodies = sides["ahead" if is_so else "behind"]
    name = name_of(facts, pick(rng, bodies), rng)
    form = pick(
        rng,
        (
            "Can I see the {n} without turning around?",
            "Can I see the {n} from here without turning?",
            "Can I look at the {n} without turning around?",
        ),
    )
    return form.format(n=name), "yes" if is_so else "no"


def _which(facts: Facts, situation: Situation, rng):
    named = _named(facts, situation)
    if rng.random() < 0.55:
        drawn = _by_answer(rng, [(TURNS[q], b) for b in named if (q := situation.quarter(b))], 3)
        if drawn is None:
            return None
        form = pick(
            rng, ("Which direction should I go to reach the {n}?", "Which way should I go if I want to get to the {n}?")
        )
        return form.format(n=name_of(facts, drawn[1], rng)), drawn[0]
    if len(named) < 2:
        return None
    first, second = (named[int(i)] for i in rng.choice(len(named), 2, replace=False))
    near, far = sorted((first, second), key=situation.distance)
    if first.label == second.label or not situation.nearer(near, far, 0.8):
        return None
    names = (
        first.label if len(facts.group(first.label)) == 1 else name_of(facts, first, rng),
        second.label if len(facts.group(second.label)) == 1 else name_of(facts, second, rng),
    )
    offered = names[0] if near is first else names[1]
    answer = offered.removeprefix(f"{near.color} ")  # the noun tells the two apart
    return f"Which is closer to me, the {names[0]} or the {names[1]}?", answer


def _others(facts: Facts, situation: Situation, rng):
    named = _named(facts, situation)
    if rng.random() < 0.5:
        drawn = _by_answer(rng, [(s, b) for b in named if (s := situation.side(b))], 2)
        if drawn is None:
            return None
        form = pick(
            rng, ("Do I have to turn left or right to face the {n}?", "Should I turn right or left to look at the {n}?")
        )
        return form.format(n=name_of(facts, drawn[1], rng)), drawn[0]
    drawn = _by_answer(rng, [(q, b) for b in named if (q := situation.quarter(b))], 3)
    if drawn is None:
        return None
    answer = {"ahead": "in front of me", "behind": "behind me", "left": "left", "right": "right"}[drawn[0]]
    form = pick(rng, ("Where is the {n} from where I am?", "In which direction do I find the {n}?"))
    return form.format(n=name_of(facts, drawn[1], rng)), answer
