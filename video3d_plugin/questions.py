"""Makes Question records of what a caller of `Video3D` gives: plain text, descriptions, points and boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, TypeAlias

from video3d_plugin.arguments import ArgumentError, check_items
from video3d_plugin.errors import DataError
from video3d_plugin.prompts import GROUND_ANSWER, POINT_QUESTION, grounding_prompt
from video3d_plugin.scene import Question
from video3d_plugin.tokens import COORD_TOKEN, IMAGE_TOKEN

Point: TypeAlias = Sequence[float]  # (3,) a point, or (6,) a box, which stands for its centre; world frame, metres

DESCRIBE_HERE = "Describe the object here."  # how a question without text about a point is listed
_LEADING = f"let the prompt begin with {IMAGE_TOKEN}"


def as_list(name: str, value: Any) -> tuple[bool, list[str | Question]]:
    """Return whether a single question was given, and the questions as a list.

    Args:
        name: The argument's name, for errors.
        value: Text, a Question, or an iterable of them.

    Raises:
        ArgumentError: The value or an entry is something else.
    """
    single = isinstance(value, str | Question)
    if single:
        return True, [value]
    items = list(value) if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping) else value
    check_items(name, items, (str, Question), "text or a Question")
    return False, items


def text_question(
    question: str | Question, index: int, scene_id: str, prompt: str, coords: tuple[tuple[float, float, float], ...]
) -> Question:
    """Insert a question into a prompt.

    Args:
        question: The question's text. Special tokens in it are plain text, except for one <coord> for each of
            `coords`. A Question is returned unchanged.
        index: Becomes the item's id.
        scene_id: The scene that the question is about.
        prompt: Text with {question} once; "<image> " is put before it where it lacks <image>.
        coords: Points (x, y, z) that the <coord> tokens stand for, world frame, metres.

    Raises:
        DataError: The question is empty, or the prompt has no place for it, several <image>, one after a question that
            holds the same text, or a <coord> without a point.
    """
    if isinstance(question, Question):
        return question
    _check_not_empty(question, "question")
    before, slot, after = prompt.partition("{question}")
    if not slot or "{question}" in after:
        raise DataError(f"the prompt {prompt!r:.80} has no place for the question", remedy="put {question} once in it")
    if IMAGE_TOKEN in after and IMAGE_TOKEN in question:
        raise DataError(f"the question holds {IMAGE_TOKEN}, and the prompt has its own after it", remedy=_LEADING)
    if before.count(IMAGE_TOKEN) + after.count(IMAGE_TOKEN) > 1:
        raise DataError(f"the prompt {prompt!r:.80} has several {IMAGE_TOKEN}", remedy=_LEADING)
    if COORD_TOKEN in before + after and not coords:
        raise DataError(f"the prompt {prompt!r:.80} has {COORD_TOKEN} and no points", remedy="give one point for each")
    text = f"{before}{question}{after}"
    if IMAGE_TOKEN not in before + after:
        text = f"{IMAGE_TOKEN} {text}"
    return Question("ask", str(index), scene_id, text, coords=coords, grounding=False)


def about_point(text: str) -> str:
    """Return a question's text with a <coord> for the point that it is about, unless it has one.

    Args:
        text: The question.
    """
    return text if COORD_TOKEN in text else POINT_QUESTION.replace("{question}", text)


def ground_question(description: str | Question, index: int, scene_id: str, several: bool) -> Question:
    """Insert a description into the grounding prompt; special tokens in it are plain text.

    Args:
        description: The description's text, or a Question, which becomes a grounding question if it is none.
        index: Becomes the item's id.
        scene_id: The scene that holds the objects.
        several: Whether none or several objects may fit.

    Raises:
        DataError: The description is empty.
    """
    if isinstance(description, Question):
        return description if description.is_grounding else replace(description, answer=GROUND_ANSWER, grounding=True)
    _check_not_empty(description, "description")
    return Question("ask", str(index), scene_id, grounding_prompt(description, several), GROUND_ANSWER)


def _check_not_empty(text: str, what: str) -> None:
    if not text.strip():
        raise DataError(f"the {what} is empty", remedy="write what to ask or to find")


def as_point(values: Point) -> tuple[float, float, float]:
    """Return a point (3,), or the centre of a box (6,): world frame, metres.

    Raises:
        ArgumentError: The values are not numbers.
        DataError: There are not three or six of them, or one is not finite.
    """
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise ArgumentError("a point", values, "(x, y, z), or a box (centre and size), metres") from None
    if len(numbers) not in (3, 6) or not all(map(isfinite, numbers)):
        what = f"{numbers} is neither a point (x, y, z) nor a box (centre and size)"
        raise DataError(what, remedy="give three or six finite numbers, metres")
    return numbers[0], numbers[1], numbers[2]


def check_scene(questions: Iterable[Question], scene_id: str) -> None:
    """Raise DataError for a question that belongs to another scene than `scene_id`."""
    for question in questions:
        if question.scene_id != scene_id:
            raise DataError(
                f"the question belongs to scene {question.scene_id}, but was asked about scene {scene_id}",
                where=f"{question.task} {question.item_id}",
                remedy=f"pass scene {question.scene_id}",
            )
