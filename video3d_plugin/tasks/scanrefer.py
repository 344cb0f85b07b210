"""ScanRefer (arXiv 1912.08830): locate the object that a description refers to.

ScanRefer_filtered_{train,val,test}.json:

    {"scene_id": "scene0011_00", "object_id": "5", "object_name": "kitchen_cabinets", "ann_id": "3",
     "description": "there is a brown chair. it is next to the  table .", "token": ["there", "is", ...]}

Official scorer: https://github.com/daveredrum/ScanRefer/blob/9d74830/benchmark/eval.py
Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, scripts/3d/preprocessing/process_scanrefer.py

Fields of a document for scoring: scene_id, object_id, ann_id, description, gt_box (6,); eval_type "unique" or
"multiple" (NYU40 ids, as Video-3D-LLM); multiple (bool) or unique_multiple ("unique", "multiple", 0 or 1), the official
grouping by 18 classes, by default eval_type; others (bool). Items of unknown group count in the overall number only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from video3d_plugin.files.schema import Text
from video3d_plugin.metrics import grounding
from video3d_plugin.metrics.iou import iou, iou_float32
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.prompts import GROUND_ANSWER, PLAIN_BOX, grounding_prompt
from video3d_plugin.scene import Question
from video3d_plugin.tasks import kinds
from video3d_plugin.tasks.annotations import UNKNOWN, Context, Doc, Item, check_lists, object_number, read_items
from video3d_plugin.tasks.kinds import ANY_BOX, BOX, OVERLAP, SENTENCE, YES_NO
from video3d_plugin.tasks.object_classes import OTHERS, multiple_by_object
from video3d_plugin.tasks.predictions import ParsedPrediction, parse_prediction, predicted_box
from video3d_plugin.tasks.processed import (
    Conversation,
    ProcessedFiles,
    conversation_item,
    description_of,
    referring_item,
    referring_metadata,
)
from video3d_plugin.tasks.referring import item_id, referring_question
from video3d_plugin.tasks.scoring import Scores
from video3d_plugin.tasks.spec import PredictionFiles, Record, TaskSpec
from video3d_plugin.tasks.systems import MAX_COVERAGE, UNIFORM, peer_numbers

NAME = "scanrefer"
RIGHT_IOU = 0.5  # IoU from which the viewer shows an answer as right
_FIELDS = {"scene_id": str, "object_id": (str, int), "object_name": str, "ann_id": (str, int), "description": str}


# Annotation files


def read(paths: Sequence[Path]) -> list[Item]:
    """Read the annotation file (`TaskSpec.read`); `object_number` is the object's id as a number."""
    items = read_items(paths[0], _FIELDS)
    if items and "token" in items[0]:
        items = read_items(paths[0], {**_FIELDS, "token": list})
    check_lists(items, "token", str, paths[0])
    for index, item in enumerate(items):
        item["object_number"] = object_number(item["object_id"], paths[0], index)
    return items


def add_groups(items: list[Item], context: Context) -> None:
    """Set eval_type ("unique" or "multiple", by NYU40 ids), and the official `multiple` and `others` (18 classes).

    Without names of objects, as in Video-3D LLM's processed files, or without the label table, eval_type is that of the
    file or "unknown", and the other two are None.

    Args:
        items: All items of the split, also those of unavailable scenes, since the groups depend on them. Changed in
            place.
        context: Holds the label table.
    """
    labels = context.labels
    if labels is None or not any(item["object_name"] for item in items):
        for item in items:
            item.setdefault("eval_type", UNKNOWN)
            item["multiple"] = item["others"] = None
        return
    by_nyu40_id = multiple_by_object(items, labels.v3d_class)
    official = multiple_by_object(items, labels.official_class)
    for item in items:
        key = (item["scene_id"], str(item["object_id"]))
        item["eval_type"] = "multiple" if by_nyu40_id[key] else "unique"
        item["multiple"] = official[key]
        item["others"] = labels.official_class(item["object_name"]) == OTHERS


def docs(items: list[Item], split: str, context: Context) -> list[Doc]:
    """Make a document of each annotation (`TaskSpec.docs`); gt_box is None in the test split."""
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
                "task": NAME,
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
                "prompt": grounding_prompt(item["description"]),
            }
        )
    return result


def questions(items: list[Item], split: str, context: Context) -> list[Question]:
    """Make a question of each description (`TaskSpec.questions`); its target is the object."""
    return [
        referring_question(NAME, item)
        for item in items
        if context.boxes_if_there(item["scene_id"], [item["object_number"]])
    ]


def read_processed(conversation: Conversation) -> list[Item]:
    """Read an item of a processed file (`ProcessedFiles.read`)."""
    return [referring_item(conversation, description_of(conversation.prompt))]


def write_processed(items: list[Item], split: str, context: Context) -> list[Item]:
    """Make the items of a processed file (`ProcessedFiles.write`)."""
    add_groups(items, context)
    result = []
    for number, item in enumerate(items):
        boxes = context.boxes_if_there(item["scene_id"], [item["object_number"]])
        if boxes is not None:
            prompt, metadata = grounding_prompt(item["description"]), referring_metadata(NAME, item, item["object_id"])
            more = {"box": list(boxes[0]), "metadata": metadata}
            result.append(conversation_item(number, item["scene_id"], prompt, GROUND_ANSWER, **more))
    return result


# Records and numbers


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """Make the record of a question (`TaskSpec.make_record`)."""
    status, box = predicted_box(prediction)
    v3d_multiple = _group(doc.get("eval_type"))
    official = next((doc[key] for key in ("unique_multiple", "multiple") if doc.get(key) is not None), v3d_multiple)
    return {
        "id": item_id(doc),
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


def _group(value: object) -> bool | None:
    """A group as a boolean: of words, booleans, or the 0 and 1 of ScanRefer's prediction files; None if not known."""
    words = {"unique": False, "multiple": True}
    if isinstance(value, str):
        return words.get(value)
    return None if value is None else bool(value)


def score_records(records: Sequence[Record], _score: Scorer) -> Scores:
    """Compute the metrics (`TaskSpec.score_records`)."""
    items = [
        grounding.ScanReferItem(
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


# Files of predictions


def extra_record(flags: Mapping[str, Any]) -> Record:
    """Make the fields of a prediction without a question: a miss in the groups that the file states."""
    groups = {name: bool(flags.get(official, 1)) for official, name in FLAGS.items()}
    return {**groups, "v3d_multiple": None, "box": None, "iou": 0.0, "iou_float32": 0.0}


def reference_doc(item: Mapping[str, Any]) -> Doc:
    """Make a document of a line of Video-3D-LLM's output (`PredictionFiles.reference_doc`)."""
    scene, sample = str(item.get("scene", "")), str(item.get("sample_id", ""))
    kind = str(item.get("question_type", ""))
    return {"scene_id": scene, "object_id": "", "ann_id": sample, "gt_box": item["gt_response"], "eval_type": kind}


def submission(doc: Doc, prediction: Any) -> dict[str, Any]:
    """Make an item of the prediction file for the benchmark's server (benchmark/predict.py): corners and groups."""
    _, box = predicted_box(parse_prediction(prediction))
    box = box or [0.0] * 6
    axes = [(centre - size / 2, centre + size / 2) for centre, size in zip(box[:3], box[3:], strict=True)]
    return {
        "scene_id": doc["scene_id"],
        "object_id": doc["object_id"],
        "ann_id": doc["ann_id"],
        "bbox": [list(corner) for corner in product(*axes)],
        "unique_multiple": int(bool(doc["multiple"])),
        "others": int(bool(doc["others"])),
    }


# Report and viewer


def show(record: Record) -> dict[str, Any]:
    """Return the fields for the viewer (`TaskSpec.show`)."""
    right = record["box"] is not None and record["iou"] >= RIGHT_IOU
    return {"question": record["description"], "verdict": "right" if right else "wrong"}


FLAGS = {"unique_multiple": "multiple", "others": "others"}
_AT = (0.25, 0.5)
_GROUPS = ("", "unique_", "multiple_")
_BARS = {
    "unique": "unique_", "multiple": "multiple_", "named classes": "not_in_others_", "other classes": "in_others_",
}  # fmt: skip
PUBLISHED = {
    UNIFORM: {
        "v3d_acc@0.25": 58.12, "v3d_acc@0.5": 51.72,
        "v3d_unique_acc@0.25": 87.97, "v3d_unique_acc@0.5": 78.32,
        "v3d_multiple_acc@0.25": 50.93, "v3d_multiple_acc@0.5": 45.32,
    },
    MAX_COVERAGE: {"v3d_acc@0.25": 57.87, "v3d_acc@0.5": 51.18},
    **peer_numbers(
        ("v3d_acc@0.25", "v3d_acc@0.5"),
        {
            "GPT4Scene-HDM": (62.6, 57.0), "3DRS": (62.9, 56.1), "Ross3D": (61.1, 54.4), "VEGA-3D": (63.2, 56.2),
            "VeBrain": (66.4, 60.2), "LLaVA-3D": (50.1, 42.7), "VG-LLM-8B (RGB only)": (54.4, 47.9),
            "Chat-Scene": (55.5, 50.2),
        },
    ),
}  # fmt: skip

TASK = TaskSpec(
    name=NAME,
    files={split: (f"ScanRefer_filtered_{split}.json",) for split in ("train", "val", "test")},
    hidden_splits=("test",),
    is_grounding=True,
    needs_boxes=True,
    read=read,
    docs=docs,
    doc_fields={
        "object_id": Text(64),
        "object_name": Text(512),
        "ann_id": Text(512),
        "description": SENTENCE,
        "eval_type": kinds.NAME,
        "multiple": YES_NO,
        "others": YES_NO,
        "gt_box": (BOX, None),
    },
    questions=questions,
    processed=ProcessedFiles("scanrefer_vg_{}_llava_style.json", read_processed, write_processed),
    plain_prompt=(
        "Which object does this description mean?\n{description}\n"
        f"Answer with its axis-aligned 3D bounding box only, {PLAIN_BOX}."
    ),
    make_record=make_record,
    score_records=score_records,
    record_fields={
        "iou": OVERLAP,
        "iou_float32": OVERLAP,
        "box?": (ANY_BOX, None),
        "gt_box?": ANY_BOX,
        "multiple": YES_NO,
        "others": YES_NO,
        "v3d_multiple": YES_NO,
    },
    headline=("acc@0.25", "acc@0.5"),
    main_metric="acc@0.5",
    metrics=(
        *(f"{group}acc@{at}" for group in _GROUPS for at in _AT),
        *(f"v3d_{group}acc@{at}" for group in _GROUPS for at in _AT),
        *(f"m3dref_acc@{at}" for at in _AT),
        "count_missing",
        "count_unreadable",
    ),
    id_fields=(("scene_id", "object_id", "ann_id"),),
    predictions=PredictionFiles(
        official_names={"bbox": "box", "aabb": "boxes"},
        flags=FLAGS,
        reference_kind=ANY_BOX,
        reference_doc=reference_doc,
        extra_record=extra_record,
    ),
    submission=submission,
    question_count=9508,
    published=PUBLISHED,
    bars=tuple((f"{label} @{at}", f"{group}acc@{at}") for at in _AT for label, group in _BARS.items()),
    example_fields=(("description", "description"),),
    item_score=lambda record: record["iou"],
    score_meaning="IoU",
    show=show,
)  # fmt: skip
