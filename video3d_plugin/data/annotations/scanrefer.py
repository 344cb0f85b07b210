"""ScanRefer: find the one object that a description means. ScanRefer_filtered_{train,val,test}.json

    {"scene_id": "scene0011_00", "object_id": "5", "object_name": "kitchen_cabinets", "ann_id": "3",
     "description": "there is a brown chair. it is next to the  table .", "token": ["there", "is", ...]}

Official scorer: daveredrum/ScanRefer 9d74830, benchmark/eval.py. Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8,
scripts/3d/preprocessing/process_scanrefer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from video3d_plugin.data.annotations.base import (
    GROUND_ANSWER,
    Benchmark,
    Context,
    Doc,
    check_lists,
    load_items,
    object_number,
)
from video3d_plugin.metrics.scanrefer_groups import OTHERS, multiple_by_object
from video3d_plugin.scene import Question
from video3d_plugin.tokens import IMAGE_TOKEN

TASK = "scanrefer"
UNKNOWN = "unknown"  # the group of every item where the label table is missing
_FIELDS = {"scene_id": str, "object_id": (str, int), "object_name": str, "ann_id": (str, int), "description": str}


def prompt(description: str) -> str:
    return f"{IMAGE_TOKEN}Identify the object according to the following description.\n{description.capitalize()}"


def load(paths: Sequence[Path]) -> list[Doc]:
    items = load_items(paths[0], {**_FIELDS, "token": list} if _has_tokens(paths[0]) else _FIELDS)
    check_lists(items, "token", str, paths[0])
    for index, item in enumerate(items):
        item["object_number"] = object_number(item["object_id"], paths[0], index)
    return items


def _has_tokens(path: Path) -> bool:
    items = load_items(path, _FIELDS)
    return bool(items) and "token" in items[0]


def add_groups(items: list[Doc], context: Context) -> None:
    """Set eval_type ("unique"/"multiple", NYU40 ids), and the official `multiple` and `others` (18 classes).

    They depend on all annotations of the split, also those of scenes that are not there. Without the label table
    eval_type is what the file says, else "unknown", and the official two are None.
    """
    labels = context.labels
    if labels is None:
        for item in items:
            item.setdefault("eval_type", UNKNOWN)
            item["multiple"] = item["others"] = None
        return
    ours = multiple_by_object(items, labels.v3d_class)
    official = multiple_by_object(items, labels.official_class)
    for item in items:
        key = (item["scene_id"], str(item["object_id"]))
        item["eval_type"] = "multiple" if ours[key] else "unique"
        item["multiple"] = official[key]
        item["others"] = labels.official_class(item["object_name"]) == OTHERS


def docs(items: list[Doc], split: str, context: Context) -> list[Doc]:
    """A doc an annotation. The test split has no boxes: gt_box is None there."""
    add_groups(items, context)
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        box = None
        if split != "test":
            boxes = context.boxes_of(item["scene_id"], [item["object_number"]])
            if boxes is None:
                continue
            box = list(boxes[0])
        result.append(
            {
                "task": TASK,
                "split": split,
                "item_id": item_id(item),
                "scene_id": item["scene_id"],
                "object_id": str(item["object_id"]),
                "object_name": item["object_name"],
                "ann_id": str(item["ann_id"]),
                "description": item["description"],
                "token": list(item.get("token", [])),
                "eval_type": item["eval_type"],
                "multiple": item["multiple"],
                "others": item["others"],
                "gt_box": box,
                "prompt": prompt(item["description"]),
            }
        )
    return result


def questions(items: list[Doc], split: str, context: Context) -> list[Question]:
    result = []
    for item in items:
        if context.has_scene(item["scene_id"]) and context.boxes_of(item["scene_id"], [item["object_number"]]):
            result.append(
                Question(
                    task=TASK,
                    item_id=item_id(item),
                    scene_id=item["scene_id"],
                    prompt=prompt(item["description"]),
                    answer=GROUND_ANSWER,
                    targets=(item["object_number"],),
                )
            )
    return result


def item_id(item: Doc) -> str:
    """The official key of a description."""
    return f"{item['scene_id']}|{item['object_id']}|{item['ann_id']}"


BENCHMARK = Benchmark(
    TASK, {split: (f"ScanRefer_filtered_{split}.json",) for split in ("train", "val", "test")}, load, docs, questions
)
