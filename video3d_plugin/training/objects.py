"""Short questions about every annotated object, made from what a training folder holds: what is here, and where is it?

A model from scratch must learn to look up a place and to find a thing before it can follow a description; long
questions teach that slowly. They are training items like the others, in the benchmarks' own prompts.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from video3d_plugin.prompts import GROUND_PROMPT
from video3d_plugin.scene import Question, Scene

TASK = "objects"
NAME_PROMPT = "<image> Given an object located at <coord> , name it."
_WORDINGS = ("The {}.", "Find the {}.", "This is a {}.", "There is a {}.", "I am looking for the {}.")
_NOT_ATTRIBUTES = frozenset("a an the this that these those of is are it its in on to and or all one other".split())
_SHARE = 0.01  # of all words before objects' names: what is rarer is no attribute
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


def object_questions(scene: Scene, named: Named, rounds: int = 1, seed: int = 0) -> list[Question]:
    """For each object, `rounds` times: its name, asked by its place, and its place, asked by its name.

    An attribute is said where every object of that label has a known one, so that the targets are all of its kind.
    """
    rng = random.Random(f"{seed}/{scene.scene_id}")
    boxes = {instance.object_id: instance.box for instance in scene.instances}
    made = []
    for number in range(rounds):
        for object_id, (_, label) in named.items():
            sisters = {i: word for i, (word, other) in named.items() if other == label}
            told = all(sisters.values())
            name = f"{sisters[object_id]} {label}" if told else label
            targets = tuple(i for i, word in sisters.items() if not told or word == sisters[object_id])
            item = f"{scene.scene_id}|{object_id}|{number}"
            place = tuple(float(v) for v in boxes[object_id][:3])
            made.append(
                Question(TASK, f"name|{item}", scene.scene_id, NAME_PROMPT, name.capitalize() + ".", coords=(place,))
            )
            text = GROUND_PROMPT.format(description=rng.choice(_WORDINGS).format(name))
            made.append(Question(TASK, f"find|{item}", scene.scene_id, text, "<ground>", targets=targets))
    return made
