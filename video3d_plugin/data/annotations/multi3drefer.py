"""Multi3DRefer: find all objects that a description means: none, one or several. multi3drefer_{train,val}.json

    {"scene_id": "scene0011_00", "object_ids": [5, 7], "object_name": "chair", "ann_id": 12, "eval_type": "mt",
     "description": "the brown chairs at the table", "spatial": true, "color": true, "texture": false, "shape": false}

Official scorer: 3dlg-hcvc/M3DRef-CLIP babfcc4. Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, process_multi3drefer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from video3d_plugin.data.annotations import scanrefer
from video3d_plugin.data.annotations.base import GROUND_ANSWER, Benchmark, Context, Doc, load_items, object_number
from video3d_plugin.scene import Question

TASK = "multi3drefer"
_FIELDS = {"scene_id": str, "object_ids": list, "ann_id": (int, str), "description": str}
_TRAITS = ("spatial", "color", "texture", "shape")


def prompt(description: str) -> str:
    return (
        scanrefer.prompt(description) + "\nThere may be no corresponding object, or there may be one or more objects."
    )


def load(paths: Sequence[Path]) -> list[Doc]:
    items = load_items(paths[0], _FIELDS)
    for index, item in enumerate(items):
        item["object_ids"] = [object_number(value, paths[0], index) for value in item["object_ids"]]
    return items


def docs(items: list[Doc], split: str, context: Context) -> list[Doc]:
    """A doc a description; gt_boxes has one box an object id, also where the file repeats an id."""
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        boxes = context.boxes_of(item["scene_id"], item["object_ids"])
        if boxes is None:
            continue
        result.append(
            {
                "task": TASK,
                "split": split,
                "item_id": item_id(item),
                "scene_id": item["scene_id"],
                "object_ids": item["object_ids"],
                "object_name": str(item.get("object_name", "")),
                "ann_id": item["ann_id"],
                "eval_type": str(item.get("eval_type", scanrefer.UNKNOWN)),
                "description": item["description"],
                **{trait: bool(item.get(trait, False)) for trait in _TRAITS},
                "gt_boxes": [list(box) for box in boxes],
                "prompt": prompt(item["description"]),
            }
        )
    return result


def questions(items: list[Doc], split: str, context: Context) -> list[Question]:
    result = []
    for item in items:
        scene_id = item["scene_id"]
        if context.has_scene(scene_id) and context.boxes_of(scene_id, item["object_ids"]) is not None:
            result.append(
                Question(
                    task=TASK,
                    item_id=item_id(item),
                    scene_id=scene_id,
                    prompt=prompt(item["description"]),
                    answer=GROUND_ANSWER,
                    targets=tuple(dict.fromkeys(item["object_ids"])),
                )
            )
    return result


def item_id(item: Doc) -> str:
    """The official key: ann_id is unique within a scene."""
    return f"{item['scene_id']}|{item['ann_id']}"


BENCHMARK = Benchmark(
    TASK, {split: (f"multi3drefer_{split}.json",) for split in ("train", "val", "test")}, load, docs, questions
)
