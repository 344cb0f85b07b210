"""processed/<task>_<split>_llava_style.json: the conversations that the reference trains and evaluates on.

Source: LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/preprocessing/process_{scanrefer,multi3drefer,scan2cap,scanqa,
sqa3d}.py. `id` is the item's place in the official file, so items of scenes that are not there leave gaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from video3d_plugin.data.annotations import multi3drefer, scan2cap, scanqa, scanrefer, sqa3d
from video3d_plugin.data.annotations.base import GROUND_ANSWER, Context, Doc
from video3d_plugin.metrics.answers import question_type_by_prefix

Item = dict[str, Any]


def reference_items(task: str, items: list[Doc], split: str, context: Context) -> list[Item]:
    """The items of one file, from the official items as `annotations` loads them.

    context.scenes hold boxes as Python floats and proposals in float64, as in the reference's own files.
    """
    return {
        "scanrefer": _scanrefer,
        "multi3drefer": _multi3drefer,
        "scan2cap": _scan2cap,
        "scanqa": _scanqa,
        "sqa3d": _sqa3d,
    }[task](items, split, context)


def _item(number: Any, scene_id: str, prompt: str, answer: str, **more: Any) -> Item:
    return {
        "id": number,
        "video": f"scannet/{scene_id}",
        "conversations": [{"value": prompt, "from": "human"}, {"value": answer, "from": "gpt"}],
        **more,
    }


def _scanrefer(items: list[Doc], split: str, context: Context) -> list[Item]:
    scanrefer.add_groups(items, context)
    result = []
    for number, item in enumerate(items):
        boxes = _boxes(context, item["scene_id"], [item["object_number"]])
        if boxes is not None:
            prompt = scanrefer.prompt(item["description"])
            metadata = _described("scanrefer", item, item["object_id"])
            result.append(_item(number, item["scene_id"], prompt, GROUND_ANSWER, box=boxes[0], metadata=metadata))
    return result


def _multi3drefer(items: list[Doc], split: str, context: Context) -> list[Item]:
    result = []
    for number, item in enumerate(items):
        boxes = _boxes(context, item["scene_id"], item["object_ids"])
        if boxes is not None:
            prompt = multi3drefer.prompt(item["description"])
            metadata = _described("multi3drefer", item, item["object_ids"])
            result.append(_item(number, item["scene_id"], prompt, GROUND_ANSWER, box=boxes, metadata=metadata))
    return result


def _scan2cap(items: list[Doc], split: str, context: Context) -> list[Item]:
    """Every annotation in training; in evaluation an item an object, given by its oracle proposal."""
    scanrefer.add_groups(items, context)
    said: dict[str, list[str]] = {}
    for item in items:
        said.setdefault(scan2cap.item_id(item), []).append(item["description"])
    seen: set[str] = set()
    result = []
    for number, item in enumerate(items):
        key = scan2cap.item_id(item)
        if split != "train" and key in seen:
            continue
        seen.add(key)
        boxes = _boxes(context, item["scene_id"], [item["object_number"]])
        if boxes is None:
            continue
        given, more = boxes[0], {}
        if split != "train":
            proposals = np.asarray(context.scenes[item["scene_id"]].proposals, np.float64)
            given, _ = scan2cap.oracle_proposal(proposals, tuple(boxes[0]))
            more = {"annotations": said[key]}
        metadata = _described("scan2cap", item, item["object_id"])
        answer = item["description"].capitalize()
        boxes_of_item = {"box_input": given, "gt_box": boxes[0], "metadata": metadata}
        result.append(_item(number, item["scene_id"], scan2cap.PROMPT, answer, **boxes_of_item, **more))
    return result


def _scanqa(items: list[Doc], split: str, context: Context) -> list[Item]:
    """Every answer in training; in evaluation the first, with all of them beside it."""
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        answers = item.get("answers", [])
        for index, answer in enumerate(answers if split == "train" else answers[:1]):
            metadata = {"dataset": "scanQA", "question_type": "unknow"}  # spelled so in the reference's files
            if split != "train":
                metadata["answers"] = answers
            number = f"scanqa_{item['question_id']}_{index}"
            result.append(_item(number, item["scene_id"], scanqa.prompt(item["question"]), answer, metadata=metadata))
    return result


def _sqa3d(items: list[Doc], split: str, context: Context) -> list[Item]:
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        metadata = {"dataset": "sqa3d", "question_type": question_type_by_prefix(item["question"])}
        alternatives = item["alternative_situation"] if split == "train" else []
        for situation in [*alternatives, item["situation"]]:
            prompt = sqa3d.prompt(situation, item["question"])
            result.append(_item(item["question_id"], item["scene_id"], prompt, item["answer"], metadata=metadata))
    return result


def _boxes(context: Context, scene_id: str, object_ids: list[int]) -> list[list[float]] | None:
    if not context.has_scene(scene_id):
        return None
    boxes = context.boxes_of(scene_id, object_ids)
    return None if boxes is None else [list(box) for box in boxes]


def _described(name: str, item: Mapping[str, Any], object_id: Any) -> dict[str, Any]:
    kind = item.get("eval_type", scanrefer.UNKNOWN)
    return {"dataset": name, "question_type": kind, "ann_id": item["ann_id"], "object_id": object_id}
