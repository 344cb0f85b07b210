"""Reads files of predictions: this package's format, samples of lmms-eval, and the benchmarks' official formats.

any task       JSON lines, a JSON list, or {id: prediction}. An item has `id` (or `item_id`) or the official ids,
               and `prediction`, the fields of a prediction (see `tasks.spec`), or another system's name of these (see
               `score.fields`).
any task       `*_samples_<task>.jsonl` of lmms-eval: records, which need no annotations; with --predict_only texts,
               which do
any task       lines of LaVi-Lab/Video-3D-LLM: "pred_response" (or "scores", "objects"), "gt_response"
ScanRefer      [{"scene_id", "object_id", "ann_id", "bbox": 8x3, "unique_multiple", "others"}]
Multi3DRefer   a folder of <scene_id>.json: [{"ann_id", "aabb": [8x3, ...]}]
Scan2Cap       {"scene|object_id|object_name": ["sos ... eos"]} (validation: a listed object counts as detected), or
               {scene_id: [{"caption", "box": 8x3, ...}]} (benchmark)
ScanQA         [{"scene_id", "question_id", "answer_top10": [...], "bbox": 8x3}]; the box is not scored
SQA3D          [{"scene_id", "situation", "question", "answer", ...}]
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import JSON_BYTES, json_lines
from video3d_plugin.files.schema import Anything, OneOf, Text, Whole, check, shown
from video3d_plugin.files.text import read_text
from video3d_plugin.score.fields import Answer, answer_of, names_of_answers, other_names, with_official_ids
from video3d_plugin.tasks import TaskSpec, usable
from video3d_plugin.tasks.records import record_of_sample

METRICS_PAGE = "docs/metrics.md lists the formats"
_ID = (Text(2000), int, None)
# Fields of an item of any format that say which question it answers. `score.fields` checks the answer.
_ITEM: dict[str, Any] = {
    **dict.fromkeys(("id?", "item_id?", "question_id?", "sample_id?", "scene_id?", "object_id?", "ann_id?"), _ID),
    **dict.fromkeys(("object_name?", "situation?", "question?", "question_type?", "scene?"), (Text(), int, None)),
    "unique_multiple?": (bool, Whole(0, 1), OneOf(("unique", "multiple")), None),
    "others?": (bool, Whole(0, 1), None),
    "prediction?": Anything(depth=8, finite=False),
}


@dataclass(frozen=True)
class Prediction:
    """One prediction of a file.

    Attributes:
        keys: Possible ids of its question, most specific first.
        prediction: The prediction, as `TaskSpec.record` takes it.
        flags: Properties of the item that an official file states (`unique_multiple` and `others` of ScanRefer).
        reference: The ground truth, if the line holds it (Video-3D-LLM).
        record: The complete record, if the line is a sample of lmms-eval.
        answer: Where in the item the prediction stands; None if nowhere, or if the line is a sample.
        other_names: Names of the item's fields, if it holds no answer.
    """

    keys: tuple[str, ...]
    prediction: Any = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] | None = None
    record: dict | None = None
    answer: Answer | None = None
    other_names: tuple[str, ...] = ()


def read_predictions(spec: TaskSpec, path: Path) -> list[Prediction]:
    """Read all predictions of a file or folder, in order.

    Args:
        spec: The benchmark.
        path: The file, or a folder of <scene_id>.json files where the benchmark has such.

    Raises:
        MissingError: There is no such file.
        DataError: A line or item cannot be used; the message names it. Or fewer than half of the items hold an answer
            under a name that is known; the message lists the names found.
    """
    if path.is_dir():
        rows = _read_folder(spec, path)
    else:
        rows = [_prediction(spec, item, f"{path}, {where}") for where, item in _items(path)]
    _require_answers(spec, rows, path)
    return rows


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
    return bool({"prediction", "pred_response", "doc_id", "scene_id", "question_id", "item_id", "qid"} & set(content))


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
    item = with_official_ids(item)
    check(item, _ITEM, where)
    keys = _keys(spec, item)
    if not keys:
        ids = ", or ".join(", ".join(names) for names in spec.id_fields)
        raise DataError(f"no id of a question of {spec.name}", where=where, remedy=f"expected `id`, or {ids}")
    flags = {name: item[name] for name in spec.predictions.flags if name in item}
    reference = None
    if "gt_response" in item and spec.predictions.reference_doc is not None:
        check(item, {"gt_response": spec.predictions.reference_kind}, where)
        reference = spec.predictions.reference_doc(item)
    answer = answer_of(spec, item, where)
    if answer is None:
        return Prediction(keys, None, flags, reference, other_names=tuple(other_names(item)))
    return Prediction(keys, answer.value, flags, reference, answer=answer)


def _require_answers(spec: TaskSpec, rows: Sequence[Prediction], path: Path) -> None:
    """Raise DataError if no row holds an answer, or fewer than half do: their fields have names that are not known."""
    rows = [row for row in rows if row.record is None]
    read = [row for row in rows if row.answer is not None]
    some = any(not _is_null(row.prediction) for row in read)
    if not rows or (some and 2 * len(read) >= len(rows)):
        return
    if len(read) < len(rows):
        found = Counter(name for row in rows if row.answer is None for name in row.other_names)
        names = ", ".join(shown(name) for name, _ in found.most_common(12)) or "none"
        what = f"{len(rows) - len(read)} of {len(rows)} items hold no answer that is known; other keys in them: {names}"
    else:
        what = f"the answer of all {len(rows)} items is null"
    expected = ", ".join(names_of_answers(spec)[:8])
    raise DataError(
        what, where=path, remedy=f"name the answer to a question of {spec.name} `prediction` ({expected}, …)"
    )


def _is_null(prediction: Any) -> bool:
    """Whether a prediction is null. A null box is none: it states that there is no object."""
    if isinstance(prediction, Mapping):
        return not {"unanswered", "boxes", "box"} & prediction.keys() and not any(
            value is not None for value in prediction.values()
        )
    return prediction is None


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
