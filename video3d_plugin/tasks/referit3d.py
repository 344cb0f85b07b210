"""ReferIt3D (ECCV 2020): identify the object that an utterance refers to. Shared by Nr3D and Sr3D.

Definitions are those of referit3d/referit3d 725a5d3:

    items       utterances that mention the target's class, with at most 24 tokens (in_out/neural_net_oriented.py); of
                the test split, only those whose target is not the only object of its class (listening_dataset.py)
    train, test the scans of ScanNet v2's training list, and all others
    easy, hard  at most 2 objects of the target's class in the scene (`n_objects` of stimulus_id), or more
    view_dep    whether one of 10 words, such as "left", is a token (analysis/utterances.py)
    acc         share of utterances for which the target is chosen among the scene's annotated objects

`acc` is known where a prediction scores proposals among which the target's box is (`--model_args proposals=gt`).
acc@0.25 and acc@0.5 need a box only, as in LaVi-Lab/Video-3D-LLM 3ff70e8, llava/eval/eval_nr3d.py. A question without
a prediction is wrong.
"""

from __future__ import annotations

import csv
import io
import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema import Text, shown
from video3d_plugin.files.text import read_text
from video3d_plugin.metrics.iou import as_boxes, iou
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.prompts import PLAIN_BOX, grounding_prompt
from video3d_plugin.scene import Question
from video3d_plugin.tasks.annotations import Context, Doc, Item
from video3d_plugin.tasks.kinds import ANY_BOX, BOX, LONGEST_REFERENCE, OVERLAP, SENTENCE, YES_NO
from video3d_plugin.tasks.predictions import ParsedPrediction, predicted_box
from video3d_plugin.tasks.referring import item_id, referring_question
from video3d_plugin.tasks.scannet_tables import shipped_splits
from video3d_plugin.tasks.scoring import Scores
from video3d_plugin.tasks.spec import PredictionFiles, Record, TaskSpec

COLUMNS = ("scan_id", "stimulus_id", "target_id", "instance_type", "utterance", "tokens", "mentions_target_class")
MOST_TOKENS = 24
EASY_OBJECTS = 2  # objects of the target's class in the scene, the target included
VIEW_WORDS = frozenset("front behind back right left facing leftmost rightmost looking across".split())
THRESHOLDS = (0.25, 0.5)
SAME_BOX_IOU = 0.999  # boxes of predictions are rounded to float32
NO_CHOICE = "predictions do not score the annotated boxes (evaluate with --model_args proposals=gt)"
_FILE_BYTES = 1 << 27
_STIMULUS = re.compile(r"[^-]+-[^-]+-(\d{1,3})-(\d{1,6})(?:-.*)?")
_REMEDY = "expected the benchmark's official CSV file"


# Annotation files


def read(paths: Sequence[Path]) -> list[Item]:
    """Read the annotation file (`TaskSpec.read`): all rows, of both splits."""
    path = paths[0]
    text = read_text(path, _FILE_BYTES, remedy=_REMEDY)
    items = []
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if missing := set(COLUMNS) - set(rows.fieldnames or ()):
            raise DataError(f"no column {', '.join(sorted(missing))}", where=path, remedy=_REMEDY)
        for number, row in enumerate(rows):
            try:
                items.append(_item(number, row))
            except ValueError as error:
                raise DataError(f"item {number}: {error}", where=path, remedy=_REMEDY) from None
    except csv.Error as error:
        raise DataError(f"not a CSV file: {error}", where=path, remedy=_REMEDY) from None
    return items


def _item(number: int, row: Mapping[str, Any]) -> Item:
    """Check a row. Raises ValueError with what is wrong."""
    for name in COLUMNS:
        if not isinstance(row[name], str) or not 0 < len(row[name]) <= LONGEST_REFERENCE:
            raise ValueError(f"{name} is {shown(row[name])}")
    stimulus = _STIMULUS.fullmatch(row["stimulus_id"])
    if stimulus is None or len(row["scan_id"]) > 128:
        raise ValueError(f"stimulus_id is {shown(row['stimulus_id'])}, expected SCAN-CLASS-COUNT-TARGET-...")
    target = row["target_id"]
    if not (target.isascii() and target.isdigit() and len(target) < 10):
        raise ValueError(f"target_id is {shown(target)}")
    if row["mentions_target_class"].lower() not in ("true", "false"):
        raise ValueError(f"mentions_target_class is {shown(row['mentions_target_class'])}, expected True or False")
    return {
        "scene_id": row["scan_id"],
        "object_id": target,
        "object_number": int(target),
        "object_name": row["instance_type"],
        "ann_id": str(number),
        "description": row["utterance"],
        "token": _tokens(row["tokens"]),
        "mentions_class": row["mentions_target_class"].lower() == "true",
        "objects_of_class": int(stimulus[1]),
    }


def _tokens(text: str) -> list[str]:
    try:
        tokens = literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        tokens = None
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"tokens is {shown(text)}, expected a list of words")
    return tokens


def is_training_scan(scene_id: str) -> bool:
    """Return whether a scan is in ScanNet v2's training list."""
    return shipped_splits().get(scene_id) == "train"


def _of_split(items: list[Item], split: str, context: Context) -> list[Item]:
    """Return the items of a split that ReferIt3D evaluates and that have a scene and a box; others are counted."""
    result = []
    for item in items:
        scene_id = item["scene_id"]
        if is_training_scan(scene_id) != (split == "train") or not context.has_scene(scene_id):
            continue
        if not item["mentions_class"]:
            context.skip("the target's class is not mentioned", scene_id)
        elif len(item["token"]) > MOST_TOKENS:
            context.skip(f"more than {MOST_TOKENS} tokens", scene_id)
        elif split != "train" and item["objects_of_class"] < 2:
            context.skip("the target is the only object of its class", scene_id)
        elif context.boxes_of(scene_id, [item["object_number"]]) is not None:
            result.append(item)
    return result


def docs(task: str, items: list[Item], split: str, context: Context) -> list[Doc]:
    """Make a document of each utterance of a split (`TaskSpec.docs`)."""
    return [
        {
            "task": task,
            "split": split,
            "item_id": item_id(item),
            **{name: item[name] for name in ("scene_id", "object_id", "object_name", "ann_id", "description")},
            "easy": item["objects_of_class"] <= EASY_OBJECTS,
            "view_dependent": not VIEW_WORDS.isdisjoint(item["token"]),
            "gt_box": list(context.scenes[item["scene_id"]].boxes[item["object_number"]]),
            "prompt": grounding_prompt(item["description"]),
        }
        for item in _of_split(items, split, context)
    ]


def questions(task: str, items: list[Item], split: str, context: Context) -> list[Question]:
    """Make a training question of each utterance of a split (`TaskSpec.questions`)."""
    return [referring_question(task, item) for item in _of_split(items, split, context)]


# Records and numbers


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """Make the record of a question (`TaskSpec.make_record`). `chose_target` is None where no choice can be seen."""
    status, box = predicted_box(prediction)
    overlap = 0.0 if box is None else iou(box, doc["gt_box"])
    return {
        "id": item_id(doc),
        **{name: str(doc[name]) for name in ("scene_id", "object_id", "ann_id")},
        "description": doc.get("description", ""),
        "status": status,
        "easy": doc.get("easy"),
        "view_dependent": doc.get("view_dependent"),
        "gt_box": [float(v) for v in doc["gt_box"]],
        "box": box,
        "iou": overlap,
        "chose_target": _chose_target(prediction, overlap, doc["gt_box"]) if status == "ok" else False,
    }


def _chose_target(prediction: ParsedPrediction, overlap: float, truth: Sequence[float]) -> bool | None:
    if prediction.fields is None or not prediction.has_scores:
        return None
    candidates = as_boxes(prediction.fields.get("boxes", ()), "proposals").tolist()
    return overlap >= SAME_BOX_IOU if any(iou(box, truth) >= SAME_BOX_IOU for box in candidates) else None


GROUPS = {"": (None, True), "easy_": ("easy", True), "hard_": ("easy", False)} | {
    "view_dep_": ("view_dependent", True),
    "view_indep_": ("view_dependent", False),
}
BARS = {
    "easy": "easy_", "hard": "hard_", "view-dependent": "view_dep_", "view-independent": "view_indep_",
}  # fmt: skip


def score_records(records: Sequence[Record], _score: Scorer) -> Scores:
    """Compute the metrics (`TaskSpec.score_records`)."""
    known = [record for record in records if not record.get("extra")]
    values: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    missing: dict[str, str] = {}
    for group, (field, value) in GROUPS.items():
        members = [r for r in known if field is None or r[field] is value]
        choices = [r["chose_target"] for r in members]
        values[f"{group}acc"] = None if None in choices else _percent(choices)
        if None in choices:
            missing[f"{group}acc"] = NO_CHOICE
        for at in THRESHOLDS:
            values[f"{group}acc@{at}"] = _percent([r["iou"] >= at for r in members])
        if field is not None:
            counts[group.rstrip("_")] = len(members)
    return Scores(values, counts, missing)


def _percent(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


def show(record: Record) -> dict[str, Any]:
    """Return the fields for the viewer (`TaskSpec.show`)."""
    right = record["iou"] >= THRESHOLDS[-1] if record["chose_target"] is None else record["chose_target"]
    return {"question": record["description"], "verdict": "right" if right else "wrong"}


def referit3d(name: str, file: str, question_count: int | None = None) -> TaskSpec:
    """Make the TaskSpec of a benchmark of ReferIt3D.

    Args:
        name: Name of the benchmark.
        file: Name of its CSV file, which holds both splits.
        question_count: Number of questions of the test split; None if not known.
    """
    names = tuple(f"{group}acc{at}" for at in ("", *(f"@{t}" for t in THRESHOLDS)) for group in GROUPS)
    return TaskSpec(
        name=name,
        files={"train": (file,), "test": (file,)},
        eval_split="test",
        is_grounding=True,
        needs_boxes=True,
        read=read,
        docs=lambda items, split, context: docs(name, items, split, context),
        doc_fields={
            "object_id": Text(64),
            "object_name": Text(512),
            "ann_id": Text(512),
            "description": SENTENCE,
            "easy": bool,
            "view_dependent": bool,
            "gt_box": BOX,
        },
        questions=lambda items, split, context: questions(name, items, split, context),
        plain_prompt=(
            "Which object does this description mean?\n{description}\n"
            f"Answer with its axis-aligned 3D bounding box only, {PLAIN_BOX}."
        ),
        make_record=make_record,
        score_records=score_records,
        record_fields={
            "iou": OVERLAP,
            "box?": (ANY_BOX, None),
            "gt_box?": ANY_BOX,
            **dict.fromkeys(("easy", "view_dependent", "chose_target"), YES_NO),
        },
        headline=("acc", "acc@0.5"),
        metrics=(*names, "count_missing", "count_unreadable"),
        id_fields=(("scene_id", "object_id", "ann_id"),),
        predictions=PredictionFiles(
            official_names={"bbox": "box"},
            extra_record=lambda flags: {
                "easy": None, "view_dependent": None, "box": None, "iou": 0.0, "chose_target": False,
            },
        ),
        question_count=question_count,
        bars=tuple((label, f"{group}acc@0.5") for label, group in BARS.items()),
        example_fields=(("description", "description"),),
        item_score=lambda record: record["iou"],
        score_meaning="IoU",
        show=show,
    )  # fmt: skip
