"""Short questions about every annotated object, generated from the data folder: what is here, and where is it?

A model from scratch must learn to look up a place and to find an object before it can follow a description; long
questions teach that slowly. The short ones are ordinary training questions in the prompts of the benchmarks.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import dist
from typing import TYPE_CHECKING, Any, TypeAlias

from video3d_plugin.prompts import ANSWER_PROMPT, GROUND_PROMPT
from video3d_plugin.scene import Question, Scene
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder

TASK = "objects"
NAME_PROMPT = f"{IMAGE_TOKEN} Given an object located at {COORD_TOKEN} , name it."
_FIND = ("The {}.", "Find the {}.", "This is a {}.", "There is a {}.", "I am looking for the {}.")
_NEAREST = (
    "The {} nearest to the",
    "The {} closest to the",
    "The {} next to the",
    "Find the {} that is nearest to the",
)
_FARTHEST = ("The {} farthest from the", "The {} that is farthest away from the")
_MAX_RATIO = 0.8  # the nearer of two objects is clearly nearer below this ratio of their distances
_WITH_LABEL = 0.65  # share of the questions by distance that state a label
_NOT_ATTRIBUTES = frozenset("a an the this that these those of is are it its in on to and or all one other".split())
_MIN_ATTRIBUTE_SHARE = 0.01  # of all words before object names; rarer words are not attributes
_MIN_SYNONYM_SHARE = 0.25  # of the questions that a label answers; as frequent another answer is a synonym
_NOT_OBJECTS = frozenset(("wall", "floor", "ceiling", "object"))

ObjectNames: TypeAlias = Mapping[int, tuple[str | None, str]]  # object id -> (attribute or None, label)


def attributes(questions: Iterable[Question], labels: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], str]:
    """Return the attribute of each object, such as a colour: the word most often in front of its name.

    Args:
        questions: Training questions; only grounding questions with one target are used.
        labels: Names of the objects by (scene id, object id).

    Returns:
        Attributes by (scene id, object id); objects without one are left out.
    """
    counts_by_object: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    total: Counter[str] = Counter()
    for question in questions:
        key = (question.scene_id, question.targets[0]) if question.targets and len(question.targets) == 1 else None
        if key not in labels:
            continue
        for word in re.findall(rf"\b([a-z]+) {re.escape(labels[key])}\b", question.prompt.lower()):
            if word not in _NOT_ATTRIBUTES:
                counts_by_object[key][word] += 1
                total[word] += 1
    frequent = {word for word, count in total.items() if count >= _MIN_ATTRIBUTE_SHARE * total.total()}
    best = {
        key: min(frequent & counts.keys(), key=lambda w, c=counts: (-c[w], w), default=None)
        for key, counts in counts_by_object.items()
    }
    return {key: word for key, word in best.items() if word}


def object_names(scenes: Iterable[Scene], questions: Iterable[Question]) -> dict[str, ObjectNames]:
    """Return attribute and label of all annotated objects but walls, floors and ceilings.

    Args:
        scenes: The scenes with their annotated objects.
        questions: Training questions, from which attributes are taken.

    Returns:
        {scene id: {object id: (attribute or None, label)}}
    """
    scenes = list(scenes)
    labels = {(scene.scene_id, i.object_id): i.label for scene in scenes for i in scene.instances}
    attribute_of = attributes(questions, labels)
    return {
        scene.scene_id: {
            i.object_id: (attribute_of.get((scene.scene_id, i.object_id)), i.label)
            for i in scene.instances
            if i.label not in _NOT_OBJECTS
        }
        for scene in scenes
    }


def names_in_folder(folder: DataFolder, questions: Sequence[Question]) -> dict[str, ObjectNames]:
    """Return `object_names` of all scenes that have a question.

    Args:
        folder: The data folder with the scenes.
        questions: Training questions.
    """
    scenes = [folder.scene(scene_id) for scene_id in sorted({question.scene_id for question in questions})]
    return object_names(scenes, questions)


def synonyms(questions: Iterable[Question], names: Mapping[str, ObjectNames]) -> dict[str, tuple[str, ...]]:
    """Return other words for labels, such as sofa for couch, from questions with several answers.

    Args:
        questions: Training questions, one for each answer. Those with `object_ids` of one label count if the label is
            among their answers.
        names: Attribute and label of objects, by scene.

    Returns:
        By label, the other answers of at least a quarter of these questions, the most frequent first.
    """
    answers: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for question in questions:
        objects = names.get(question.scene_id, {})
        labels = {objects[i][1] for i in question.metadata.get("object_ids", ()) if i in objects}
        if len(labels) == 1 and question.answer:
            answers[question.scene_id, question.prompt, labels.pop()].add(question.answer.lower())
    asked, counts_by_label = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for (_, _, label), words in answers.items():
        if label in words:
            asked[label] += 1
            counts_by_label[label].update(words - {label})
    frequent = {
        label: [w for w, n in counts.most_common() if n >= _MIN_SYNONYM_SHARE * asked[label]]
        for label, counts in counts_by_label.items()
    }
    return {label: tuple(words) for label, words in frequent.items() if words}


def object_questions(scene: Scene, objects: ObjectNames, rounds: int = 1, seed: int = 0) -> list[Question]:
    """Generate short questions about every object of a scene.

    For each object and round: its name, given its place; its place, given its name; the object that is nearest to it or
    farthest from it, of a label that several objects have, where that is unambiguous; and in words, what is nearest to
    it, or whether there is an object of its label with a certain attribute.

    An attribute is stated only if every object of the label has a known one, so that the targets are complete.

    Args:
        scene: The scene with its annotated objects.
        objects: Attribute and label of the objects to ask about.
        rounds: Rounds over the objects.
        seed: Seeds the wording and the choices.

    Returns:
        The questions, of the task "objects".
    """
    rng = random.Random(f"{seed}/{scene.scene_id}")
    boxes = {instance.object_id: instance.box for instance in scene.instances}
    result = []
    for number in range(rounds):
        for object_id in objects:
            name, targets = _name(objects, object_id)
            item = f"{scene.scene_id}|{object_id}|{number}"
            centre = tuple(float(v) for v in boxes[object_id][:3])
            result.append(Question(TASK, f"name|{item}", scene.scene_id, NAME_PROMPT, name, coords=(centre,)))
            result.append(_grounding(f"find|{item}", scene, rng.choice(_FIND).format(name), targets))
            text_question = _is_there(objects, object_id, rng)
            if len(targets) == 1:
                by_distance = _by_distance(objects, boxes, object_id, rng)
                if by_distance:
                    description, target = by_distance
                    result.append(_grounding(f"near|{item}", scene, f"{description} {name}.", (target,)))
                nearest = _nearest_label(objects, boxes, object_id)
                if nearest and rng.random() < 0.7:
                    text_question = f"What is nearest to the {name}?", nearest
            if text_question:
                prompt = ANSWER_PROMPT.format(question=text_question[0])
                result.append(Question(TASK, f"ask|{item}", scene.scene_id, prompt, text_question[1]))
    return result


def object_questions_in_folder(
    folder: DataFolder, names: Mapping[str, ObjectNames], rounds: int, seed: int
) -> list[Question]:
    """Return `object_questions` of all scenes in `names`; none for 0 rounds."""
    if not rounds:
        return []
    return [q for i, objects in names.items() for q in object_questions(folder.scene(i), objects, rounds, seed)]


def _name(objects: ObjectNames, object_id: int) -> tuple[str, tuple[int, ...]]:
    """(name of an object, ids of all objects with that name)."""
    label = objects[object_id][1]
    of_label = {i: word for i, (word, other) in objects.items() if other == label}
    has_attributes = all(of_label.values())
    name = f"{of_label[object_id]} {label}" if has_attributes else label
    return name, tuple(i for i, word in of_label.items() if not has_attributes or word == of_label[object_id])


def _grounding(item_id: str, scene: Scene, description: str, targets: tuple[int, ...]) -> Question:
    text = GROUND_PROMPT.format(description=description)
    return Question(TASK, item_id, scene.scene_id, text, GROUND_TOKEN, targets=targets)


def _nearest_label(objects: ObjectNames, boxes: Mapping[int, Any], anchor: int) -> str | None:
    """The label of the object nearest to `anchor`; None if that is ambiguous."""
    nearest = clearly_nearest(boxes, [i for i in objects if i != anchor], anchor)
    return None if nearest is None else objects[nearest][1]


def _is_there(objects: ObjectNames, object_id: int, rng: random.Random) -> tuple[str, str] | None:
    """("Is there a red chair?", "yes" or "no", equally often); None if attributes of the label are unknown."""
    label = objects[object_id][1]
    present = {word for word, other in objects.values() if other == label}
    others = sorted({word for word, _ in objects.values() if word} - present)
    if None in present or not others:
        return None
    is_there = rng.random() < 0.5
    word = objects[object_id][0] if is_there else rng.choice(others)
    return f"Is there a {word} {label}?", "yes" if is_there else "no"


def _by_distance(
    objects: ObjectNames, boxes: Mapping[int, Any], anchor: int, rng: random.Random
) -> tuple[str, int] | None:
    """("The chair nearest to the", id), of a label that several objects have or of all objects; None if ambiguous."""
    counts = Counter(label for _, label in objects.values())
    several = [label for label, count in counts.items() if count > 1 and label != objects[anchor][1]]
    label = rng.choice(several) if several and rng.random() < _WITH_LABEL else "object"
    candidates = [i for i, (_, own) in objects.items() if i != anchor and label in (own, "object")]
    farthest = label != "object" and rng.random() >= 0.7
    target = clearly_nearest(boxes, candidates, anchor, farthest)
    return None if target is None else (rng.choice(_FARTHEST if farthest else _NEAREST).format(label), target)


def clearly_nearest(
    boxes: Mapping[int, Sequence[float]], candidates: Iterable[int], anchor: int, farthest: bool = False
) -> int | None:
    """Return the candidate nearest to an object, or farthest from it.

    Args:
        boxes: Boxes by object id, centre first, metres.
        candidates: Ids of the objects to choose from.
        anchor: Id of the object that distances are measured from.
        farthest: Choose the farthest.

    Returns:
        The id; None if there are fewer than two candidates, or the two best differ too little in distance.
    """
    by_distance = sorted((dist(boxes[i][:3], boxes[anchor][:3]), i) for i in candidates)
    if len(by_distance) < 2:
        return None
    (nearer, first), (farther, last) = by_distance[-2:] if farthest else by_distance[:2]
    return (last if farthest else first) if nearer < _MAX_RATIO * farther else None
