"""Files of predictions: our own lines, samples of lmms-eval, and each benchmark's official format.

any task       JSON lines, a JSON list, or {id: prediction}: an item has `id` (or `item_id`) or the official ids,
               and `prediction`, or the fields of a prediction themselves (see metrics.tasks)
any task       the `*_samples_<task>.jsonl` of lmms-eval: whole records, which need no annotations; with
               --predict_only just texts, which do
scanrefer      [{"scene_id", "object_id", "ann_id", "bbox": 8x3, "unique_multiple", "others"}]
multi3drefer   a folder of <scene_id>.json: [{"ann_id", "aabb": [8x3, ...]}]
scan2cap       {"scene|object_id|object_name": ["sos ... eos"]} (validation: what is listed was detected), or
               {scene_id: [{"caption", "box": 8x3, ...}]} (benchmark)
scanqa         [{"scene_id", "question_id", "answer_top10": [...]}]
sqa3d          [{"scene_id", "situation", "question", "answer", ...}]
any task       the lines that LaVi-Lab/Video-3D-LLM writes: "pred_response" (or "scores", "objects"), "gt_response"
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import JSON_BYTES, json_lines
from video3d_plugin.files.schema import Anything, Number, OneOf, Table, Text, Whole, check, shown
from video3d_plugin.files.text import read_text
from video3d_plugin.metrics.boxes import as_box
from video3d_plugin.metrics.records import BOX, check_record, record_in
from video3d_plugin.metrics.scan2cap_benchmark import BenchmarkCaption
from video3d_plugin.metrics.task_base import LONGEST_ANSWER, LONGEST_REFERENCE

# Of a line of Video-3D-LLM: `gt_response`, and what it has in place of `pred_response`.
_TRUTH: dict[str, Any] = {
    "scanrefer": BOX,
    "multi3drefer": [BOX],
    "scan2cap": [Text(LONGEST_REFERENCE)],
    "sqa3d": Text(LONGEST_REFERENCE),
}
_SCORED = {"scores": list, "objects": list}
_ID = (Text(2000), int, None)
_WORDS = (Text(LONGEST_ANSWER), Number(), None)
# What an item of any format may hold; what a model predicted as boxes is read as any prediction is.
_ITEM: dict[str, Any] = {
    **dict.fromkeys(("id?", "item_id?", "question_id?", "sample_id?", "scene_id?", "object_id?", "ann_id?"), _ID),
    **dict.fromkeys(("object_name?", "situation?", "question?", "question_type?", "scene?"), (Text(), int, None)),
    **dict.fromkeys(("caption?", "answer?"), _WORDS),
    **dict.fromkeys(("answers?", "answer_top10?", "pred_answers_at10?"), ([_WORDS], Text(LONGEST_ANSWER), None)),
    "tokens?": ([Text(512)], None),
    "has_zero_target?": (bool, None),
    "unique_multiple?": (bool, Whole(0, 1), OneOf(("unique", "multiple")), None),
    "others?": (bool, Whole(0, 1), None),
    "unanswered?": (Text(), bool, None),
    "prediction?": Anything(depth=8, finite=False),
}


@dataclass(frozen=True)
class Given:
    """One prediction of a file.

    keys        names under which its question may be known, the best first
    prediction  as metrics.tasks takes it
    flags       what an official file says of the item itself (ScanRefer's unique_multiple and others)
    reference   the ground truth where the line carries it (Video-3D-LLM)
    record      a whole record (a sample of lmms-eval), with which nothing else is needed
    """

    keys: tuple[str, ...]
    prediction: Any = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] | None = None
    record: dict | None = None


def read_predictions(task: str, path: Path) -> list[Given]:
    """Every prediction of a file or folder, in order; DataError naming the line or item that cannot be used."""
    if path.is_dir():
        return _read_folder(task, path)
    return [_given(task, item, f"{path}, {where}") for where, item in _items(path)]


def read_benchmark_captions(path: Path) -> dict[str, list[BenchmarkCaption]] | None:
    """Scan2Cap's benchmark form {scene_id: [{"caption", "box"}]}, or None where the file has another form."""
    if not path.is_file():
        return None
    content = _json(path) if path.suffix != ".jsonl" else None
    if not isinstance(content, dict) or not content:
        return None
    is_form = all(
        isinstance(v, list) and all(isinstance(c, dict) and {"caption", "box"} <= set(c) for c in v)
        for v in content.values()
    )
    if not is_form:
        return None
    check(content, Table([{"caption": Text(LONGEST_ANSWER)}]), path)
    return {
        scene: [
            BenchmarkCaption(as_box(c["box"], f"{path}, scene {scene!r}, caption {i}").tolist(), c["caption"])
            for i, c in enumerate(found)
        ]
        for scene, found in content.items()
    }


def _read_folder(task: str, path: Path) -> list[Given]:
    files = sorted(path.glob("*.json"))
    if task != "multi3drefer" or not files:
        raise DataError(
            "a folder of predictions", where=path, remedy="multi3drefer takes one, of <scene_id>.json files"
        )
    given = []
    for file in files:
        for where, item in _items(file):
            given.append(_given(task, {"scene_id": file.stem, **item}, f"{file}, {where}"))
    return given


def _json(path: Path) -> Any:
    """The content of a file that is one JSON value, or None."""
    text = read_text(path, JSON_BYTES)
    try:
        return json.loads(text)
    except ValueError:
        return None
    except RecursionError:
        raise DataError("nested too deeply", where=path) from None


def _items(path: Path) -> Iterator[tuple[str, dict]]:
    """(where, item) of a list, of {id: prediction}, or of JSON lines."""
    if not path.is_file():
        raise MissingError("no such file of predictions", where=path)
    content = None if path.suffix == ".jsonl" else _json(path)
    one_line = isinstance(content, dict) and _looks_like_an_item(content)
    if isinstance(content, list) or one_line:
        for i, item in enumerate([content] if one_line else content):
            yield f"item {i}", _checked(item, path, f"item {i}")
    elif isinstance(content, dict):
        for key, value in content.items():
            yield f"entry {shown(key)}", {"id": key, "prediction": value}
    else:
        for number, item in json_lines(path, dict, "predictions are JSON lines, a JSON list, or a JSON object by id"):
            yield f"line {number}", item


def _looks_like_an_item(content: dict) -> bool:
    return bool({"prediction", "pred_response", "doc_id", "scene_id", "question_id", "item_id"} & set(content))


def _checked(item: Any, path: Path, where: str) -> dict:
    if not isinstance(item, dict):
        raise DataError(f"{where} is a {type(item).__name__}, expected an object", where=path)
    return item


def _given(task: str, item: dict, where: str) -> Given:
    record = record_in(item)  # a sample of lmms-eval
    if record is not None and record["task"] == task:
        check_record(record, where)
        return Given(keys=(record["id"],), record=record)
    if "filtered_resps" in item:
        item = _of_sample(item)
    check(item, _ITEM, where)
    keys = _keys(task, item)
    if not keys:
        raise DataError(f"no id that {task} knows", where=where, remedy=f"expected `id`, or {_IDS[task]}")
    flags = {name: item[name] for name in ("unique_multiple", "others") if name in item}
    if _SCORED.keys() <= item.keys():
        check(item, _SCORED, where)
    if "gt_response" in item and task in _TRUTH:
        check(item, {"gt_response": _TRUTH[task]}, where)
    return Given(keys, _prediction(task, item, where), flags, _reference(task, item))


def _of_sample(item: dict) -> dict:
    """A sample of `lmms-eval --predict_only`: no record, but the ids in `target` and the model's text."""
    try:
        target = json.loads(item.get("target", ""))
    except (TypeError, ValueError, RecursionError):
        target = None
    response = item["filtered_resps"]
    text = response[0] if isinstance(response, list) and response else response
    ids = {"item_id": target["item_id"]} if isinstance(target, dict) and "item_id" in target else {}
    return {"prediction": text, **ids}


_IDS = {
    "scanrefer": "scene_id, object_id, ann_id",
    "multi3drefer": "scene_id, ann_id",
    "scan2cap": "scene_id, object_id",
    "scanqa": "question_id",
    "sqa3d": "question_id, or scene_id, situation, question",
}


def _keys(task: str, item: Mapping) -> tuple[str, ...]:
    """`id`, then the official names joined; "sample_id" of Video-3D-LLM last."""
    keys = [str(item[name]) for name in ("id", "item_id", "question_id") if item.get(name) is not None]
    parts = {
        "scanrefer": ("scene_id", "object_id", "ann_id"),
        "multi3drefer": ("scene_id", "ann_id"),
        "scan2cap": ("scene_id", "object_id", "object_name") if "object_name" in item else ("scene_id", "object_id"),
        "sqa3d": ("scene_id", "situation", "question"),
    }.get(task)
    if parts and all(name in item for name in parts):
        keys.append("|".join(str(item[name]) for name in parts))
    if item.get("sample_id") is not None:
        sample = str(item["sample_id"])
        if task == "scanqa" and sample.startswith("scanqa_"):
            sample = sample.removeprefix("scanqa_").rsplit("_", 1)[0]
        keys.append(sample)
    return tuple(dict.fromkeys(keys))


def _prediction(task: str, item: Mapping, where: str) -> Any:
    if "prediction" in item:
        value = item["prediction"]
        if task == "scan2cap" and isinstance(value, list):  # the official candidates: listed means detected
            check(value, [Text(LONGEST_ANSWER)], where, name="prediction")
            return _candidate(value)
        return {"answers": value} if task == "scanqa" and isinstance(value, list) else value
    if _SCORED.keys() <= item.keys():
        return {"scores": item["scores"], "boxes": item["objects"]}
    if "pred_response" in item:
        return item["pred_response"]
    for name, ours in (
        ("bbox", "box"),
        ("aabb", "boxes"),
        ("answer_top10", "answers"),
        ("pred_answers_at10", "answers"),
    ):
        if name in item:
            return {ours: item[name]}
    names = ("scores", "boxes", "box", "has_zero_target", "caption", "tokens", "answer", "answers", "unanswered")
    fields = {name: item[name] for name in names if name in item}
    return fields or None


def _candidate(sentences: list) -> dict:
    words = sentences[0].split() if sentences and isinstance(sentences[0], str) else []
    words = words[1:] if words[:1] == ["sos"] else words
    words = words[:-1] if words[-1:] == ["eos"] else words
    return {"caption": " ".join(words), "tokens": words, "detected": True}


def _reference(task: str, item: Mapping) -> dict | None:
    """A document made of a line of Video-3D-LLM's output, which holds the truth beside the prediction."""
    if "gt_response" not in item:
        return None
    truth, kind = item["gt_response"], str(item.get("question_type", ""))
    sample, scene = str(item.get("sample_id", "")), str(item.get("scene", ""))
    if task == "scanrefer":
        return {"scene_id": scene, "object_id": "", "ann_id": sample, "gt_box": truth, "eval_type": kind}
    if task == "multi3drefer":
        return {"scene_id": scene, "ann_id": sample, "gt_boxes": truth, "eval_type": kind}
    if task == "sqa3d":  # the type is in the line, the question is not
        return {"question_id": sample, "scene_id": scene, "question": "", "question_type": kind, "answer": truth}
    if task == "scan2cap":  # a caption that is there is one of a good proposal; the boxes are not in the line
        box = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
        found = box if item.get("pred_response") else None
        ids = {"scene_id": scene, "object_id": sample, "object_name": ""}
        return {**ids, "gt_box": box, "input_box": found, "references": truth}
    return None
