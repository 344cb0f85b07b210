"""ScanRefer and Multi3DRefer as tasks: from an evaluation document and a prediction to a record, and to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.metrics import grounding
from video3d_plugin.metrics.boxes import as_box, as_boxes, iou, iou_float32
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.parse_boxes import parse_boxes
from video3d_plugin.metrics.selection import HALF, PAPER_MASS, SCRIPT_MASS, Rule, best_object, by_mass
from video3d_plugin.metrics.task_base import Scores, Task, Unpacked

RULES = (by_mass(SCRIPT_MASS), by_mass(PAPER_MASS), HALF)


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


def _read_boxes(prediction: Unpacked) -> tuple[str, list[list[float]]]:
    """Status and boxes of a prediction that has no scores."""
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


def _proposals(prediction: Unpacked) -> tuple[list, list, bool]:
    """Scores, boxes, and whether there is a zero-target slot (if it is not said: by the number of scores)."""
    fields = prediction.fields or {}
    scores, boxes = list(fields["scores"]), as_boxes(fields.get("boxes", ()), "proposals").tolist()
    return scores, boxes, bool(fields.get("has_zero_target", len(scores) == len(boxes) + 1))


def _has_scores(prediction: Unpacked) -> bool:
    return prediction.fields is not None and prediction.fields.get("scores") is not None


def predicted_box(prediction: Unpacked) -> tuple[str, list[float] | None]:
    """ScanRefer: the best proposal, or the first box in the text. Status and box."""
    if not _has_scores(prediction):
        status, boxes = _read_boxes(prediction)
        return (status, boxes[0]) if boxes else ("empty" if status == "ok" else status, None)
    try:
        scores, boxes, zero = _proposals(prediction)
        best = best_object(scores, len(boxes), zero)
    except (DataError, TypeError, ValueError):
        return "unreadable", None
    return ("empty", None) if best is None else ("ok", boxes[best])


def predicted_boxes(prediction: Unpacked, rules: Sequence[Rule] = RULES) -> tuple[str, dict[str, list[list[float]]]]:
    """Multi3DRefer: the boxes chosen by each rule, by its name; without scores, the same boxes for all."""
    names = [rule.name for rule in rules]
    if not _has_scores(prediction):
        status, boxes = _read_boxes(prediction)
        return status, dict.fromkeys(names, boxes)
    try:
        scores, boxes, zero = _proposals(prediction)
        return "ok", {rule.name: [boxes[i] for i in rule.choose(scores, len(boxes), zero)] for rule in rules}
    except (DataError, TypeError, ValueError):
        return "unreadable", dict.fromkeys(names, [])


def _group(value: object) -> bool | None:
    """Is it "multiple" (or in "others")? Words, truth values, the 0 / 1 of ScanRefer's prediction files; else None."""
    words = {"unique": False, "multiple": True}
    if isinstance(value, str):
        return words.get(value)
    return None if value is None else bool(value)


def scanrefer_record(doc: Mapping, prediction: Unpacked) -> dict:
    status, box = predicted_box(prediction)
    v3d_multiple = _group(doc.get("eval_type"))
    official = next((doc[key] for key in ("unique_multiple", "multiple") if doc.get(key) is not None), v3d_multiple)
    return {
        "id": f"{doc['scene_id']}|{doc['object_id']}|{doc['ann_id']}",
        "scene_id": doc["scene_id"],
        "object_id": str(doc["object_id"]),
        "ann_id": str(doc["ann_id"]),
        "description": doc.get("description", ""),
        "status": status,
        "multiple": _group(official),
        "others": _group(doc.get("others")),
        "v3d_multiple": v3d_multiple,
        "gt_box": [float(v) for v in doc["gt_box"]],
        "box": box,
        "iou": 0.0 if box is None else iou(box, doc["gt_box"]),
        "iou_float32": 0.0 if box is None else iou_float32(box, doc["gt_box"]),
    }


def scanrefer_scores(records: Sequence[dict], _score: Scorer) -> Scores:
    items = [
        grounding.Located(
            iou=r["iou"],
            iou_float32=r["iou_float32"],
            multiple=r["multiple"],
            others=r["others"],
            v3d_multiple=r["v3d_multiple"],
            submitted=r["status"] != "missing",
            known=not r.get("extra"),
        )
        for r in records
    ]
    official = grounding.scanrefer_official(items)
    counts = {name.removeprefix("count_"): int(n) for name, n in official.items() if name.startswith("count_")}
    values = {name: n for name, n in official.items() if not name.startswith("count")}
    return Scores({**values, **grounding.scanrefer_m3dref(items), **grounding.scanrefer_v3d(items)}, counts)


def multi3drefer_record(doc: Mapping, prediction: Unpacked, *, rules: Sequence[Rule] = RULES) -> dict:
    """F1 pairs of both conventions by each rule. Text that cannot be read is no claim that nothing is there: F1 0."""
    status, selected = predicted_boxes(prediction, rules)
    truth, ids = [list(map(float, b)) for b in doc["gt_boxes"]], doc.get("object_ids")
    distinct = list(dict(zip(ids, truth, strict=True)).values()) if ids and len(ids) == len(truth) else truth
    readable = status not in ("unreadable", "empty")
    chosen = {
        name: {
            "boxes": boxes,
            "m3dref": grounding.f1_m3dref(boxes, distinct, doc["eval_type"]) if readable else (0.0, 0.0),
            "v3d": grounding.f1_v3d(boxes, truth) if readable else (0.0, 0.0),
        }
        for name, boxes in selected.items()
    }
    return {
        "id": f"{doc['scene_id']}|{doc['ann_id']}",
        "scene_id": doc["scene_id"],
        "ann_id": doc["ann_id"],
        "description": doc.get("description", ""),
        "status": status,
        "eval_type": doc["eval_type"],
        "gt_boxes": truth,
        "object_ids": ids,
        "chosen": chosen,
    }


def plain_choice(record: Mapping) -> Mapping:
    """Of a Multi3DRefer record: boxes and F1 pairs by the rule whose numbers have plain names."""
    return next(iter(record["chosen"].values()))


def multi3drefer_scores(records: Sequence[dict], _score: Scorer, *, rules: Sequence[Rule] = RULES) -> Scores:
    """The first rule under the plain names, another with its name before: `mass0.25_v3d_f1@0.5`, `half_f1@0.5`."""
    known = [r for r in records if not r.get("extra")]
    values: dict[str, float | None] = {}
    for rule in rules:
        items = [
            grounding.Answered(
                r["eval_type"],
                tuple(r["chosen"][rule.name]["m3dref"]),
                tuple(r["chosen"][rule.name]["v3d"]),
                submitted=r["status"] != "missing",
            )
            for r in known
        ]
        before = "" if rule is rules[0] else f"{rule.name}_"
        values |= grounding.multi3drefer_official(items, before)
        values |= grounding.multi3drefer_v3d(items, f"{before}v3d_")
        values |= grounding.multi3drefer_torchmetrics(items, f"{before}torchmetrics_")
    counts = {kind: sum(r["eval_type"] == kind for r in known) for kind in grounding.TARGET_TYPES}
    return Scores(values, counts)


scanrefer = Task("scanrefer", ("acc@0.25", "acc@0.5"), scanrefer_record, scanrefer_scores)


def multi3drefer_at(mass: float = SCRIPT_MASS) -> Task:
    """Multi3DRefer with boxes selected by another cumulative mass under the plain names; the other rules beside it."""
    rules = (by_mass(mass), *(rule for rule in RULES[1:] if rule.name != by_mass(mass).name))
    record = partial(multi3drefer_record, rules=rules)
    return Task("multi3drefer", ("f1@0.25", "f1@0.5"), record, partial(multi3drefer_scores, rules=rules))


multi3drefer = multi3drefer_at()
