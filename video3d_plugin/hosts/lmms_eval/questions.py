"""Requests of lmms-eval as questions about scenes, and answers as the strings that lmms-eval passes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.hosts.lmms_eval.generation import Generation
from video3d_plugin.prompts import GROUND_ANSWER
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.tasks import is_grounding, needs_point

OWN_FIELDS = ("task", "item_id", "scene_id", "prompt")


@dataclass(frozen=True)
class QuestionRequest:
    """One request of lmms-eval about a scene.

    Attributes:
        position: Place of its answer in the results.
        request: The request itself.
        question: The question.
        generation: How its answer is generated.
        repetition: How many times the question was asked before in the same call (lmms-eval's --repeats).
        of_host: Whether it belongs to one of lmms-eval's own tasks.
    """

    position: int
    request: Any
    question: Question
    generation: Generation = Generation()
    repetition: int = 0
    of_host: bool = False

    @property
    def order(self) -> tuple[str, str, str, int]:
        """Sort key that does not depend on the order of the requests or on the number of ranks."""
        return (self.question.scene_id, self.question.task, self.question.item_id, self.position)

    @property
    def batch_key(self) -> tuple[bool, Generation | None, int]:
        """Equal for requests that can share a batch: grounding questions, or text questions generated alike."""
        if self.question.is_grounding:
            return (True, None, 0)
        return (False, self.generation, self.repetition if self.generation.temperature else 0)


def question_from_doc(doc: dict) -> Question:
    """Make the question of an evaluation document, with the prompt that the published weights were trained with.

    Args:
        doc: A document of this package's tasks.

    Raises:
        DataError: The document belongs to another benchmark.
    """
    if not is_scene_doc(doc):
        missing = [name for name in OWN_FIELDS if name not in doc]
        raise DataError(f"the question has no {', '.join(missing)}: it is of another task")
    points: Any = tuple(tuple(float(v) for v in point) for point in doc.get("coords") or ())
    return Question(
        task=doc["task"],
        item_id=str(doc["item_id"]),
        scene_id=doc["scene_id"],
        prompt=doc["prompt"],
        answer=GROUND_ANSWER if is_grounding(doc["task"]) else None,
        coords=points,
    )


def is_scene_doc(doc: Mapping[str, Any]) -> bool:
    """Return whether a document is one of this package's tasks."""
    return all(name in doc for name in OWN_FIELDS)


def is_undetected(question: Question) -> bool:
    """Return whether a question about a point has none, because no proposal overlaps its object enough.

    By Scan2Cap's protocol, the caption of such an object is empty.
    """
    return needs_point(question.task) and not question.coords


def grounding_answer(scores: Any, inputs: SceneInputs) -> str:
    """Write the scores and boxes of a scene's proposals as JSON: {"scores": [...], "boxes": [[x, y, z, dx, dy, dz]]}.

    Numbers are the shortest decimals that give the same float32.

    Args:
        scores: (N,) or (N + 1,) scores of the proposals; the last of N + 1 is the score of "no object".
        inputs: The scene; its proposals (N, 6) are boxes in the world frame, in metres.
    """
    boxes = [_decimals(box) for box in inputs.proposals.tolist()]
    return json.dumps({"scores": _decimals(scores.tolist()), "boxes": boxes})


def _decimals(values: Sequence[float]) -> list[float]:
    return [float(str(np.float32(value))) for value in values]
