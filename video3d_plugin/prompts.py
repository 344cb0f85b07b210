"""Plain words to questions: the prompts that the published weights were trained with, and what they are put around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, TypeAlias

from video3d_plugin.errors import DataError
from video3d_plugin.scene import Question

# The same as in data/annotations, which names their sources; a test holds them together.
ANSWER_PROMPT = "<image> {question} Answer the question simply."  # ScanQA's
FREE_PROMPT = "<image> {question}"
CAPTION_PROMPT = "<image> Given an object located at <coord> , describe the object in detail."
GROUND_PROMPT = "<image>Identify the object according to the following description.\n{description}"
SEVERAL = "\nThere may be no corresponding object, or there may be one or more objects."

Point: TypeAlias = Sequence[float]  # (3,) a point, or (6,) a box whose centre is meant; world frame, metres


def listed_of(items: Any) -> tuple[bool, list[Any]]:
    """(whether one was given, the items)."""
    single = isinstance(items, str | Question)
    return single, [items] if single else list(items)


def text_question(question: str | Question, index: int, scene_id: str, prompt: str, coords: tuple) -> Question:
    if isinstance(question, Question):
        return question
    text = question if "<image>" in question else prompt.replace("{question}", question)
    return Question("ask", str(index), scene_id, text if "<image>" in text else f"<image> {text}", coords=coords)


def ground_question(description: str | Question, index: int, scene_id: str, several: bool) -> Question:
    if isinstance(description, Question):
        return description if description.is_grounding else replace(description, answer="<ground>")
    text = description
    if "<image>" not in text:
        text = GROUND_PROMPT.format(description=text.capitalize()) + (SEVERAL if several else "")
    return Question("ask", str(index), scene_id, text, "<ground>")


def as_point(values: Point) -> tuple[float, float, float]:
    """The point itself, or the centre of a box."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) not in (3, 6) or not all(map(isfinite, numbers)):
        what = f"{numbers} is neither a point (x, y, z) nor a box (centre and size)"
        raise DataError(what, remedy="give three or six finite numbers, metres")
    return numbers[0], numbers[1], numbers[2]
