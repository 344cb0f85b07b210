"""Predictions in any form, taken apart: text, boxes, or the scores of a scene's proposals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.box_text import parse_boxes
from video3d_plugin.metrics.iou import LARGEST_M, as_box, as_boxes
from video3d_plugin.metrics.selection import Rule, best_object
from video3d_plugin.tasks.kinds import LONGEST_ANSWER


@dataclass(frozen=True)
class ParsedPrediction:
    """A prediction taken apart: a mapping in our own format, or text; neither where it is missing.

    Attributes:
        text: What the model said.
        fields: Scores, boxes or words by name.
        reason: Why there is no prediction.
    """

    text: str | None = None
    fields: Mapping[str, Any] | None = None
    reason: str = ""

    @property
    def is_missing(self) -> bool:
        return self.text is None and self.fields is None

    @property
    def has_scores(self) -> bool:
        """Whether it has scores of proposals."""
        return self.fields is not None and self.fields.get("scores") is not None


def parse_prediction(prediction: Any, text_keys: Sequence[str] = ()) -> ParsedPrediction:
    """Take a prediction apart: None, a mapping, text, or a list of one of these (as from lmms-eval).

    Args:
        prediction: As a host or a file gives it.
        text_keys: What a mapping holds the words of an answer under; () for a task of boxes, for which any other list
            is a box or several of them ([]: nothing is there).
    """
    if isinstance(prediction, list | tuple):
        if not text_keys and not (len(prediction) == 1 and isinstance(prediction[0], str | Mapping | None)):
            return ParsedPrediction(fields={"boxes": list(prediction)})
        prediction = prediction[0] if prediction else None
    if isinstance(prediction, str):
        prediction = _decoded(prediction, text_keys) or prediction
    if isinstance(prediction, Mapping):
        if prediction.get("unanswered"):
            return ParsedPrediction(reason=str(prediction["unanswered"]))
        return ParsedPrediction(fields=prediction)
    return ParsedPrediction(reason="no prediction") if prediction is None else ParsedPrediction(text=str(prediction))


def _decoded(text: str, text_keys: Sequence[str]) -> Mapping | None:
    """JSON with the scores of proposals, a reason why there is no answer, or words; any other JSON is another model's
    answer, and left to the parser of boxes in text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    keys = decoded.keys()
    is_ours = keys >= {"scores", "boxes"} or keys == {"unanswered"} or any(key in keys for key in text_keys)
    return decoded if is_ours else None


def text_of(prediction: ParsedPrediction, key: str) -> tuple[str, str]:
    """Status and words; a mapping holds them under `key`."""
    if prediction.is_missing:
        return "missing", ""
    text = prediction.text if prediction.fields is None else prediction.fields.get(key)
    if not is_words(text):
        return "unreadable", ""
    text = "" if text is None else str(text)
    return ("ok" if text.strip() else "empty"), text


def is_words(value: object) -> bool:
    """Whether a value is text short enough to be scored, a number (an answer may be 5), or nothing."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value is None or abs(value) < LARGEST_M
    return isinstance(value, str) and len(value) <= LONGEST_ANSWER


def predicted_box(prediction: ParsedPrediction) -> tuple[str, list[float] | None]:
    """Status and box of a prediction of one object: the best proposal, or the first box in the text."""
    if not prediction.has_scores:
        status, boxes = _boxes_without_scores(prediction)
        return (status, boxes[0]) if boxes else ("empty" if status == "ok" else status, None)
    try:
        scores, boxes, zero = _proposals(prediction)
        best = best_object(scores, len(boxes), zero)
    except (DataError, TypeError, ValueError):
        return "unreadable", None
    return ("empty", None) if best is None else ("ok", boxes[best])


def predicted_boxes(prediction: ParsedPrediction, rules: Sequence[Rule]) -> tuple[str, dict[str, list[list[float]]]]:
    """Status, and the boxes that each rule selects, by its name; without scores, the same boxes for all."""
    names = [rule.name for rule in rules]
    if not prediction.has_scores:
        status, boxes = _boxes_without_scores(prediction)
        return status, dict.fromkeys(names, boxes)
    try:
        scores, boxes, zero = _proposals(prediction)
        return "ok", {rule.name: [boxes[i] for i in rule.choose(scores, len(boxes), zero)] for rule in rules}
    except (DataError, TypeError, ValueError):
        return "unreadable", dict.fromkeys(names, [])


def _boxes_without_scores(prediction: ParsedPrediction) -> tuple[str, list[list[float]]]:
    if prediction.is_missing:
        return "missing", []
    if prediction.fields is not None:
        try:
            return "ok", _direct_boxes(prediction.fields)
        except DataError:
            return "unreadable", []
    text = prediction.text or ""
    if not text.strip():
        return "empty", []
    boxes = parse_boxes(text)
    return ("unreadable", []) if boxes is None else ("ok", boxes)


def _direct_boxes(fields: Mapping) -> list[list[float]]:
    """The boxes given outright, as `boxes`, `box` or `bbox`, one or several; None says that nothing is there."""
    given = [fields[key] for key in ("boxes", "box", "bbox") if key in fields]
    if not given:
        raise DataError("no box in it", remedy="expected `boxes` or `box`")
    boxes: Any = next((value for value in given if value is not None), [])
    if not isinstance(boxes, list | tuple | np.ndarray):
        raise DataError(f"boxes are a {type(boxes).__name__}, expected a list")
    return [as_box(box, "predicted box").tolist() for box in ([boxes] if _is_one_box(boxes) else boxes)]


def _is_one_box(value: Sequence | np.ndarray) -> bool:
    """Six numbers or eight corners, and no list of boxes? `as_box` checks what is inside."""
    if not len(value):
        return False
    is_number = not isinstance(value[0], list | tuple | np.ndarray)
    return is_number or (len(value) == 8 and len(value[0]) == 3)


def _proposals(prediction: ParsedPrediction) -> tuple[list, list, bool]:
    """Scores, boxes, and whether there is a zero-target slot (if it is not said: by the number of scores)."""
    fields = prediction.fields or {}
    scores, boxes = list(fields["scores"]), as_boxes(fields.get("boxes", ()), "proposals").tolist()
    return scores, boxes, bool(fields.get("has_zero_target", len(scores) == len(boxes) + 1))
