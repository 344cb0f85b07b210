"""Short questions about every annotated object, made from what a training folder holds: what is here, and where is it?

A model from scratch must learn to look up a place and to find a thing before it can follow a description; long
questions teach that slowly. They are training items like the others, in the benchmarks' own prompts.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import dist
from typing import Any

from video3d_plugin.prompts import ANSWER_PROMPT, GROUND_PROMPT
from video3d_plugin.scene import Question, Scene
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

TASK = "objects"
NAME_PROMPT = f"{IMAGE_TOKEN} Given an object located at {COORD_TOKEN} , name it."
_WORDINGS = ("The {}.", "Find the {}.", "This is a {}.", "There is a {}.", "I am looking for the {}.")
_NEAREST = (
    "The {} nearest to the",
    "The {} closest to the",
    "The {} next to the",
    "Find the {} that is nearest to the",
)
_FARTHEST = ("The {} farthest from the", "The {} that is farthest away from the")
_CLEAR = 0.8  # the nearer of two is at most this part as far as the other
_OF_A_LABEL = 0.65  # share of questions by distance that say a label
_NOT_ATTRIBUTES = frozenset("a an the this that these those of is are it its in on to and or all one other".split())
_SHARE = 0.01  # of all words before objects' names: what is rarer is no attribute
_OFTEN = 0.25  # of the questions that a label answers: another answer that as many have is another name
_SHELL = frozenset(("wall", "floor", "ceiling", "object"))  # what no question is about

Named = Mapping[int, tuple[str | None, str]]  # object id -> (attribute or None, label)


def attributes(questions: Iterable[Question], labels: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], str]:
    """{(scene id, object id): the word that descriptions put before the object's name most often}, such as a colour.

    questions   grounding items with one target each; others are passed over
    labels      names of the objects by (scene id, object id)
    """
    said: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    total: Counter[str] = Counter()
    for question in questions:
        key = (question.scene_id, question.targets[0]) if question.targets and len(question.targets) == 1 else None
        if key not in labels:
            continue
        for word in re.findall(rf"\b([a-z]+) {re.escape(labels[key])}\b", question.prompt.lower()):
            if word not in _NOT_ATTRIBUTES:
                said[key][word] += 1
                total[word] += 1
    kept = {word for word, count in total.items() if count >= _SHARE * total.total()}
    best = {
        key: min(kept & counts.keys(), key=lambda w, c=counts: (-c[w], w), default=None) for key, counts in said.items()
    }
    return {key: word for key, word in best.items() if word}


def named_objects(scenes: Iterable[Scene], questions: Iterable[Question]) -> dict[str, Named]:
    """{scene id: {object id: (attribute, label)}} of all annotated objects of `scenes` but walls and floors."""
    scenes = list(scenes)
    labels = {(scene.scene_id, i.object_id): i.label for scene in scenes for i in scene.instances}
    found = attributes(questions, labels)
    return {
        scene.scene_id: {
            i.object_id: (found.get((scene.scene_id, i.object_id)), i.label)
            for i in scene.instances
            if i.label not in _SHELL
        }
        for scene in scenes
    }


def other_names(questions: Iterable[Question], named: Mapping[str, Named]) -> dict[str, tuple[str, ...]]:
    """{label: what else objects of that label are called}, such as sofa for couch, most often first.

    questions   of these, those about objects of one label (ScanQA's, by their `object_ids`) that have it among their
                answers, each an item of its own: the others of these, if one in four such questions has them
    """
    answers: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for question in questions:
        objects = named.get(question.scene_id, {})
        labels = {objects[i][1] for i in question.metadata.get("object_ids", ()) if i in objects}
        if len(labels) == 1 and question.answer:
            answers[question.scene_id, question.prompt, labels.pop()].add(question.answer.lower())
    asked, said = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for (_, _, label), words in answers.items():
        if label in words:
            asked[label] += 1
            said[label].update(words - {label})
    often = {
        label: [w for w, n in counts.most_common() if n >= _OFTEN * asked[label]] for label, counts in said.items()
    }
    return {label: tuple(words) for label, words in often.items() if words}


def object_questions(scene: Scene, named: Named, rounds: int = 1, seed: int = 0) -> list[Question]:
    """For each object, `rounds` times: its name, asked by its place; its place, asked by its name; which of several of
    another label is nearest to it, or farthest from it, where that is clear and the object can be named; and in words
    what is nearest to it, or whether there is something of its label with an attribute that may be another's.

    An attribute is said where every object of that label has a known one, so that the targets are all of its kind.
    """
    rng = random.Random(f"{seed}/{scene.scene_id}")
    boxes = {instance.object_id: instance.box for instance in scene.instances}
    made = []
    for number in range(rounds):
        for object_id in named:
            name, meant = _name(named, object_id)
            item = f"{scene.scene_id}|{object_id}|{number}"
            place = tuple(float(v) for v in boxes[object_id][:3])
            made.append(Question(TASK, f"name|{item}", scene.scene_id, NAME_PROMPT, name, coords=(place,)))
            made.append(_grounding(f"find|{item}", scene, rng.choice(_WORDINGS).format(name), meant))
            asked = _is_there(named, object_id, rng)
            if len(meant) == 1:
                found = _by_distance(named, boxes, object_id, rng)
                if found:
                    made.append(_grounding(f"near|{item}", scene, f"{found[0]} {name}.", (found[1],)))
                beside = _beside(named, boxes, object_id)
                if beside and rng.random() < 0.7:
                    asked = f"What is nearest to the {name}?", beside
            if asked:
                text = ANSWER_PROMPT.format(question=asked[0])
                made.append(Question(TASK, f"ask|{item}", scene.scene_id, text, asked[1]))
    return made


def _name(named: Named, object_id: int) -> tuple[str, tuple[int, ...]]:
    """What an object is called, and the ids of all that are called so."""
    label = named[object_id][1]
    sisters = {i: word for i, (word, other) in named.items() if other == label}
    told = all(sisters.values())
    name = f"{sisters[object_id]} {label}" if told else label
    return name, tuple(i for i, word in sisters.items() if not told or word == sisters[object_id])


def _grounding(item_id: str, scene: Scene, description: str, targets: tuple[int, ...]) -> Question:
    text = GROUND_PROMPT.format(description=description)
    return Question(TASK, item_id, scene.scene_id, text, GROUND_TOKEN, targets=targets)


def _beside(named: Named, boxes: Mapping[int, Any], anchor: int) -> str | None:
    """The label of what is nearest to an object; None where that is not clear."""
    nearest = clearly_nearest(boxes, [i for i in named if i != anchor], anchor)
    return None if nearest is None else named[nearest][1]


def _is_there(named: Named, object_id: int, rng: random.Random) -> tuple[str, str] | None:
    """("Is there a red chair?", "yes" or "no", either as often); None where attributes are not known."""
    label = named[object_id][1]
    have = {word for word, other in named.values() if other == label}
    others = sorted({word for word, _ in named.values() if word} - have)
    if None in have or not others:
        return None
    there = rng.random() < 0.5
    word = named[object_id][0] if there else rng.choice(others)
    return f"Is there a {word} {label}?", "yes" if there else "no"


def _by_distance(named: Named, boxes: Mapping[int, Any], anchor: int, rng: random.Random) -> tuple[str, int] | None:
    """("The chair nearest to the", id) of some label of which there are several, or of all objects; None where it
    would not be clear."""
    counts = Counter(label for _, label in named.values())
    several = [label for label, count in counts.items() if count > 1 and label != named[anchor][1]]
    label = rng.choice(several) if several and rng.random() < _OF_A_LABEL else "object"
    among = [i for i, (_, own) in named.items() if i != anchor and label in (own, "object")]
    far = label != "object" and rng.random() >= 0.7
    chosen = clearly_nearest(boxes, among, anchor, far)
    return None if chosen is None else (rng.choice(_FARTHEST if far else _NEAREST).format(label), chosen)


def clearly_nearest(
    boxes: Mapping[int, Sequence[float]], among: Iterable[int], anchor: int, far: bool = False
) -> int | None:
    """Which of several is nearest to `anchor`, or farthest; None where that is not clear, or there are not two."""
    away = sorted((dist(boxes[i][:3], boxes[anchor][:3]), i) for i in among)
    if len(away) < 2:
        return None
    (nearer, first), (farther, last) = away[-2:] if far else away[:2]
    return (last if far else first) if nearer < _CLEAR * farther else None
