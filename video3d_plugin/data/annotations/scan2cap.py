"""Scan2Cap: describe the object at a place. Made of ScanRefer's annotations: an object, all its descriptions.

    {"scene_id": "scene0011_00", "object_id": "5", "object_name": "chair", "gt_box": [...], "box": [...] or None,
     "references": ["there is a brown chair ...", ...], "token": [["there", "is", ...], ...]}

Official scorer: DaveZhenyuChen/Scan2Cap b9e9610. Boxes and prompt: LaVi-Lab/Video-3D-LLM 3ff70e8,
scripts/3d/preprocessing/process_scan2cap.py: in evaluation the object is given by the proposal that overlaps it
best, if that overlap is 0.5 or more (an oracle's choice); in training by its own box.
"""

from __future__ import annotations

import numpy as np

from video3d_plugin.data.annotations import scanrefer
from video3d_plugin.data.annotations.base import Benchmark, Context, Doc
from video3d_plugin.metrics.boxes import iou_matrix
from video3d_plugin.scene import Question

TASK = "scan2cap"
PROMPT = "<image> Given an object located at <coord> , describe the object in detail."
MIN_IOU = 0.5


def docs(items: list[Doc], split: str, context: Context) -> list[Doc]:
    """A doc an object: `box` is the oracle's proposal (None: no proposal overlaps enough), `coords` its centre."""
    scanrefer.add_groups(items, context)
    by_object: dict[str, list[Doc]] = {}
    for item in items:
        by_object.setdefault(item_id(item), []).append(item)
    result = []
    for key, described in by_object.items():
        first = described[0]
        if not context.has_scene(first["scene_id"]):
            continue
        boxes = context.boxes_of(first["scene_id"], [first["object_number"]])
        if boxes is None:
            continue
        box, iou = oracle_proposal(context.scenes[first["scene_id"]].proposals, boxes[0])
        result.append(
            {
                "task": TASK,
                "split": split,
                "item_id": key,
                "scene_id": first["scene_id"],
                "object_id": str(first["object_id"]),
                "object_name": first["object_name"],
                "ann_id": str(first["ann_id"]),
                "eval_type": first["eval_type"],
                "references": [item["description"] for item in described],
                "token": [list(item.get("token", [])) for item in described],
                "gt_box": list(boxes[0]),
                "box": box,
                "box_iou": iou,
                "coords": [box[:3]] if box is not None else [],
                "prompt": PROMPT,
            }
        )
    return result


def oracle_proposal(proposals: np.ndarray, box: tuple[float, ...]) -> tuple[list[float] | None, float | None]:
    """(the proposal (6,) of largest IoU with `box`, that IoU), the first of equals; (None, None) below 0.5."""
    if not len(proposals):
        return None, None
    ious = iou_matrix(np.asarray(proposals, np.float64), [box])[:, 0]
    best = int(np.argmax(ious))
    if ious[best] < MIN_IOU:
        return None, None
    return [float(value) for value in proposals[best]], float(ious[best])


def questions(items: list[Doc], split: str, context: Context) -> list[Question]:
    """A question a description, about the centre of the object's own box; the answer starts with a capital."""
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        boxes = context.boxes_of(item["scene_id"], [item["object_number"]])
        if boxes is None:
            continue
        result.append(
            Question(
                task=TASK,
                item_id=scanrefer.item_id(item),
                scene_id=item["scene_id"],
                prompt=PROMPT,
                answer=item["description"].capitalize(),
                coords=(tuple(boxes[0][:3]),),
            )
        )
    return result


def item_id(item: Doc) -> str:
    """The official key of an object."""
    return f"{item['scene_id']}|{item['object_id']}|{item['object_name']}"


BENCHMARK = Benchmark(
    TASK,
    {split: (f"ScanRefer_filtered_{split}.json",) for split in ("train", "val")},
    scanrefer.load,
    docs,
    questions,
)
