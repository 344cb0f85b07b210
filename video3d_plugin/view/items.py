"""Questions with their answers and boxes, as the viewer lists them: from benchmark records, and from what was asked.

An item is a plain dict that JSON can hold:

    task, id, question, answer (or None), expected [texts], status ("" where all is well), reason
    verdict     "right", "wrong", or None where nothing says
    score       a number and `measure`, what it means; None where there is none
    point       (3,) what was asked about, or None
    truth       [(6,) boxes]
    predicted   [{"box", "score", "confidence", "iou"}], what the model is taken to mean; iou with the nearest true box
    proposals   [(6,) boxes] that were chosen among, and scores, one each; or None
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from video3d_plugin.grounding_result import Grounding
from video3d_plugin.metrics.iou import as_boxes, iou_matrix
from video3d_plugin.questions import as_point
from video3d_plugin.scene import Question
from video3d_plugin.tasks import get

Item = dict[str, Any]


def item_of_record(record: Mapping[str, Any]) -> Item:
    """From the record that the metrics made of a sample; right is what the benchmark's stricter number counts."""
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
        item.update(_chosen_among(prediction.get("boxes"), prediction.get("scores")))
    elif isinstance(prediction, str) and item["answer"] is None:
        item["answer"] = prediction
    with_iou(item)
    return item


def item_of_grounding(found: Grounding, number: int = 0) -> Item:
    """From `model.ground`."""
    item = _blank("ground", str(number), question=found.description)
    by_index = sorted(found, key=lambda box: box.index)
    item["proposals"] = [list(box.box) for box in by_index]
    item["scores"] = [box.score for box in by_index]
    item["predicted"] = [
        {"box": list(box.box), "score": box.score, "confidence": box.confidence} for box in found.chosen
    ]
    if found.nothing is not None:
        item["answer"] = f"{len(found.chosen)} chosen; confidence that nothing fits: {found.nothing:.0%}"
    return item


def item_of_answer(
    question: Question | str, answer: str, point: Sequence[float] | None = None, number: int = 0
) -> Item:
    """From `model.answer` or `model.caption`."""
    text = question if isinstance(question, str) else question.prompt
    item = _blank("caption" if text == "" else "answer", str(number), question=text, answer=answer)
    item["point"] = None if point is None else [float(v) for v in point[:3]]
    return item


def item_of_asked(asked: Mapping[str, Any]) -> Item:
    """From what `video3d ask --json` wrote of an item: it has task and question; what else it does not say is empty.

    KeyError, TypeError, ValueError or OverflowError where a field is missing or of another kind.
    """
    item = _blank(str(asked["task"]), _text(asked.get("id")) or "", str(asked["question"]), _text(asked.get("answer")))
    for name in ("status", "reason", "measure"):
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
    item.update(_chosen_among(asked.get("proposals"), asked.get("scores")))
    with_iou(item)
    return item


def item_of_boxes(boxes: Sequence[Sequence[float]], name: str) -> Item:
    """Boxes alone, from a file."""
    item = _blank("boxes", name, question=name)
    item["predicted"] = [{"box": box} for box in _boxes(boxes)]
    return item


def with_iou(item: Item) -> None:
    """Set `iou` of each predicted box: the overlap with the nearest true one."""
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
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    """The number; None for what is none, and for a score that is not finite."""
    return None if value is None or not np.isfinite(float(value)) else float(value)


def _chosen_among(boxes: Any, scores: Any) -> Item:
    """`proposals` and `scores`, where there is a score for each box (and one more for none of them)."""
    if scores is not None:
        listed, values = _boxes(boxes or []), [_number(score) for score in scores]
        if len(values) in (len(listed), len(listed) + 1):
            return {"proposals": listed, "scores": values}
    return {"proposals": None, "scores": None}


def _boxes(boxes: Any) -> list[list[float]]:
    return [[float(v) for v in box] for box in as_boxes(boxes, "boxes").tolist()]


def finite(value: Any) -> Any:
    """The value with numbers that JSON cannot hold made None, at any depth."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
