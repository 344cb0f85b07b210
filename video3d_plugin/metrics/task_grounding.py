"""ScanRefer and Multi3DRefer as tasks: from an evaluation document and a prediction to a record, and to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from video3d_plugin.errors import DataError
from video3d_plugin.metrics import grounding
from video3d_plugin.metrics.boxes import as_boxes, box_of_corners, iou, iou_float32
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.parse_boxes import parse_boxes
from video3d_plugin.metrics.selection import PAPER_MASS, SCRIPT_MASS, best_object, objects_by_mass
from video3d_plugin.metrics.task_base import Scores, Task, Unpacked

MASSES = (SCRIPT_MASS, PAPER_MASS)


def _direct_boxes(fields: Mapping) -> list[list[float]]:
    """Boxes given outright: `boxes` or `box`, (6,) or eight corners."""
    boxes = fields.get("boxes")
    if boxes is None:
        box = fields.get("box", fields.get("bbox"))
        boxes = [] if box is None else [box]
    return [as_boxes(box_of_corners(b) if len(b) == 8 else b, "predicted box")[0].tolist() for b in boxes]


def _read_boxes(prediction: Unpacked) -> tuple[str, list[list[float]]]:
    """Status and boxes of a prediction that has no scores."""
    if prediction.is_missing:
        return "missing", []
    if prediction.fields is not None:
        try:
            return "ok", _direct_boxes(prediction.fields)
        except (DataError, TypeError, IndexError):
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


def predicted_boxes(
    prediction: Unpacked, masses: Sequence[float] = MASSES
) -> tuple[str, dict[float, list[list[float]]]]:
    """Multi3DRefer: the boxes selected at each mass; without scores, the same boxes for all."""
    if not _has_scores(prediction):
        status, boxes = _read_boxes(prediction)
        return status, dict.fromkeys(masses, boxes)
    try:
        scores, boxes, zero = _proposals(prediction)
        return "ok", {m: [boxes[i] for i in objects_by_mass(scores, len(boxes), zero, m)] for m in masses}
    except (DataError, TypeError, ValueError):
        return "unreadable", dict.fromkeys(masses, [])


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


def _mass_key(mass: float) -> str:
    return f"{mass:g}"


def multi3drefer_record(doc: Mapping, prediction: Unpacked, *, of_masses: Sequence[float] = MASSES) -> dict:
    """F1 pairs of both conventions at each mass. Text that cannot be read is no claim that nothing is there: F1 0."""
    status, selected = predicted_boxes(prediction, of_masses)
    truth, ids = [list(map(float, b)) for b in doc["gt_boxes"]], doc.get("object_ids")
    distinct = list(dict(zip(ids, truth, strict=True)).values()) if ids and len(ids) == len(truth) else truth
    readable = status not in ("unreadable", "empty")
    masses = {}
    for mass, boxes in selected.items():
        masses[_mass_key(mass)] = {
            "boxes": boxes,
            "m3dref": grounding.f1_m3dref(boxes, distinct, doc["eval_type"]) if readable else (0.0, 0.0),
            "v3d": grounding.f1_v3d(boxes, truth) if readable else (0.0, 0.0),
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
        "masses": masses,
    }


def multi3drefer_scores(records: Sequence[dict], _score: Scorer, *, of_masses: Sequence[float] = MASSES) -> Scores:
    """The first mass under the plain names, another as `mass0.25_` before the name: `mass0.25_v3d_f1@0.5`."""
    known = [r for r in records if not r.get("extra")]
    values: dict[str, float | None] = {}
    for mass in of_masses:
        key = _mass_key(mass)
        items = [
            grounding.Answered(
                r["eval_type"],
                tuple(r["masses"][key]["m3dref"]),
                tuple(r["masses"][key]["v3d"]),
                submitted=r["status"] != "missing",
            )
            for r in known
        ]
        before = "" if mass == of_masses[0] else f"mass{key}_"
        values |= grounding.multi3drefer_official(items, before)
        values |= grounding.multi3drefer_v3d(items, f"{before}v3d_")
        values |= grounding.multi3drefer_torchmetrics(items, f"{before}torchmetrics_")
    counts = {kind: sum(r["eval_type"] == kind for r in known) for kind in grounding.TARGET_TYPES}
    return Scores(values, counts)


scanrefer = Task("scanrefer", ("acc@0.25", "acc@0.5"), scanrefer_record, scanrefer_scores)


def multi3drefer_at(mass: float = SCRIPT_MASS) -> Task:
    """Multi3DRefer with boxes selected by another cumulative mass under the plain names; the paper's 0.25 beside it."""
    if not 0 < mass <= 1:
        raise DataError(f"a cumulative mass of {mass}", remedy="it lies between 0 and 1")
    masses = tuple(dict.fromkeys((mass, PAPER_MASS)))
    record = partial(multi3drefer_record, of_masses=masses)
    return Task("multi3drefer", ("f1@0.25", "f1@0.5"), record, partial(multi3drefer_scores, of_masses=masses))


multi3drefer = multi3drefer_at()
