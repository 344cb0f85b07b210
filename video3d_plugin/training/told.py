"""A benchmark's training questions as phrases of the lesson in looking: what the names in them name, and what is meant.

Descriptions and questions say what they are about by the same few steps as made phrases do, in more ways. So they are
taught the same way, of the objects that their annotations name (targets, ScanQA's object_ids); of situated questions
(SQA3D's) where the asker stands and looks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from math import dist, hypot
from typing import TypeAlias

from video3d_plugin.scene import Question
from video3d_plugin.tokens import IMAGE_TOKEN
from video3d_plugin.training.objects import Named
from video3d_plugin.training.phrases import Phrase

Boxes: TypeAlias = Mapping[int, Sequence[float]]
Others: TypeAlias = Mapping[str, Sequence[str]]
_Mention: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...]]  # where it ends, ids called so, those seen
NO_OTHERS: Others = {}
_ASIDE = 0.34  # sine of the least angle, 20 degrees, from straight ahead or behind
_AHEAD = 0.98  # cosine of the greatest, 11 degrees, at which a thing is straight ahead
_NEAR_M = 1.5  # between somebody and the middle of what they stand by
_TURNS = {"scanqa": 2}  # of a task, where others have one
_AWAY = re.compile(r"\b(?:f[au]rthest|far|farther|further|distant)(?: away)? from\b", re.IGNORECASE)


def told_phrases(
    questions: Iterable[Question],
    objects: Named,
    boxes: Boxes,
    among: Collection[int],
    count: int,
    others: Others = NO_OTHERS,
) -> list[Phrase]:
    """The first `count` of a scene's questions that speak of objects of `among` only, of every task as many as there
    are, but of ScanQA's, which ask in the most ways, twice as many. others: by label, what else its objects are
    called."""
    of_task: dict[str, list[Question]] = {}
    for question in questions:
        of_task.setdefault(question.task, []).append(question)
    turns = [own[first::n] for task, own in of_task.items() for n in (_TURNS.get(task, 1),) for first in range(n)]
    found = (filter(None, (told(q, objects, boxes, among, others) for q in own)) for own in turns)
    in_turn = (phrase for turn in zip_longest(*found) for phrase in turn if phrase is not None)
    return list(islice(in_turn, count))


def told(
    question: Question, objects: Named, boxes: Boxes, among: Collection[int], others: Others = NO_OTHERS
) -> Phrase | None:
    """The question as a phrase; None where it is not known what it is about, or that is not all in `among`, or it
    names what is not. boxes: by id, centre first, world, metres; others: by label, what else its objects are called.

    What is beside is each thing of another label that a name in the question names alone; nothing where no target is
    there; whether what is far from it is meant is read from the words. Where the answer names a thing of another label
    ("next to the desk"), that is meant, once the answer has begun so far, and what the question is about is beside it.
    Of a description (Scan2Cap's) the point is that of the one thing it is about. Of a situated question (SQA3D's) it is
    known where the asker stands: see `_situated`.
    """
    if not question.is_grounding and question.answer is None:
        return None
    text = question.prompt.split(IMAGE_TOKEN, 1)[-1]
    said = [(found.end(), ids, tuple(i for i in ids if i in among)) for found, ids in _mentions(text, objects, others)]
    if not all(here for _, _, here in said):
        return None
    names = tuple((end, here) for end, _, here in said)
    if question.metadata.get("stands"):
        return _situated(question, text, said, names, boxes)
    about = question.targets if question.is_grounding else question.metadata.get("object_ids")
    if about is None or any(i not in among for i in about):
        return None
    own = {objects[i][1] for i in about}
    beside = tuple(ids[0] for _, ids, _ in said if own and len(ids) == 1 and objects[ids[0]][1] not in own)
    asks = None if question.is_grounding else "words"
    if question.coords:
        return Phrase(text, names, tuple(about), tuple(about), tuple(about), asks, whole=question)
    if asks and len(about) == 1:
        begun, by = _named_by(question.answer or "", about[0], objects, boxes, among, others)
        if by:
            return Phrase(text, names, by, tuple(about), asks=asks, whole=question, begun=begun)
    away = _AWAY.search(text) is not None
    return Phrase(text, names, tuple(about), beside, asks=asks, whole=question, away=away)


def _named_by(
    answer: str, about: int, objects: Named, boxes: Boxes, among: Collection[int], others: Others
) -> tuple[str, tuple[int, ...]]:
    """The words before the one thing by which an answer says where the other is ("next to the"), and that thing; "" and
    () where it names none, or what is not all seen, or but the label of the thing itself."""
    found = list(_mentions(answer, objects, others))
    if len(found) != 1 or any(i not in among or objects[i][1] == objects[about][1] for i in found[0][1]):
        return "", ()
    name, ids = found[0]
    return answer[: name.start()].rstrip(), (min(ids, key=lambda i: dist(boxes[i][:2], boxes[about][:2])),)


def _situated(question: Question, text: str, said: Sequence[_Mention], names, boxes: Boxes) -> Phrase:
    """What is meant is the one thing that the question, after the situation, names, or of several that it names by one
    name that on the left or right, where it says so. It is to be answered only if it names something, and all that is
    called so is seen."""
    stands = tuple(map(tuple, question.metadata["stands"]))
    situation = len(text) - len(text.split(question.metadata["situation"])[-1])
    asked = [(ids, here) for end, ids, here in said if end > situation]
    seen = bool(asked) and all(len(ids) == len(here) for ids, here in asked)
    meant: tuple[int, ...] = asked[0][0] if seen and len(asked) == 1 else ()
    if len(meant) > 1:
        sides = {side for side in ("left", "right") if re.search(rf"\b{side}\b", text[situation:])}
        meant = tuple(i for i in meant if {_side(boxes[i], *stands)} == sides)
    meant = meant if len(meant) == 1 else ()
    spoken = [ids[0] for end, ids, _ in said if end <= situation and len(ids) == 1]
    by, ahead = _stood_by(spoken, boxes, stands[0]), tuple(i for i in spoken if _is_ahead(boxes[i], *stands))
    faced = tuple(i for i in ahead if i not in by) or ahead
    asks, place = "words" if seen else None, (situation, *stands)
    return Phrase(text, names, meant, (), asks=asks, whole=question, stands=place, by=by, faced=faced)


def _stood_by(spoken: Sequence[int], boxes: Boxes, here: Sequence[float]) -> tuple[int, ...]:
    """The nearest of what is spoken of, if it is near."""
    away, nearest = min(((dist(boxes[i][:2], here[:2]), i) for i in spoken), default=(_NEAR_M, 0))
    return (nearest,) if away < _NEAR_M else ()


def _is_ahead(box: Sequence[float], here: Sequence[float], ahead: Sequence[float]) -> bool:
    facing, away = (ahead[0] - here[0], ahead[1] - here[1]), (box[0] - here[0], box[1] - here[1])
    return facing[0] * away[0] + facing[1] * away[1] > _AHEAD * hypot(*facing) * hypot(*away)


def _side(box: Sequence[float], here: Sequence[float], ahead: Sequence[float]) -> str | None:
    """left | right of someone at `here` who looks `ahead`; None where it is before or behind them."""
    facing, away = (ahead[0] - here[0], ahead[1] - here[1]), (box[0] - here[0], box[1] - here[1])
    across = facing[0] * away[1] - facing[1] * away[0]
    if abs(across) < _ASIDE * hypot(*facing) * hypot(*away):
        return None
    return "left" if across > 0 else "right"


def _mentions(text: str, objects: Named, others: Others) -> Iterator[tuple[re.Match[str], tuple[int, ...]]]:
    """Each name of objects in `text`, and the ids of all that are called so; nothing for names of none."""
    labels, words = ({pair[k] for pair in objects.values() if pair[k]} for k in (1, 0))
    called = {word.lower(): label.lower() for label in labels for word in (*others.get(label, ()), label)}
    label_of = {form: label for word, label in called.items() for form in (word, _plural(word))}
    either = "|".join(re.escape(form) for form in sorted(label_of, key=len, reverse=True))
    said = "|".join(re.escape(word) for word in sorted(words))
    for found in re.finditer(rf"(?:\b({said}) )?\b({either})\b", text, re.IGNORECASE) if either else ():
        word, label = found[1] and found[1].lower(), label_of[found[2].lower()]
        ids = tuple(i for i, pair in objects.items() if pair[1].lower() == label and word in (None, pair[0]))
        if ids:
            yield found, ids


def _plural(label: str) -> str:
    if label.endswith("f"):
        return f"{label[:-1]}ves"
    return label + ("es" if label.endswith(("s", "x", "ch", "sh")) else "s")
