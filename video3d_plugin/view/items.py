"""Items of the viewer: questions with their answers and boxes, from benchmark records or from the model's results.

An item is a dict of JSON values. Boxes are (6,): centre and size in the world frame, in metres.

    task, id, question
    answer      text, or None
    expected    list of texts
    status      "" if the question was answered, else why not; `reason` says more
    verdict     "right", "wrong" or None (unknown)
    score       number or None; `measure` says what it is
    point       (3,) position that the question is about, or None
    truth       true boxes
    predicted   [{"box", "score", "confidence", "iou"}]; "iou" is that with the best-overlapping true box
    proposals   boxes of the proposals, or None
    scores      scores of the proposals, and possibly one for "no object"; or None
    confidences how sure the model is of each proposal, 0 to 1; or None where its scores do not say it
    note        what is said below the answer, in small; ""
    by          name of the run, on a page of several; ""
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from video3d_plugin.grounding_result import Grounding, shares_of
from video3d_plugin.metrics.iou import as_boxes, iou_matrix
from video3d_plugin.questions import as_point
from video3d_plugin.scene import Question
from video3d_plugin.tasks import get

Item = dict[str, Any]


def item_of_record(record: Mapping[str, Any]) -> Item:
    """Make an item from a benchmark's record of a sample.

    Args:
        record: The record (`TaskSpec.record`). Its verdict is that of the benchmark's strictest metric.
    """
    spec = get(record["task"])
    item = _blank(spec.name, str(record["id"]))
    item["status"] = "" if record["status"] == "ok" else str(record["status"])
    item["reason"] = str(record.get("reason") or "")
    truth, predicted = spec.boxes(record)
    item["truth"], item["predicted"] = _boxes(truth), [{"box": box} for box in _boxes(predicted)]
    item.update(spec.show(dict(record)))
    if spec.item_score is not None:
        item["score"] = spec.item_score(dict(record))
        item["measure"] = spec.score_meaning
    prediction = record.get("prediction")
    if isinstance(prediction, Mapping):
        item.update(_proposals(prediction.get("boxes"), prediction.get("scores")))
        _set_confidences(item)
    elif isinstance(prediction, str) and item["answer"] is None:
        item["answer"] = prediction
    set_ious(item)
    if item["answer"] is None and item["predicted"]:
        item["answer"] = _boxes_in_words(item["predicted"])
    return item


def _set_confidences(item: Item) -> None:
    """Set how sure the model is of each box, and of none, if the scores of a sample say it.

    They do with a score for "no object": the metrics take such scores as those of an InfoNCE head, too.
    """
    proposals, scores = item["proposals"], item["scores"]
    if not proposals or len(scores) == len(proposals) or None in scores:
        return
    *sure, nothing = shares_of(scores).tolist()
    item["confidences"], item["note"] = sure, f"nothing fits: {in_per_cent(nothing)}"
    for predicted in item["predicted"]:
        distance = np.abs(np.subtract(proposals, predicted["box"])).max(1)
        if distance.min() < 1e-3:
            predicted["confidence"] = sure[int(distance.argmin())]


def _boxes_in_words(predicted: list[Item]) -> str:
    """Predicted boxes as a headline, such as `1 box, 61 % sure, IoU 0.56`."""
    parts = ["1 box" if len(predicted) == 1 else f"{len(predicted)} boxes"]
    sure = [in_per_cent(box["confidence"]).removesuffix(" %") for box in predicted if "confidence" in box]
    ious = [f"{box['iou']:.2f}" for box in predicted if box.get("iou") is not None]
    parts += [f"{_few(sure)} % sure"] if sure else []
    return ", ".join([*parts, *([f"IoU {_few(ious)}"] if ious else [])])


def _few(values: list[str]) -> str:
    return ", ".join([*values[:4], *(["…"] if len(values) > 4 else [])])


def item_of_grounding(grounding: Grounding, number: int = 0) -> Item:
    """Make an item from the result of `model.ground`.

    Args:
        grounding: The result.
        number: The item's id.
    """
    item = _blank("ground", str(number), question=grounding.description)
    by_index = sorted(grounding, key=lambda box: box.index)
    item["proposals"] = [list(box.box) for box in by_index]
    item["scores"] = [box.score for box in by_index]
    item["predicted"] = [
        {"box": list(box.box), "score": box.score, "confidence": box.confidence} for box in grounding.chosen
    ]
    item["confidences"] = [box.confidence for box in by_index]
    item["answer"] = headline(grounding)
    if grounding.nothing is not None:
        item["note"] = f"nothing fits: {in_per_cent(grounding.nothing)}"
    return item


def headline(grounding: Grounding) -> str:
    """Return the result of grounding in words, such as `1 box, 56 % sure`."""
    sure = [in_per_cent(box.confidence).removesuffix(" %") for box in grounding.chosen]
    if not sure:
        return "nothing here fits"
    if len(sure) == 1:
        return f"1 box, {sure[0]} % sure"
    shown = sure if len(sure) <= 4 else [*sure[:3], "…", sure[-1]]
    return f"{len(sure)} boxes, {', '.join(shown)} % sure"


def in_per_cent(share: float) -> str:
    """Format a share as the page does: `56 %`, with a decimal where it would round to nothing: `0.4 %`."""
    value = share * 100
    return f"{value:.1f} %" if 0 < value < 0.95 else f"{value:.0f} %"


def item_of_answer(
    question: Question | str, answer: str, point: Sequence[float] | None = None, number: int = 0
) -> Item:
    """Make an item from the result of `model.answer` or `model.caption`.

    Args:
        question: The question; "" for a caption.
        answer: The model's text.
        point: (3,) position that the question is about, in the world frame, in metres.
        number: The item's id.
    """
    text = question if isinstance(question, str) else question.prompt
    item = _blank("caption" if text == "" else "answer", str(number), question=text, answer=answer)
    item["point"] = None if point is None else [float(v) for v in point[:3]]
    return item


def item_of_asked(asked: Mapping[str, Any]) -> Item:
    """Make an item from an item of `video3d ask --json`.

    Args:
        asked: The item. It has `task` and `question`; other fields may be missing.

    Raises:
        KeyError: A required field is missing.
        TypeError, ValueError, OverflowError: A field has another type.
    """
    item = _blank(str(asked["task"]), _text(asked.get("id")) or "", str(asked["question"]), _text(asked.get("answer")))
    for name in ("status", "reason", "measure", "note"):
        item[name] = _text(asked.get(name)) or ""
    item["expected"] = [str(text) for text in asked.get("expected") or []]
    item["verdict"] = asked.get("verdict") if asked.get("verdict") in ("right", "wrong") else None
    item["score"] = _number(asked.get("score"))
    item["point"] = None if asked.get("point") is None else list(as_point(asked["point"]))
    item["truth"] = _boxes(asked.get("truth") or [])
    rows = asked.get("predicted") or []
    item["predicted"] = [
        {"box": box, "score": _number(row.get("score")), "confidence": _number(row.get("confidence"))}
        for row, box in zip(rows, _boxes([row["box"] for row in rows]), strict=True)
    ]
    item.update(_proposals(asked.get("proposals"), asked.get("scores")))
    item["confidences"] = _confidences(asked.get("confidences"), item["proposals"])
    set_ious(item)
    return item


def item_of_boxes(boxes: Sequence[Sequence[float]], name: str) -> Item:
    """Make an item of boxes without a question.

    Args:
        boxes: (N, 6) boxes in the world frame, in metres.
        name: The item's title.
    """
    item = _blank("boxes", name, question=name)
    item["predicted"] = [{"box": box} for box in _boxes(boxes)]
    return item


def set_ious(item: Item) -> None:
    """Set `iou` of each predicted box to its largest IoU with a true box.

    Args:
        item: The item; changed in place.
    """
    if not item["truth"] or not item["predicted"]:
        return
    overlap = iou_matrix([p["box"] for p in item["predicted"]], item["truth"]).max(1)
    for predicted, value in zip(item["predicted"], overlap, strict=True):
        predicted["iou"] = float(value)


def _blank(task: str, name: str, question: str = "", answer: str | None = None) -> Item:
    return {
        "task": task,
        "id": name,
        "question": question,
        "answer": answer,
        "expected": [],
        "status": "",
        "reason": "",
        "verdict": None,
        "score": None,
        "measure": "",
        "point": None,
        "truth": [],
        "predicted": [],
        "proposals": None,
        "scores": None,
        "confidences": None,
        "note": "",
        "by": "",
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    """The value as a float; None for None and for a number that is not finite."""
    return None if value is None or not np.isfinite(float(value)) else float(value)


def _proposals(boxes: Any, scores: Any) -> Item:
    """The fields `proposals` and `scores`; None unless there is a score for each box, and at most one more."""
    if scores is not None:
        rows, values = _boxes(boxes or []), [_number(score) for score in scores]
        if len(values) in (len(rows), len(rows) + 1):
            return {"proposals": rows, "scores": values}
    return {"proposals": None, "scores": None}


def _confidences(values: Any, proposals: list[list[float]] | None) -> list[float | None] | None:
    """The confidences, if there is one for each proposal; else None."""
    if not isinstance(values, list) or len(values) != len(proposals or []):
        return None
    return [_number(value) for value in values]


def _boxes(boxes: Any) -> list[list[float]]:
    return [[float(v) for v in box] for box in as_boxes(boxes, "boxes").tolist()]


def finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, and numpy's numbers by Python's, at any depth.

    Args:
        value: A JSON-like value.
    """
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
