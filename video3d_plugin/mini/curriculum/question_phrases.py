"""Phrases made from benchmark questions: the objects that they mention, and the object they are about.

Descriptions and questions identify objects by the same few steps as generated phrases, in more varied words, so they
are supervised in the same way. Their annotations give the target: the targets of grounding questions, and the metadata
of `curriculum.annotations` for the others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from math import dist, hypot
from typing import TypeAlias

from video3d_plugin.mini.curriculum.object_questions import ObjectNames
from video3d_plugin.mini.curriculum.phrases import Boxes, Ids, Phrase
from video3d_plugin.scene import Question
from video3d_plugin.tokens import IMAGE_TOKEN

Synonyms: TypeAlias = Mapping[str, Sequence[str]]  # other words by label
_Mention: TypeAlias = tuple[int, Ids, Ids]  # the character after it, the ids that it denotes, those that are visible
NO_SYNONYMS: Synonyms = {}
_MIN_SIDE_SINE = 0.34  # of 20 degrees from straight ahead or behind: farther aside is left or right
_MIN_AHEAD_COSINE = 0.98  # of 11 degrees: closer to the view direction is faced
_NEAR_M = 1.5  # from the asker to the middle of the object that they stand at
_PARTS = {"scanqa": 2}  # phrases of a task for each one of another
_FARTHEST = re.compile(r"\b(?:f[au]rthest|far|farther|further|distant)(?: away)? from\b", re.IGNORECASE)


def question_phrases(
    questions: Iterable[Question],
    objects: ObjectNames,
    boxes: Boxes,
    visible: Collection[int],
    count: int,
    synonyms: Synonyms = NO_SYNONYMS,
) -> list[Phrase]:
    """Make phrases of the first questions of a scene that are about visible objects only.

    Every task contributes equally many, as far as it has them, but ScanQA, whose questions vary most, twice as many.

    Args:
        questions: Questions about the scene.
        objects: Attribute and label of the scene's objects.
        boxes: Their boxes.
        visible: Ids of the visible objects.
        count: Number of phrases, at most.
        synonyms: Other words by label.
    """
    by_task: dict[str, list[Question]] = {}
    for question in questions:
        by_task.setdefault(question.task, []).append(question)
    turns = [own[first::n] for task, own in by_task.items() for n in (_PARTS.get(task, 1),) for first in range(n)]
    made = (filter(None, (question_phrase(q, objects, boxes, visible, synonyms) for q in own)) for own in turns)
    in_turn = (phrase for turn in zip_longest(*made) for phrase in turn if phrase is not None)
    return list(islice(in_turn, count))


def question_phrase(
    question: Question, objects: ObjectNames, boxes: Boxes, visible: Collection[int], synonyms: Synonyms = NO_SYNONYMS
) -> Phrase | None:
    """Make a phrase of a benchmark question.

    Args:
        question: The question, with the metadata of `curriculum.annotations`.
        objects: Attribute and label of the scene's objects.
        boxes: Their boxes.
        visible: Ids of the visible objects.
        synonyms: Other words by label.

    Returns:
        The phrase; None if the target is unknown or not visible, or the question names an object that is not visible.

        The target is what the annotation names. The anchors are the objects of other labels that the question names
        unambiguously; none if the target is empty. Where the answer names an object of another label ("next to the
        desk"), that object is the target once the answer has begun, and the annotated one its anchor. For the target of
        a situated question see `_situated`.
    """
    if not question.is_grounding and question.answer is None:
        return None
    text = question.prompt.split(IMAGE_TOKEN, 1)[-1]
    mentions = [(m.end(), ids, tuple(i for i in ids if i in visible)) for m, ids in _mentions(text, objects, synonyms)]
    if not all(seen for _, _, seen in mentions):
        return None
    names = tuple((end, seen) for end, _, seen in mentions)
    if question.metadata.get("viewpoint"):
        return _situated(question, text, mentions, names, boxes)
    target = question.targets if question.is_grounding else question.metadata.get("object_ids")
    if target is None or any(i not in visible for i in target):
        return None
    labels = {objects[i][1] for i in target}
    anchor = tuple(ids[0] for _, ids, _ in mentions if labels and len(ids) == 1 and objects[ids[0]][1] not in labels)
    asks = None if question.is_grounding else "words"
    if question.coords:
        return Phrase(text, names, tuple(target), tuple(target), tuple(target), asks, question=question)
    if asks and len(target) == 1:
        start, named = _named_in_answer(question.answer or "", target[0], objects, boxes, visible, synonyms)
        if named:
            return Phrase(text, names, named, tuple(target), asks=asks, question=question, answer_start=start)
    is_farthest = _FARTHEST.search(text) is not None
    return Phrase(text, names, tuple(target), anchor, asks=asks, question=question, is_farthest=is_farthest)


def _named_in_answer(
    answer: str, about: int, objects: ObjectNames, boxes: Boxes, visible: Collection[int], synonyms: Synonyms
) -> tuple[str, Ids]:
    """The words before the one object that an answer names ("next to the"), and that object.

    ("", ()) if it names none or several, one that is not visible, or one of the label that the question is about.
    """
    mentions = list(_mentions(answer, objects, synonyms))
    if len(mentions) != 1 or any(i not in visible or objects[i][1] == objects[about][1] for i in mentions[0][1]):
        return "", ()
    match, ids = mentions[0]
    return answer[: match.start()].rstrip(), (min(ids, key=lambda i: dist(boxes[i][:2], boxes[about][:2])),)


def _situated(question: Question, text: str, mentions: Sequence[_Mention], names, boxes: Boxes) -> Phrase:
    """The target is the one object that the question names after the situation, or of several with one name the one on
    the left or right if the question says so. The question is answered only if it names an object and all objects of
    that name are visible."""
    here, ahead = map(tuple, question.metadata["viewpoint"])
    end = len(text) - len(text.split(question.metadata["situation"])[-1])
    named = [(ids, seen) for after, ids, seen in mentions if after > end]
    all_visible = bool(named) and all(len(ids) == len(seen) for ids, seen in named)
    target: Ids = named[0][0] if all_visible and len(named) == 1 else ()
    if len(target) > 1:
        sides = {side for side in ("left", "right") if re.search(rf"\b{side}\b", text[end:])}
        target = tuple(i for i in target if {_side(boxes[i], here, ahead)} == sides)
    target = target if len(target) == 1 else ()
    in_situation = [ids[0] for after, ids, _ in mentions if after <= end and len(ids) == 1]
    standing_at = _standing_at(in_situation, boxes, here)
    faced = tuple(i for i in in_situation if _is_ahead(boxes[i], here, ahead))
    return Phrase(
        text,
        names,
        target,
        (),
        asks="words" if all_visible else None,
        question=question,
        viewpoint=(end, here, ahead),
        standing_at=standing_at,
        facing=tuple(i for i in faced if i not in standing_at) or faced,
    )


def _standing_at(candidates: Sequence[int], boxes: Boxes, here: Sequence[float]) -> Ids:
    """The nearest of the candidates, if it is near."""
    distance, nearest = min(((dist(boxes[i][:2], here[:2]), i) for i in candidates), default=(_NEAR_M, 0))
    return (nearest,) if distance < _NEAR_M else ()


def _is_ahead(box: Sequence[float], here: Sequence[float], ahead: Sequence[float]) -> bool:
    facing, away = (ahead[0] - here[0], ahead[1] - here[1]), (box[0] - here[0], box[1] - here[1])
    return facing[0] * away[0] + facing[1] * away[1] > _MIN_AHEAD_COSINE * hypot(*facing) * hypot(*away)


def _side(box: Sequence[float], here: Sequence[float], ahead: Sequence[float]) -> str | None:
    """ "left" or "right" of somebody at `here` who looks at `ahead`; None in front of or behind them."""
    facing, away = (ahead[0] - here[0], ahead[1] - here[1]), (box[0] - here[0], box[1] - here[1])
    across = facing[0] * away[1] - facing[1] * away[0]
    if abs(across) < _MIN_SIDE_SINE * hypot(*facing) * hypot(*away):
        return None
    return "left" if across > 0 else "right"


def _mentions(text: str, objects: ObjectNames, synonyms: Synonyms) -> Iterator[tuple[re.Match[str], Ids]]:
    """Each name in `text` that denotes objects of the scene, and their ids."""
    labels, words = ({pair[k] for pair in objects.values() if pair[k]} for k in (1, 0))
    label_of_word = {word.lower(): label.lower() for label in labels for word in (*synonyms.get(label, ()), label)}
    label_of = {form: label for word, label in label_of_word.items() for form in (word, _plural(word))}
    nouns = "|".join(re.escape(form) for form in sorted(label_of, key=len, reverse=True))
    adjectives = "|".join(re.escape(word) for word in sorted(words))
    for match in re.finditer(rf"(?:\b({adjectives}) )?\b({nouns})\b", text, re.IGNORECASE) if nouns else ():
        word, label = match[1] and match[1].lower(), label_of[match[2].lower()]
        ids = tuple(i for i, pair in objects.items() if pair[1].lower() == label and word in (None, pair[0]))
        if ids:
            yield match, ids


def _plural(label: str) -> str:
    if label.endswith("f"):
        return f"{label[:-1]}ves"
    return label + ("es" if label.endswith(("s", "x", "ch", "sh")) else "s")
