"""Every prompt, once: those that the published weights were trained with, and the words of prompts for other models.

Sources: LaVi-Lab/Video-3D-LLM 3ff70e8, scripts/3d/preprocessing/process_*.py and train_3d.py. `<image>` stands for the
visual tokens, `<coord>` for a point in the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, TypeAlias

from video3d_plugin.arguments import ArgumentError
from video3d_plugin.errors import DataError
from video3d_plugin.scene import Question
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

GROUND_ANSWER = GROUND_TOKEN

# Answers in words: of a question about the scene, the same in free form, and of a question asked from a situation.
ANSWER_PROMPT = IMAGE_TOKEN + " {question} Answer the question simply."
FREE_PROMPT = IMAGE_TOKEN + " {question}"
SITUATED_PROMPT = IMAGE_TOKEN + " {situation} {question} Answer the question using a single word or phrase."
# Descriptions of a point.
CAPTION_PROMPT = f"{IMAGE_TOKEN} Given an object located at {COORD_TOKEN} , describe the object in detail."
POINT_QUESTION = f"Given an object located at {COORD_TOKEN} , " + "{question}"
# Boxes: of the one object that fits a description; SEVERAL follows where there may be none or more of them.
GROUND_PROMPT = IMAGE_TOKEN + "Identify the object according to the following description.\n{description}"
SEVERAL = "\nThere may be no corresponding object, or there may be one or more objects."
# Put before the question in training with `--add_spatial_instruction`.
SPATIAL_INSTRUCTION = (
    "The video captures 3D spatial information of a scene. Please focus on the spatial relationships in the video "
    "and answer the following questions."
)
# For models that know nothing of `<ground>` and `<coord>`: how positions and boxes are written in text.
PLAIN_WORLD = "Positions are in metres; x and y are horizontal, z is up, the floor is near z = 0."
PLAIN_BOX = "a box [x, y, z, w, h, l]: its centre, then its size along x, y and z"

_LEADING = f"let the prompt begin with {IMAGE_TOKEN}"

Point: TypeAlias = Sequence[float]  # (3,) a point, or (6,) a box whose centre is meant; world frame, metres


def grounding_prompt(description: str, several: bool = False) -> str:
    """The prompt for the object, or with `several` for all objects, that a description means."""
    return GROUND_PROMPT.format(description=description.capitalize()) + (SEVERAL if several else "")


def listed_of(items: Any) -> tuple[bool, list[Any]]:
    """(whether one was given, the items)."""
    single = isinstance(items, str | Question)
    return single, [items] if single else list(items)


def text_question(question: str | Question, index: int, scene_id: str, prompt: str, coords: tuple) -> Question:
    """A question put into `prompt`; special tokens in it are text, but for a <coord> for each of `coords`."""
    if isinstance(question, Question):
        return question
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


def ground_question(description: str | Question, index: int, scene_id: str, several: bool) -> Question:
    """A description in the grounding prompt; special tokens in it are text."""
    if isinstance(description, Question):
        return description if description.is_grounding else replace(description, answer=GROUND_ANSWER, grounding=True)
    return Question("ask", str(index), scene_id, grounding_prompt(description, several), GROUND_ANSWER)


def as_point(values: Point) -> tuple[float, float, float]:
    """The point itself, or the centre of a box."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise ArgumentError("a point", values, "(x, y, z), or a box (centre and size), metres") from None
    if len(numbers) not in (3, 6) or not all(map(isfinite, numbers)):
        what = f"{numbers} is neither a point (x, y, z) nor a box (centre and size)"
        raise DataError(what, remedy="give three or six finite numbers, metres")
    return numbers[0], numbers[1], numbers[2]
