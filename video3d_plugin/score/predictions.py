"""Reads files of predictions: this package's format, samples of lmms-eval, and the benchmarks' official formats.

any task       JSON lines, a JSON list, or {id: prediction}. An item has `id` (or `item_id`) or the official ids,
               and `prediction` or the fields of a prediction (see `tasks.spec`).
any task       `*_samples_<task>.jsonl` of lmms-eval: records, which need no annotations; with --predict_only texts,
               which do
any task       lines of LaVi-Lab/Video-3D-LLM: "pred_response" (or "scores", "objects"), "gt_response"
ScanRefer      [{"scene_id", "object_id", "ann_id", "bbox": 8x3, "unique_multiple", "others"}]
Multi3DRefer   a folder of <scene_id>.json: [{"ann_id", "aabb": [8x3, ...]}]
Scan2Cap       {"scene|object_id|object_name": ["sos ... eos"]} (validation: a listed object counts as detected), or
               {scene_id: [{"caption", "box": 8x3, ...}]} (benchmark)
ScanQA         [{"scene_id", "question_id", "answer_top10": [...]}]
SQA3D          [{"scene_id", "situation", "question", "answer", ...}]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import JSON_BYTES, json_lines
from video3d_plugin.files.schema import Anything, Number, OneOf, Text, Whole, check, shown
from video3d_plugin.files.text import read_text
from video3d_plugin.tasks import TaskSpec, usable
from video3d_plugin.tasks.kinds import LONGEST_ANSWER
from video3d_plugin.tasks.records import record_of_sample

_SCORED = {"scores": list, "objects": list}  # in lines of Video-3D-LLM without `pred_response`
_ID = (Text(2000), int, None)
_WORDS = (Text(LONGEST_ANSWER), Number(), None)
# Fields of an item of any format. Predicted boxes are checked when the prediction is parsed.
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
_FIELDS = ("scores", "boxes", "box", "has_zero_target", "caption", "tokens", "answer", "answers", "unanswered")


@dataclass(frozen=True)
class Prediction:
    """One prediction of a file.

    Attributes:
        keys: Possible ids of its question, most specific first.
        prediction: The prediction, as `TaskSpec.record` takes it.
        flags: Properties of the item that an official file states (`unique_multiple` and `others` of ScanRefer).
        reference: The ground truth, if the line holds it (Video-3D-LLM).
        record: The complete record, if the line is a sample of lmms-eval.
    """

    keys: tuple[str, ...]
    prediction: Any = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] | None = None
    record: dict | None = None


def read_predictions(spec: TaskSpec, path: Path) -> list[Prediction]:
    """Read all predictions of a file or folder, in order.

    Args:
        spec: The benchmark.
        path: The file, or a folder of <scene_id>.json files where the benchmark has such.

    Raises:
        MissingError: There is no such file.
        DataError: A line or item cannot be used; the message names it.
    """
    if path.is_dir():
        return _read_folder(spec, path)
    return [_prediction(spec, item, f"{path}, {where}") for where, item in _items(path)]


def _read_folder(spec: TaskSpec, path: Path) -> list[Prediction]:
    files = sorted(path.glob("*.json"))
    if not spec.predictions.folder_of_scenes or not files:
        supported = ", ".join(name for name, other in usable().items() if other.predictions.folder_of_scenes)
        remedy = f"{supported} takes one, of <scene_id>.json files"
        raise DataError("a folder of predictions", where=path, remedy=remedy)
    return [
        _prediction(spec, {"scene_id": file.stem, **item}, f"{file}, {where}")
        for file in files
        for where, item in _items(file)
    ]


def _json(path: Path) -> Any:
    """The content of a file that is one JSON value, else None."""
    text = read_text(path, JSON_BYTES)
    try:
        return json.loads(text)
    except ValueError:
        return None
    except RecursionError:
        raise DataError("nested too deeply", where=path) from None


def _items(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield (place, item) of a list, of {id: prediction}, or of JSON lines."""
    if not path.is_file():
        raise MissingError("no such file of predictions", where=path)
    content = None if path.suffix == ".jsonl" else _json(path)
    is_one_item = isinstance(content, dict) and _looks_like_an_item(content)
    if isinstance(content, list) or is_one_item:
        for i, item in enumerate([content] if is_one_item else content):
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


def _prediction(spec: TaskSpec, item: dict, where: str) -> Prediction:
    record = record_of_sample(item, (spec.name,), where)
    if record is not None:
        return Prediction(keys=(record["id"],), record=record)
    if "filtered_resps" in item:
        item = _item_of_sample(item)
    check(item, _ITEM, where)
    keys = _keys(spec, item)
    if not keys:
        ids = ", or ".join(", ".join(names) for names in spec.id_fields)
        raise DataError(f"no id of a question of {spec.name}", where=where, remedy=f"expected `id`, or {ids}")
    flags = {name: item[name] for name in spec.predictions.flags if name in item}
    if _SCORED.keys() <= item.keys():
        check(item, _SCORED, where)
    reference = None
    if "gt_response" in item and spec.predictions.reference_doc is not None:
        check(item, {"gt_response": spec.predictions.reference_kind}, where)
        reference = spec.predictions.reference_doc(item)
    if isinstance(item.get("prediction"), list):
        check(item["prediction"], spec.predictions.value_kind, where, name="prediction")
    return Prediction(keys, _value(spec, item), flags, reference)


def _item_of_sample(item: dict) -> dict:
    """The item of a sample of `lmms-eval --predict_only`, which has the ids in `target` and the model's text."""
    try:
        target = json.loads(item.get("target", ""))
    except (TypeError, ValueError, RecursionError):
        target = None
    response = item["filtered_resps"]
    text = response[0] if isinstance(response, list) and response else response
    ids = {"item_id": target["item_id"]} if isinstance(target, dict) and "item_id" in target else {}
    return {"prediction": text, **ids}


def _keys(spec: TaskSpec, item: Mapping) -> tuple[str, ...]:
    """Ids of an item: `id`, then the official ids, then `sample_id` of Video-3D-LLM."""
    keys = [str(item[name]) for name in ("id", "item_id", "question_id") if item.get(name) is not None]
    keys += spec.keys(item)
    if item.get("sample_id") is not None:
        keys.append(spec.predictions.sample_key(str(item["sample_id"])))
    return tuple(dict.fromkeys(keys))


def _value(spec: TaskSpec, item: Mapping) -> Any:
    """The prediction of an item, as `TaskSpec.record` takes it."""
    if "prediction" in item:
        return spec.predictions.read_value(item["prediction"])
    if _SCORED.keys() <= item.keys():
        return {"scores": item["scores"], "boxes": item["objects"]}
    if "pred_response" in item:
        return item["pred_response"]
    for name, ours in spec.predictions.official_names.items():
        if name in item:
            return {ours: item[name]}
    return {name: item[name] for name in _FIELDS if name in item} or None
