"""Parses predictions in any form: text, boxes, or scores of a scene's proposals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.box_text import parse_boxes
from video3d_plugin.metrics.final_answer import final_answer
from video3d_plugin.metrics.iou import LARGEST_M, as_box, as_boxes
from video3d_plugin.metrics.selection import Rule, best_object
from video3d_plugin.tasks.kinds import LONGEST_ANSWER


@dataclass(frozen=True)
class ParsedPrediction:
    """A parsed prediction: fields or text, or neither if it is missing.

    Attributes:
        text: The model's text.
        fields: Scores, boxes or texts by name.
        reason: Why there is no prediction.
    """

    text: str | None = None
    fields: Mapping[str, Any] | None = None
    reason: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether no prediction was made."""
        return self.text is None and self.fields is None

    @property
    def has_scores(self) -> bool:
        """Whether it holds scores of proposals."""
        return self.fields is not None and self.fields.get("scores") is not None


def parse_prediction(prediction: Any, text_keys: Sequence[str] = ()) -> ParsedPrediction:
    """Parse a prediction. A model's reasoning before its answer is left out (`metrics.final_answer`).

    Args:
        prediction: None, a mapping, text, or a list of one of these, as in lmms-eval's responses.
        text_keys: Names under which a mapping holds the answer's text; () for a benchmark of boxes, where another list
            is a box or a list of boxes ([] for "no object").
    """
    if isinstance(prediction, list | tuple):
        if not text_keys and not (len(prediction) == 1 and isinstance(prediction[0], str | Mapping | None)):
            return ParsedPrediction(fields={"boxes": list(prediction)})
        prediction = prediction[0] if prediction else None
    if isinstance(prediction, str):
        prediction = final_answer(prediction)
        prediction = _decoded(prediction, text_keys) or prediction
    if isinstance(prediction, Mapping):
        if prediction.get("unanswered"):
            return ParsedPrediction(reason=str(prediction["unanswered"]))
        texts = {key: prediction[key] for key in text_keys if key in prediction}
        final = {key: _final(value) for key, value in texts.items()}
        return ParsedPrediction(fields=prediction if final == texts else {**prediction, **final})
    return ParsedPrediction(reason="no prediction") if prediction is None else ParsedPrediction(text=str(prediction))


def _final(value: Any) -> Any:
    """A text, or each text of a ranked list, without reasoning."""
    if isinstance(value, list):
        return [_final(item) for item in value]
    return final_answer(value) if isinstance(value, str) else value


def _decoded(text: str, text_keys: Sequence[str]) -> Mapping | None:
    """Decode JSON of this package: scores of proposals, a reason for a missing answer, or the answer's text.

    None for other JSON, which is another model's text and left to the parser of boxes.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    keys = decoded.keys()
    is_own_format = keys >= {"scores", "boxes"} or keys == {"unanswered"} or any(key in keys for key in text_keys)
    return decoded if is_own_format else None


def text_of(prediction: ParsedPrediction, key: str) -> tuple[str, str]:
    """Return the text of a prediction.

    Args:
        prediction: The prediction.
        key: Name of the text in its fields.

    Returns:
        The status (see `tasks.scoring`) and the text; "" unless the status is "ok" or "empty".
    """
    if prediction.is_missing:
        return "missing", ""
    text = prediction.text if prediction.fields is None else prediction.fields.get(key)
    if not is_text(text):
        return "unreadable", ""
    text = "" if text is None else str(text)
    return ("ok" if text.strip() else "empty"), text


def is_text(value: object) -> bool:
    """Return whether a value can be scored as text: a text that is not too long, a number, or None."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value is None or abs(value) < LARGEST_M
    return isinstance(value, str) and len(value) <= LONGEST_ANSWER


def predicted_box(prediction: ParsedPrediction) -> tuple[str, list[float] | None]:
    """Return the predicted box of one object: the proposal with the best score, or the first box in the text.

    Args:
        prediction: The prediction.

    Returns:
        The status (see `tasks.scoring`), and the box (6,) or None.
    """
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
    """Return the boxes that each rule selects.

    Args:
        prediction: The prediction. Without scores, all rules give the same boxes.
        rules: Rules of selection.

    Returns:
        The status (see `tasks.scoring`), and boxes (6,) by name of the rule.
    """
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
    """One or several boxes of a field `boxes`, `box` or `bbox`; None in it means "no object"."""
    values = [fields[key] for key in ("boxes", "box", "bbox") if key in fields]
    if not values:
        raise DataError("the prediction holds no box", remedy="expected `boxes` or `box`")
    boxes: Any = next((value for value in values if value is not None), [])
    if not isinstance(boxes, list | tuple | np.ndarray):
        raise DataError(f"boxes are a {type(boxes).__name__}, expected a list")
    return [as_box(box, "predicted box").tolist() for box in ([boxes] if _is_one_box(boxes) else boxes)]


def _is_one_box(value: Sequence | np.ndarray) -> bool:
    """Whether a value has the form of one box, six numbers or eight corners; `as_box` checks its contents."""
    if not len(value):
        return False
    is_number = not isinstance(value[0], list | tuple | np.ndarray)
    return is_number or (len(value) == 8 and len(value[0]) == 3)


def _proposals(prediction: ParsedPrediction) -> tuple[list, list, bool]:
    """Scores, boxes, and whether there is a zero-target slot, which the number of scores tells by default."""
    fields = prediction.fields or {}
    scores, boxes = list(fields["scores"]), as_boxes(fields.get("boxes", ()), "proposals").tolist()
    return scores, boxes, bool(fields.get("has_zero_target", len(scores) == len(boxes) + 1))
