"""Finds ids and answer in an item of a file of predictions, under the names that systems give them.

Names are tried by benchmark, the most explicit first, since many files hold the annotated answer beside the predicted
one. An answer stands in `answer` of a ScanQA file, for example, unless the item also has `pred`, `response`, or `text`
with LLaVA's `answer_id`: then `answer` is taken as the annotated one, as in the files of LLaVA-3D.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema import Number, Text, check
from video3d_plugin.metrics.iou import as_box
from video3d_plugin.tasks import TaskSpec
from video3d_plugin.tasks.kinds import LONGEST_ANSWER

# Other systems' names of ids: LEO and Chat-Scene, GPT4Scene, EmbodiedScan, LLaVA.
ID_NAMES = {
    "question_id": ("qid", "questionId", "question_index"),
    "scene_id": ("scan_id", "scene", "scene_name", "scan_name"),
    "object_id": ("obj_id", "target_id", "gt_id"),
    "ann_id": ("anno_id", "annotation_id"),
}
PREDICTED_TEXTS = (
    "pred_response", "response_pred", "pred_answer", "predicted_answer", "model_answer", "answer_pred", "pred_text",
    "pred_caption", "caption_pred", "pred", "predicted", "model_response", "model_output", "response", "output",
    "generated_text", "generated", "generation", "completion",
)  # fmt: skip
PREDICTED_BOXES = (
    "pred_boxes", "pred_bboxes", "predicted_boxes", "pred_box", "pred_bbox", "predicted_box", "predicted_bbox",
    "pred_bbox_3d", "pred_bbox3d", "box_pred", "bbox_pred",
)  # fmt: skip
BOXES = (
    "boxes", "box", "bbox", "aabb", "bboxes", "bbox_3d", "bboxes_3d", "box_3d", "boxes_3d", "bbox3d", "bboxes3d",
    "box3d", "boxes3d",
)  # fmt: skip
_ANSWER = "text"  # LLaVA's; in its question files and others it is the question
_LLAVA = ("answer_id", "model_id", "prompt")
_SCORED = {"scores": list, "objects": list}  # in lines of Video-3D-LLM without `pred_response`
_OWN = ("scores", "boxes", "box", "has_zero_target", "caption", "tokens", "answer", "answers", "unanswered")
_WORDS = (Text(LONGEST_ANSWER), Number(), None)
# Boxes are checked when the prediction is parsed.
_OWN_KINDS = {
    **dict.fromkeys(("caption?", "answer?"), _WORDS),
    "answers?": ([_WORDS], Text(LONGEST_ANSWER), None),
    "tokens?": ([Text(512)], None),
    "has_zero_target?": (bool, None),
    "unanswered?": (Text(), bool, None),
}
_IDS = ("id", "item_id", "sample_id", *ID_NAMES, *(name for names in ID_NAMES.values() for name in names))


@dataclass(frozen=True)
class Answer:
    """The answer of an item.

    Attributes:
        value: The prediction, as `TaskSpec.record` takes it; None if the item states that there is none.
        name: The field in which it stands.
        beside: Another field that could hold an answer, but is taken as the annotated one.
    """

    value: Any
    name: str
    beside: str = ""


def with_official_ids(item: dict) -> dict:
    """Return an item with ids under the names used here: `qid` as `question_id`, for example."""
    ids = {
        name: next(item[other] for other in others if item.get(other) is not None)
        for name, others in ID_NAMES.items()
        if item.get(name) is None and any(item.get(other) is not None for other in others)
    }
    return {**item, **ids} if ids else item


def names_of_answers(spec: TaskSpec) -> tuple[str, ...]:
    """Return the names of fields that hold an answer to a question of a benchmark, the most explicit first."""
    official = tuple(spec.predictions.official_names)
    if spec.text_keys:
        return ("prediction", *official, *PREDICTED_TEXTS, *spec.text_keys, _ANSWER)
    return ("prediction", *PREDICTED_BOXES, *PREDICTED_TEXTS, *official, *BOXES, "answer", _ANSWER)


def other_names(item: Mapping) -> list[str]:
    """Return the names of an item's fields that are no ids, for an error message."""
    return [str(name)[:40] for name in item if name not in _IDS]


def answer_of(spec: TaskSpec, item: Mapping, where: str) -> Answer | None:
    """Find the answer in an item.

    Args:
        spec: The benchmark.
        item: The item.
        where: Its place, for the error message.

    Returns:
        The answer; None if no field holds one.

    Raises:
        DataError: The field that should hold it has another type, or is too long.
    """
    if item.get("unanswered"):
        check(item, _OWN_KINDS, where)
        return Answer({"unanswered": item["unanswered"]}, "unanswered")
    if "prediction" not in item and not spec.text_keys:
        if _SCORED.keys() <= item.keys():
            check(item, _SCORED, where)
            return Answer({"scores": item["scores"], "boxes": item["objects"]}, "scores")
        if "scores" in item and "boxes" in item:
            return Answer(_own_fields(item, where), "scores")
    names = [name for name in names_of_answers(spec) if name in item]
    if _ANSWER in names and any(name in item for name in _LLAVA) and names[0] in (*spec.text_keys, _ANSWER):
        names = [_ANSWER, *(name for name in names if name != _ANSWER)]
    if not names:
        return None
    name = next((name for name in names if item[name] is not None), names[0])
    if spec.text_keys:
        value = _text_value(spec, item, name, where)
        annotated = [other for other in spec.text_keys if other in names and name not in spec.text_keys]
    else:
        value = _box_value(spec, item, name, where)
        annotated = [other for other in BOXES if other in names and name in (*PREDICTED_TEXTS, *PREDICTED_BOXES)]
    return Answer(value, name, annotated[0] if annotated else "")


def _own_fields(item: Mapping, where: str) -> dict[str, Any]:
    check(item, _OWN_KINDS, where)
    return {name: item[name] for name in _OWN if name in item}


def _text_value(spec: TaskSpec, item: Mapping, name: str, where: str) -> Any:
    """A text, ranked texts, or a mapping of this package's fields."""
    value = item[name]
    if name == "prediction":
        if isinstance(value, list):
            check(value, spec.predictions.value_kind, where, name=name)
        return spec.predictions.read_value(value)
    check(item, {name: (_WORDS, [_WORDS])}, where)
    ranked = spec.predictions.official_names.get(name)
    if ranked is not None:
        return {ranked: value}
    if name in spec.text_keys:
        fields = _own_fields(item, where)
        references = fields.get("answers")
        if isinstance(references, list) and "answer" in fields and fields["answer"] not in references[:1]:
            del fields["answers"]  # not a ranking that starts with the answer: the annotated answers
        return fields
    if isinstance(value, list):
        if len(value) > 1 and "answers" not in spec.text_keys:
            raise DataError(f"`{name}` is a list of {len(value)} texts", where=where, remedy="expected one")
        value = {"answers": value} if "answers" in spec.text_keys else value[0] if value else None
    box = next((item[other] for other in ("box", *PREDICTED_BOXES) if other in item), None)
    if "caption" in spec.text_keys and box is not None:
        return {"caption": value, "box": box}
    return value


def _box_value(spec: TaskSpec, item: Mapping, name: str, where: str) -> Any:
    """Boxes; a text about boxes; or the JSON of boxes in another form, which is parsed like a text."""
    value = item[name]
    if name == "prediction":
        if isinstance(value, Mapping) and {"scores", "boxes", "box", "bbox", "unanswered"} & value.keys():
            return value
        if isinstance(value, list):
            check(value, spec.predictions.value_kind, where, name=name)
    elif isinstance(value, str):
        check(item, {name: Text(LONGEST_ANSWER)}, where)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, Mapping) or (isinstance(value, list) and not _are_boxes(value)):
        try:
            return json.dumps(value, allow_nan=False)
        except ValueError:  # a number that is not finite makes the prediction unreadable
            return {"boxes": value}
    is_text = isinstance(value, str) or (value is None and name not in (*BOXES, *PREDICTED_BOXES))
    return value if is_text else {"boxes": value}


def _are_boxes(value: Sequence) -> bool:
    """Whether a list is a box or a list of boxes, of six numbers or eight corners each."""
    for boxes in ([value], value):
        try:
            for box in boxes:
                as_box(box, "box")
        except (DataError, TypeError, ValueError):
            continue
        return True
    return False
