"""A benchmark's training questions as phrases of the lesson in looking: what the names in them name, and what is meant.

Descriptions and questions say what they are about by the same few steps as made phrases do, in more ways. So they are
taught the same way, of the objects that their annotations name (targets, ScanQA's object_ids); of situated questions
(SQA3D's) where the asker stands and looks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from video3d_plugin.model.host_methods import IMAGE_TOKEN
from video3d_plugin.scene import Question
from video3d_plugin.training.objects import Named
from video3d_plugin.training.phrases import Phrase


def told_phrases(questions: Iterable[Question], objects: Named, among: Collection[int], count: int) -> list[Phrase]:
    """The first `count` of a scene's questions that speak of objects of `among` only."""
    phrases = (told(question, objects, among) for question in questions)
    return list(islice(filter(None, phrases), count))


def told(question: Question, objects: Named, among: Collection[int]) -> Phrase | None:
    """The question as a phrase; None where it is not known what it is about, or that is not all in `among`, or it
    names what is not.

    What is beside is each thing of another label that a name in the question names alone; nothing where no target is
    there. Of a situated question (SQA3D's) it is known where the asker stands; what it is about is not, so it is to be
    answered only if it names something, and all that is called so is in `among`. Plurals and synonyms are not read as
    names.
    """
    stands = question.metadata.get("stands")
    about = question.targets if question.is_grounding else question.metadata.get("object_ids", () if stands else None)
    if about is None or any(i not in among for i in about) or (not question.is_grounding and question.answer is None):
        return None
    text = question.prompt.split(IMAGE_TOKEN)[-1]
    said = len(text) - len(text.split(question.metadata["situation"])[-1]) if stands else 0
    own = {objects[i][1] for i in about}
    names, beside, whole = [], [], []
    for end, ids in _mentions(text, objects):
        here = tuple(i for i in ids if i in among)
        if not here:
            return None
        names.append((end, here))
        if end > said:
            whole.append(len(here) == len(ids))
        if own and len(ids) == 1 and objects[ids[0]][1] not in own:
            beside.append(ids[0])
    asks = None if question.is_grounding or (stands and not (whole and all(whole))) else "words"
    place = (said, *map(tuple, stands)) if stands else None
    return Phrase(text, tuple(names), tuple(about), tuple(beside), asks=asks, whole=question, stands=place)


def _mentions(text: str, objects: Named) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Where each name of objects in `text` ends, and the ids of all that are called so; nothing for names of none."""
    labels, words = ({pair[k] for pair in objects.values() if pair[k]} for k in (1, 0))
    either = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    said = "|".join(re.escape(word) for word in sorted(words))
    for found in re.finditer(rf"(?:\b({said}) )?\b({either})\b", text, re.IGNORECASE) if either else ():
        word, label = found[1] and found[1].lower(), found[2].lower()
        ids = tuple(i for i, pair in objects.items() if pair[1].lower() == label and word in (None, pair[0]))
        if ids:
            yield found.end(), ids
