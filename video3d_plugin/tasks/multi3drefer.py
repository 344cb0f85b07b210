"""Multi3DRefer (arXiv 2309.05251): locate all objects that a description refers to: none, one or several.

multi3drefer_{train,val,test}.json:

    {"scene_id": "scene0011_00", "object_ids": [5, 7], "object_name": "chair", "ann_id": 12, "eval_type": "mt",
     "description": "the brown chairs at the table", "spatial": true, "color": true, "texture": false, "shape": false}

Official scorer: https://github.com/3dlg-hcvc/M3DRef-CLIP/tree/babfcc4/m3drefclip/evaluation
Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, scripts/3d/preprocessing/process_multi3drefer.py

Fields of a document for scoring: scene_id, ann_id, description, eval_type, gt_boxes (G, 6), object_ids (to find
repeated ids).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from video3d_plugin.files.schema import Text, Whole
from video3d_plugin.metrics import grounding
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.selection import HALF, PAPER_MASS, SCRIPT_MASS, Rule, by_mass
from video3d_plugin.prompts import GROUND_ANSWER, PLAIN_BOX, grounding_prompt
from video3d_plugin.scene import Question
from video3d_plugin.tasks import kinds
from video3d_plugin.tasks.annotations import UNKNOWN, Context, Doc, Item, object_number, read_items
from video3d_plugin.tasks.kinds import ANY_BOX, BOX, ID, OVERLAP, SENTENCE
from video3d_plugin.tasks.predictions import ParsedPrediction, predicted_boxes
from video3d_plugin.tasks.processed import (
    Conversation,
    ProcessedFiles,
    conversation_item,
    description_of,
    referring_metadata,
)
from video3d_plugin.tasks.scoring import Scores
from video3d_plugin.tasks.spec import Boxes, PredictionFiles, Record, TaskSpec
from video3d_plugin.tasks.systems import MAX_COVERAGE, UNIFORM

NAME = "multi3drefer"
RULES = (by_mass(SCRIPT_MASS), by_mass(PAPER_MASS), HALF)
_FIELDS = {"scene_id": str, "object_ids": list, "ann_id": (int, str), "description": str}
_TRAITS = ("spatial", "color", "texture", "shape")


# Annotation files


def read(paths: Sequence[Path]) -> list[Item]:
    """Read the annotation file; object ids become numbers (`TaskSpec.read`)."""
    items = read_items(paths[0], _FIELDS)
    for index, item in enumerate(items):
        item["object_ids"] = [object_number(value, paths[0], index) for value in item["object_ids"]]
    return items


def docs(items: list[Item], split: str, context: Context) -> list[Doc]:
    """Make a document of each description (`TaskSpec.docs`), with a box for each object id, also a repeated one."""
    result = []
    for item in items:
        boxes = context.boxes_if_there(item["scene_id"], item["object_ids"])
        if boxes is None:
            continue
        result.append(
            {
                "task": NAME,
                "split": split,
                "item_id": item_id(item),
                "scene_id": item["scene_id"],
                "object_ids": item["object_ids"],
                "object_name": str(item.get("object_name", "")),
                "ann_id": item["ann_id"],
                "eval_type": str(item.get("eval_type", UNKNOWN)),
                "description": item["description"],
                **{trait: bool(item.get(trait, False)) for trait in _TRAITS},
                "gt_boxes": [list(box) for box in boxes],
                "prompt": grounding_prompt(item["description"], several=True),
            }
        )
    return result


def questions(items: list[Item], split: str, context: Context) -> list[Question]:
    """Make a question of each description (`TaskSpec.questions`); its targets are the objects, each once."""
    return [
        Question(
            task=NAME,
            item_id=item_id(item),
            scene_id=item["scene_id"],
            prompt=grounding_prompt(item["description"], several=True),
            answer=GROUND_ANSWER,
            targets=tuple(dict.fromkeys(item["object_ids"])),
        )
        for item in items
        if context.boxes_if_there(item["scene_id"], item["object_ids"]) is not None
    ]


def item_id(item: Mapping[str, Any]) -> str:
    """Return the official id of a description: ann_id is unique within a scene."""
    return f"{item['scene_id']}|{item['ann_id']}"


def read_processed(conversation: Conversation) -> list[Item]:
    """Read an item of a processed file (`ProcessedFiles.read`)."""
    metadata = conversation.item["metadata"]
    ids = [object_number(value, conversation.path, conversation.index) for value in metadata["object_id"]]
    return [
        {
            "scene_id": conversation.scene_id,
            "object_ids": ids,
            "ann_id": metadata["ann_id"],
            "eval_type": str(metadata["question_type"]),
            "description": description_of(conversation.prompt),
        }
    ]


def write_processed(items: list[Item], split: str, context: Context) -> list[Item]:
    """Make the items of a processed file (`ProcessedFiles.write`)."""
    result = []
    for number, item in enumerate(items):
        boxes = context.boxes_if_there(item["scene_id"], item["object_ids"])
        if boxes is not None:
            prompt = grounding_prompt(item["description"], several=True)
            metadata = referring_metadata(NAME, item, item["object_ids"])
            more = {"box": [list(box) for box in boxes], "metadata": metadata}
            result.append(conversation_item(number, item["scene_id"], prompt, GROUND_ANSWER, **more))
    return result


# Records and numbers


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction, *, rules: Sequence[Rule] = RULES) -> Record:
    """Make the record of a question (`TaskSpec.make_record`), with F1 of both conventions for each rule.

    An unreadable text does not count as "no object": its F1 is 0.

    Args:
        doc: The evaluation document.
        prediction: The parsed prediction.
        rules: Rules for selecting boxes from scores.
    """
    status, selected = predicted_boxes(prediction, rules)
    truth, ids = [list(map(float, b)) for b in doc["gt_boxes"]], doc.get("object_ids")
    distinct = list(dict(zip(ids, truth, strict=True)).values()) if ids and len(ids) == len(truth) else truth
    readable = status not in ("unreadable", "empty")
    by_rule = {
        name: {
            "boxes": boxes,
            "m3dref": grounding.f1_m3dref(boxes, distinct, doc["eval_type"]) if readable else (0.0, 0.0),
            "v3d": grounding.f1_v3d(boxes, truth) if readable else (0.0, 0.0),
        }
        for name, boxes in selected.items()
    }
    return {
        "id": item_id(doc),
        "scene_id": doc["scene_id"],
        "ann_id": doc["ann_id"],
        "description": doc.get("description", ""),
        "status": status,
        "eval_type": doc["eval_type"],
        "gt_boxes": truth,
        "object_ids": ids,
        "chosen": by_rule,
    }


def plain_selection(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return boxes and F1 of a record by the first rule, whose metrics have names without a prefix."""
    return next(iter(record["chosen"].values()))


def score_records(records: Sequence[Record], _score: Scorer, *, rules: Sequence[Rule] = RULES) -> Scores:
    """Compute the metrics for each rule (`TaskSpec.score_records`)."""
    """The first rule under the plain names, another with its name before: `mass0.25_v3d_f1@0.5`, `half_f1@0.5`."""
    known = [r for r in records if not r.get("extra")]
    values: dict[str, float | None] = {}
    for rule in rules:
        items = [
            grounding.Multi3DReferItem(
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


def item_score(record: Record) -> float:
    """Return the official F1 at IoU 0.25 of one question."""
    return plain_selection(record)["m3dref"][0] if record["status"] != "missing" else 0.0


# Files of predictions, report and viewer


def reference_doc(item: Mapping[str, Any]) -> Doc:
    """Make a document of a line of Video-3D-LLM's output (`PredictionFiles.reference_doc`)."""
    scene, sample = str(item.get("scene", "")), str(item.get("sample_id", ""))
    kind = str(item.get("question_type", ""))
    return {"scene_id": scene, "ann_id": sample, "gt_boxes": item["gt_response"], "eval_type": kind}


def boxes(record: Mapping[str, Any]) -> tuple[Boxes, Boxes]:
    """Return (true boxes, predicted boxes) of a record."""
    return record["gt_boxes"], plain_selection(record)["boxes"]


def show(record: Record) -> dict[str, Any]:
    """Return the fields for the viewer (`TaskSpec.show`)."""
    selected = plain_selection(record)
    return {
        "question": record["description"],
        "verdict": "right" if record["status"] != "missing" and selected["m3dref"][1] == 1 else "wrong",
        "answer": None if selected["boxes"] else "nothing fits",
        "expected": [] if record["gt_boxes"] else ["nothing fits"],
    }


_AT = (0.25, 0.5)
_OTHER_NUMBERS = ("v3d_", "mass0.25_", "mass0.25_v3d_", "half_", "half_v3d_")
PUBLISHED = {
    UNIFORM: {
        "mass0.25_v3d_f1@0.25": 58.0, "mass0.25_v3d_f1@0.5": 52.7,
        "mass0.25_v3d_zt_wo_d_f1@0.25": 94.7, "mass0.25_v3d_zt_w_d_f1@0.25": 78.5,
        "mass0.25_v3d_st_wo_d_f1@0.25": 82.6, "mass0.25_v3d_st_wo_d_f1@0.5": 73.4,
        "mass0.25_v3d_st_w_d_f1@0.25": 52.1, "mass0.25_v3d_st_w_d_f1@0.5": 47.2,
        "mass0.25_v3d_mt_f1@0.25": 40.8, "mass0.25_v3d_mt_f1@0.5": 35.7,
    },
    MAX_COVERAGE: {"mass0.25_v3d_f1@0.25": 57.9, "mass0.25_v3d_f1@0.5": 52.4},
}  # fmt: skip


def task_at(mass: float = SCRIPT_MASS) -> TaskSpec:
    """Make the benchmark with boxes selected by a cumulative mass. Metrics of the other rules have prefixes.

    Args:
        mass: The cumulative probability of the selected boxes.
    """
    rules = (by_mass(mass), *(rule for rule in RULES[1:] if rule.name != by_mass(mass).name))
    return TaskSpec(
        name=NAME,
        files={split: (f"multi3drefer_{split}.json",) for split in ("train", "val", "test")},
        hidden_splits=("test",),
        is_grounding=True,
        needs_boxes=True,
        read=read,
        docs=docs,
        doc_fields={
            "object_ids": [Whole(0)],
            "ann_id": ID,
            "eval_type": kinds.NAME,
            "description": SENTENCE,
            "gt_boxes": [BOX],
        },
        questions=questions,
        processed=ProcessedFiles("multi3drefer_{}_llava_style.json", read_processed, write_processed),
        plain_prompt=(
            "Which objects does this description mean? There may be none, one or several.\n{description}\n"
            f"Answer with a JSON list of their axis-aligned 3D bounding boxes only, each {PLAIN_BOX}; [] if there is "
            "none."
        ),
        make_record=partial(make_record, rules=rules),
        score_records=partial(score_records, rules=rules),
        record_fields={
            "ann_id": (Text(512), int),
            "eval_type": str,
            "gt_boxes": [ANY_BOX],
            "chosen": {
                rule.name: {"m3dref": [OVERLAP] * 2, "v3d": [OVERLAP] * 2, "boxes": [ANY_BOX]} for rule in rules
            },
        },
        headline=("f1@0.25", "f1@0.5"),
        main_metric="f1@0.5",
        metrics=(
            *(f"{kind}f1@{at}" for kind in ("", *(f"{kind}_" for kind in grounding.TARGET_TYPES)) for at in _AT),
            *(f"{prefix}f1@{at}" for prefix in _OTHER_NUMBERS for at in _AT),
            "count_missing",
            "count_unreadable",
        ),
        with_mass=task_at,
        id_fields=(("scene_id", "ann_id"),),
        predictions=PredictionFiles(
            official_names={"bbox": "box", "aabb": "boxes"},
            folder_of_scenes=True,
            reference_kind=[ANY_BOX],
            reference_doc=reference_doc,
        ),
        question_count=11120,
        published=PUBLISHED,
        bars=tuple((f"{kind} @{at}", f"{kind}_f1@{at}") for at in _AT for kind in grounding.TARGET_TYPES),
        example_fields=(("description", "description"), ("type", "eval_type")),
        item_score=item_score,
        score_meaning="F1@0.25",
        boxes=boxes,
        show=show,
    )


TASK = task_at()
