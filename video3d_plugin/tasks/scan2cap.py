"""Scan2Cap (arXiv 2012.02206): describe the object at a position.

It is made of ScanRefer's annotations (`tasks.scanrefer`, train and val): an object and all its descriptions.

    {"scene_id": "scene0011_00", "object_id": "5", "object_name": "chair", "gt_box": [...], "box": [...] or None,
     "references": ["there is a brown chair ...", ...], "token": [["there", "is", ...], ...]}

Official scorer: https://github.com/DaveZhenyuChen/Scan2Cap/blob/b9e9610/lib/eval_helper.py
Boxes and prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, scripts/3d/preprocessing/process_scan2cap.py. For evaluation, the
object is given by the proposal of largest IoU with it (an oracle), if that is at least 0.5 (`--threshold` of `video3d
prepare`); for training, by its annotated box.

Fields of a document for scoring: scene_id, object_id, object_name, gt_box (6,), references, token or reference_tokens
(by default the references are split like ScanRefer's), box or input_box (6,) or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema import Text, fits
from video3d_plugin.metrics import captions
from video3d_plugin.metrics.dense_captions import DenseCaption, DescribedObject, benchmark
from video3d_plugin.metrics.iou import as_box, iou, iou_matrix
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.prompts import CAPTION_PROMPT, PLAIN_BOX
from video3d_plugin.scene import Question
from video3d_plugin.tasks import scan2cap_scenes, scanrefer
from video3d_plugin.tasks.annotations import THRESHOLD, Context, Doc, Item
from video3d_plugin.tasks.kinds import ANY_BOX, BOX, OVERLAP, POINT, REFERENCE, SAID, SENTENCE
from video3d_plugin.tasks.predictions import ParsedPrediction, text_of
from video3d_plugin.tasks.processed import (
    Conversation,
    ProcessedFiles,
    conversation_item,
    referring_item,
    referring_metadata,
)
from video3d_plugin.tasks.referring import item_id
from video3d_plugin.tasks.scoring import LEO_NAMES, CorpusNumbers, Scores
from video3d_plugin.tasks.spec import PredictionFiles, Record, TaskSpec
from video3d_plugin.tasks.systems import MAX_COVERAGE, UNIFORM, peer_numbers

NAME = "scan2cap"


# Annotation files


def docs(items: list[Item], split: str, context: Context) -> list[Doc]:
    """Make a document of each object (`TaskSpec.docs`): `box` is the oracle's proposal or None, `coords` its centre."""
    scanrefer.add_groups(items, context)
    by_object: dict[str, list[Item]] = {}
    for item in items:
        by_object.setdefault(object_key(item), []).append(item)
    result = []
    for key, described in by_object.items():
        first = described[0]
        boxes = context.boxes_if_there(first["scene_id"], [first["object_number"]])
        if boxes is None:
            continue
        box, overlap = oracle_proposal(context.scenes[first["scene_id"]].proposals, boxes[0], context.threshold)
        result.append(
            {
                "task": NAME,
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
                "box_iou": overlap,
                "coords": [box[:3]] if box is not None else [],
                "prompt": CAPTION_PROMPT,
            }
        )
    return result


def oracle_proposal(
    proposals: np.ndarray, box: Sequence[float], threshold: float = THRESHOLD
) -> tuple[list[float] | None, float | None]:
    """Return the proposal of largest IoU with a box; of equal ones the first.

    Args:
        proposals: (N, 6) boxes.
        box: (6,) box.
        threshold: Smallest IoU that counts.

    Returns:
        The proposal and its IoU; (None, None) if the IoU is below the threshold.
    """
    if not len(proposals):
        return None, None
    ious = iou_matrix(np.asarray(proposals, np.float64), np.asarray([box]))[:, 0]
    best = int(np.argmax(ious))
    if ious[best] < threshold or not ious[best] > 0:
        return None, None
    return [float(value) for value in proposals[best]], float(ious[best])


def questions(items: list[Item], split: str, context: Context) -> list[Question]:
    """Make a question of each description, about the centre of the object's annotated box (`TaskSpec.questions`)."""
    result = []
    for item in items:
        boxes = context.boxes_if_there(item["scene_id"], [item["object_number"]])
        if boxes is None:
            continue
        x, y, z = boxes[0][:3]
        result.append(
            Question(
                task=NAME,
                item_id=item_id(item),
                scene_id=item["scene_id"],
                prompt=CAPTION_PROMPT,
                answer=item["description"].capitalize(),
                coords=((x, y, z),),
            )
        )
    return result


def object_key(item: Mapping[str, Any]) -> str:
    """Return the official id of an object."""
    return f"{item['scene_id']}|{item['object_id']}|{item['object_name']}"


def read_processed(conversation: Conversation) -> list[Item]:
    """Read an item of a processed file (`ProcessedFiles.read`)."""
    descriptions = conversation.item.get("annotations", [conversation.answer])
    return [referring_item(conversation, str(description)) for description in descriptions]


def write_processed(items: list[Item], split: str, context: Context) -> list[Item]:
    """Make the items of a processed file (`ProcessedFiles.write`): each description for training, else each object."""
    scanrefer.add_groups(items, context)
    descriptions: dict[str, list[str]] = {}
    for item in items:
        descriptions.setdefault(object_key(item), []).append(item["description"])
    objects: set[str] = set()
    result = []
    for number, item in enumerate(items):
        key = object_key(item)
        if split != "train" and key in objects:
            continue
        objects.add(key)
        boxes = context.boxes_if_there(item["scene_id"], [item["object_number"]])
        if boxes is None:
            continue
        box: list[float] | None = list(boxes[0])
        more: dict[str, Any] = {}
        if split != "train":
            proposals = np.asarray(context.scenes[item["scene_id"]].proposals, np.float64)
            box, _ = oracle_proposal(proposals, boxes[0])
            more = {"annotations": descriptions[key]}
        metadata, answer = referring_metadata(NAME, item, item["object_id"]), item["description"].capitalize()
        more = {"box_input": box, "gt_box": list(boxes[0]), "metadata": metadata, **more}
        result.append(conversation_item(number, item["scene_id"], CAPTION_PROMPT, answer, **more))
    return result


# Records and numbers


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """Make the record of an object (`TaskSpec.make_record`).

    The caption describes the box of the prediction, or for a text the box that the model was given.
    """
    status, caption = text_of(prediction, "caption")
    fields = prediction.fields or {}
    box = fields["box"] if "box" in fields else doc.get("input_box", doc.get("box"))
    tokens = fields.get("tokens")
    try:
        box = None if box is None else as_box(box, "caption's box").tolist()
        if tokens is not None and not fits(tokens, [Text(512)]):
            raise DataError("the caption's tokens are not a list of texts")
    except DataError:
        box, status, tokens = None, "unreadable", None
    object_name = doc.get("object_name", "")
    record = {
        "id": f"{doc['scene_id']}|{doc['object_id']}|{object_name}",
        "scene_id": doc["scene_id"],
        "object_id": str(doc["object_id"]),
        "object_name": object_name,
        "status": status,
        "caption": caption,
        "box": box,
        "gt_box": [float(v) for v in doc["gt_box"]],
        "iou": None if box is None else iou(box, doc["gt_box"]),
        "references": list(doc["references"]),
        "reference_tokens": _reference_tokens(doc),
    }
    if tokens is not None:
        record["tokens"] = list(tokens)
    return record


def _reference_tokens(doc: Mapping[str, Any]) -> list[list[str]]:
    """The annotation file's tokens; a description without tokens is split like them."""
    tokens = doc.get("reference_tokens", doc.get("token")) or [None] * len(doc["references"])
    return [list(t or captions.scanrefer_tokens(text)) for t, text in zip(tokens, doc["references"], strict=True)]


def caption_item(record: Mapping[str, Any]) -> captions.Scan2CapItem:
    """Return the item of a record for `metrics.captions`."""
    return captions.Scan2CapItem(
        key=record["id"],
        caption=record["caption"],
        iou=record["iou"],
        descriptions=record["references"],
        reference_tokens=record["reference_tokens"],
        tokens=record.get("tokens"),
    )


def score_records(records: Sequence[Record], score: Scorer) -> Scores:
    """Compute the metrics (`TaskSpec.score_records`)."""
    known = [r for r in records if not r.get("extra")]
    items = [caption_item(r) for r in known]
    lines = [caption_item(r) for r in known if r["status"] != "missing"]
    numbers = CorpusNumbers(score)
    for at in (0.5, 0.25):
        numbers.add(partial(captions.official_pairs, items, at), "", f"@{at:g}")
    numbers.add(lambda: captions.v3d_pairs(lines), "v3d_", "@0.5")
    numbers.add(lambda: captions.leo_pairs(items), "leo_", "@0.5", LEO_NAMES)
    for at in (0.5, 0.25):
        numbers.add(partial(captions.chatscene_pairs, items, at), "chatscene_", f"@{at:g}")
    values, missing = benchmark(_dense_captions(known), _described_objects(known), score)
    counts = {"no_box": sum(r["box"] is None for r in known)}
    return Scores({**numbers.values, **values}, counts, {**numbers.missing, **missing})


def _dense_captions(records: Sequence[Record]) -> dict[str, list[DenseCaption]]:
    """Predictions by scene: the captions with a box."""
    predictions: dict[str, list[DenseCaption]] = {}
    for r in records:
        if r["box"] is not None and r["status"] != "missing":
            sentence = captions.official_sentence(caption_item(r).caption_tokens())
            predictions.setdefault(r["scene_id"], []).append(DenseCaption(r["box"], sentence))
    return predictions


def _described_objects(records: Sequence[Record]) -> list[DescribedObject]:
    return [DescribedObject(r["scene_id"], r["object_id"], r["gt_box"], r["reference_tokens"]) for r in records]


def corpus_scores(records: Sequence[Record]) -> dict[str, float]:
    """Return CIDEr by caption, which depends on all captions (`TaskSpec.corpus_scores`)."""
    hypotheses, references = captions.official_pairs([caption_item(record) for record in records])
    scores = Scorer(without_meteor="one item's score")(hypotheses, references).items["cider"]
    return {} if scores is None else dict(zip(hypotheses, map(float, scores), strict=True))


# Files of predictions


def response_prediction(doc: Mapping[str, Any], response: str) -> dict[str, Any]:
    """Make the prediction of a model's response: a caption of the given box."""
    return {"caption": response, "box": doc["box"]}


def read_value(value: Any) -> Any:
    """Convert the value of `prediction` in a file. In the official form, a list, listed objects count as detected."""
    if not isinstance(value, list):
        return value
    words = value[0].split() if value and isinstance(value[0], str) else []
    words = words[1:] if words[:1] == ["sos"] else words
    words = words[:-1] if words[-1:] == ["eos"] else words
    return {"caption": " ".join(words), "tokens": words, "detected": True}


def place(doc: Doc, prediction: Any) -> Any:
    """Set the box of a detected caption of the official form to the object's box (`PredictionFiles.place`)."""
    if isinstance(prediction, Mapping) and prediction.get("detected"):
        return {**prediction, "box": doc["gt_box"]}
    return prediction


def reference_doc(item: Mapping[str, Any]) -> Doc:
    """Make a document of a line of Video-3D-LLM's output (`PredictionFiles.reference_doc`).

    The line has no boxes. A caption that is not empty belongs to a sufficient proposal.
    """
    scene, sample = str(item.get("scene", "")), str(item.get("sample_id", ""))
    box = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    input_box = box if item.get("pred_response") else None
    ids = {"scene_id": scene, "object_id": sample, "object_name": ""}
    return {**ids, "gt_box": box, "input_box": input_box, "references": item["gt_response"]}


def score_scenes(path: Path, documents: Callable[[], Sequence[Doc]], score: Scorer | None) -> Scores | None:
    """Score a file of captions of whole scenes (`PredictionFiles.score_scenes`)."""

    def objects() -> list[DescribedObject]:
        return _described_objects([TASK.record(doc, None) for doc in documents()])

    return scan2cap_scenes.score_file(path, objects, score)


# Report and viewer


def show(record: Record) -> dict[str, Any]:
    """Return the fields for the viewer (`TaskSpec.show`)."""
    return {
        "question": f"Describe the object here ({record['object_name'] or record['object_id']})",
        "answer": record["caption"],
        "expected": [str(text) for text in record["references"]],
        "point": [float(v) for v in record["box"][:3]] if record["box"] else None,
    }


_SHOWN = ("cider", "bleu4", "meteor", "rouge")
_V3D = tuple(f"v3d_{name}@0.5" for name in _SHOWN)
PUBLISHED = {
    UNIFORM: dict(zip(_V3D, (83.77, 42.43, 28.87, 62.34), strict=True)),
    MAX_COVERAGE: dict(zip(_V3D, (80.00, 40.18, 28.49, 61.68), strict=True)),
    **peer_numbers(
        ("v3d_cider@0.5",),
        {
            "GPT4Scene-HDM": (86.3,), "3DRS": (86.1,), "Ross3D": (81.3,), "VEGA-3D": (83.2,), "LLaVA-3D": (84.1,),
            "VG-LLM-8B (RGB only)": (76.4,), "Chat-Scene": (77.1,), "LEO": (72.4,),
        },
    ),
}  # fmt: skip

TASK = TaskSpec(
    name=NAME,
    files={split: scanrefer.TASK.files[split] for split in ("train", "val")},
    needs_boxes=True,
    needs_point=True,
    read=scanrefer.read,
    docs=docs,
    doc_fields={
        "object_id": Text(64),
        "object_name": Text(512),
        "references": [SENTENCE],
        "token": [[Text(512)]],
        "gt_box": BOX,
        "box": (BOX, None),
        "coords": [POINT],
    },
    questions=questions,
    processed=ProcessedFiles("scan2cap_{}_llava_style.json", read_processed, write_processed),
    plain_prompt=f"There is an object in {PLAIN_BOX}: {{box}}.\nDescribe this object and where it is, in one or two "
    "sentences.",
    text_keys=("caption",),
    response_prediction=response_prediction,
    make_record=make_record,
    score_records=score_records,
    record_fields={
        "object_id": str,
        "caption": SAID,
        "box": (ANY_BOX, None),
        "gt_box": ANY_BOX,
        "iou": (OVERLAP, None),
        "references": [REFERENCE],
        "reference_tokens": [[Text(512)]],
    },
    headline=tuple(f"{name}@0.5" for name in _SHOWN),
    main_metric="cider@0.5",
    metrics=(*(f"{prefix}{name}@0.5" for prefix in ("", "v3d_") for name in _SHOWN), "count_missing", "count_no_box"),
    id_fields=(("scene_id", "object_id", "object_name"), ("scene_id", "object_id")),
    predictions=PredictionFiles(
        read_value=read_value,
        value_kind=[SAID],
        reference_kind=[REFERENCE],
        reference_doc=reference_doc,
        place=place,
        score_scenes=score_scenes,
    ),
    question_count=2068,
    published=PUBLISHED,
    bars=tuple((f"{n} @{at}", f"{n}@{at}") for at in ("0.25", "0.5") for n in ("bleu4", "meteor", "rouge", "cider")),
    example_fields=(("object", "object_name"), ("prediction", "caption"), ("descriptions", "references")),
    corpus_scores=corpus_scores,
    score_meaning="CIDEr x 10 of the official sentence",
    show=show,
)
