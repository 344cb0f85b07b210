"""Offline scoring: a file of predictions and the ground truth give the numbers of a benchmark, in every convention.

`score` puts the two together: it finds the prediction of every question (several: the last one counts), counts what
is missing, repeated or asked of nobody, and hands records to `metrics.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.ngrams import Scorer, scorer
from video3d_plugin.metrics.scan2cap_benchmark import BenchmarkCaption, BenchmarkObject, benchmark
from video3d_plugin.metrics.task_base import Scores, Task
from video3d_plugin.metrics.task_grounding import multi3drefer_at
from video3d_plugin.metrics.tasks import get
from video3d_plugin.score.documents import docs_of_files, docs_of_folder
from video3d_plugin.score.predictions import Given, read_benchmark_captions, read_predictions


@dataclass(frozen=True)
class Truth:
    """Where the ground truth comes from: a prepared folder, or official files (with boxes and label table)."""

    data: Path | None = None
    annotations: Sequence[Path] = ()
    boxes: Path | None = None
    proposals: Path | None = None
    labels: Path | None = None
    split: str = "val"

    def docs(self, task: str) -> tuple[list[dict], dict[str, int]] | None:
        """Documents, and items left out by reason; None where no source was given."""
        if self.data is not None:
            return docs_of_folder(task, self.data, self.split), {}
        if self.annotations:
            more = (self.boxes, self.proposals, self.labels, self.split)
            return docs_of_files(task, [Path(p) for p in self.annotations], *more)
        return None


@dataclass(frozen=True)
class Result:
    """Scores, the records behind them, and what was found on the way (counts by what happened)."""

    task: str
    scores: Scores
    records: list[dict] = field(repr=False, default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


def score(
    task: str,
    predictions: Path,
    truth: Truth | None = None,
    score_with: Scorer | None = None,
    mass: float | None = None,
) -> Result:
    """Score a file of predictions. DataError where not one of them belongs to a question of the ground truth.

    mass: of Multi3DRefer's selection from scores, in place of 0.4 under the plain names.
    """
    binding, predictions = get(task), Path(predictions)
    if mass is not None:
        if task != "multi3drefer":
            raise DataError(f"{task} selects nothing by cumulative mass", remedy="multi3drefer does")
        binding = multi3drefer_at(mass)
    found = truth.docs(task) if truth is not None else None
    if task == "scan2cap" and (captions := read_benchmark_captions(predictions)) is not None:
        return _benchmark(captions, _needed(found, task)[0], score_with)
    given = read_predictions(task, predictions)
    if not given:
        raise DataError("no predictions in it", where=predictions)
    if all(one.record is not None for one in given):
        records, notes = [one.record for one in given], {}
        if mass is not None:
            records = [binding.record(record, record.get("prediction")) for record in records]
    elif found is None and all(one.reference is not None for one in given):
        records, notes = [binding.record(one.reference, one.prediction) for one in given], {}
    else:
        docs, left_out = _needed(found, task)
        records, notes = _match(binding, given, docs, predictions)
        notes |= {f"left out: {reason}": count for reason, count in left_out.items()}
    return Result(task, binding.scores(records, score_with), records, notes)


def _needed(found: tuple[list[dict], dict[str, int]] | None, task: str) -> tuple[list[dict], dict[str, int]]:
    if found is None:
        raise MissingError(
            f"the ground truth of {task} is needed for this file of predictions",
            remedy="give --annotations with the official file(s), or --data DATA",
        )
    if not found[0]:
        reasons = ", ".join(found[1]) or "the files are empty"
        raise DataError(f"the ground truth of {task} has no question to score: {reasons}")
    return found


def _aliases(task: str, doc: Mapping) -> list[str]:
    """The names under which a file of predictions may mention a question, each once."""
    get_ = doc.get
    names = [get_("item_id")]
    if task == "scanrefer":
        names.append(f"{doc['scene_id']}|{doc['object_id']}|{doc['ann_id']}")
    elif task == "multi3drefer":
        names.append(f"{doc['scene_id']}|{doc['ann_id']}")
    elif task == "scan2cap":
        pair = f"{doc['scene_id']}|{doc['object_id']}"
        names += [f"{pair}|{get_('object_name', '')}", pair]
    else:
        names.append(doc["question_id"])
        if task == "sqa3d":
            names.append(f"{get_('scene_id')}|{get_('situation')}|{doc['question']}")
    return list(dict.fromkeys(str(name) for name in names if name is not None))


def _match(
    binding: Task, given: Sequence[Given], docs: Sequence[dict], path: Path
) -> tuple[list[dict], dict[str, int]]:
    task = binding.name
    by_name: dict[str, list[int]] = {}
    for index, doc in enumerate(docs):
        for name in _aliases(task, doc):
            by_name.setdefault(name, []).append(index)
    records, answered, extra, disagree = [], set(), [], 0
    for one in given:
        named = next((by_name[key] for key in one.keys if key in by_name), None)
        if named is None:
            extra.append(one)
            continue
        # SQA3D's own format has no id, and its test set three pairs of questions that nothing else tells apart.
        index = next((i for i in named if i not in answered), named[-1])
        answered.add(index)
        doc = docs[index]
        disagree += _disagrees(doc, one.flags)
        records.append(binding.record({**doc, **one.flags}, _placed(task, doc, one.prediction)))
    if not answered:
        example = f"{given[0].keys[0]!r} is not among them, {_aliases(task, docs[0])[0]!r} is"
        raise DataError(f"none of {len(given)} predictions belongs to a question of {task}: {example}", where=path)
    records += [binding.record(doc, None) for index, doc in enumerate(docs) if index not in answered]
    records += [_extra_record(task, one) for one in extra]
    notes = {"flags that differ from the annotations (the file's own are used, as officially)": disagree}
    return records, {name: count for name, count in notes.items() if count}


def _placed(task: str, doc: Mapping, prediction: Any) -> Any:
    """A Scan2Cap candidate of the official validation is listed only where it was detected: its box is the object's."""
    if task == "scan2cap" and isinstance(prediction, Mapping) and prediction.get("detected"):
        return {**prediction, "box": doc["gt_box"]}
    return prediction


def _disagrees(doc: Mapping, flags: Mapping) -> bool:
    pairs = ((doc.get("multiple"), flags.get("unique_multiple")), (doc.get("others"), flags.get("others")))
    return any(a is not None and b is not None and bool(a) != bool(b) for a, b in pairs)


def _extra_record(task: str, one: Given) -> dict:
    """A prediction for a question that the ground truth does not have: counted, and in ScanRefer a miss."""
    record = {"task": task, "id": f"extra|{one.keys[0]}", "status": "ok", "extra": True, "scene_id": ""}
    if task == "scanrefer":
        flags = {
            name: bool(one.flags.get(key, 1)) for name, key in (("multiple", "unique_multiple"), ("others", "others"))
        }
        record |= {**flags, "v3d_multiple": None, "box": None, "iou": 0.0, "iou_float32": 0.0}
    if task == "scanqa":
        record["answers"] = []
    return record


def _benchmark(
    predictions: Mapping[str, list[BenchmarkCaption]], docs: Sequence[dict], score_with: Scorer | None
) -> Result:
    """Scan2Cap's benchmark form: the whole scene is predicted at once, so there are no records of single questions."""
    records = [get("scan2cap").record(doc, None) for doc in docs]
    objects = [BenchmarkObject(r["scene_id"], r["object_id"], r["gt_box"], r["reference_tokens"]) for r in records]
    scenes = {o.scene_id for o in objects}
    counts = {
        "questions": len(objects),
        "predictions": sum(len(found) for scene, found in predictions.items() if scene in scenes),
        "scenes_missing": len(scenes - set(predictions)),
        "scenes_extra": len(set(predictions) - scenes),
    }
    if counts["scenes_missing"] == len(scenes):
        raise DataError("the predictions are of none of the scenes of the annotations")
    if score_with is not None:
        values, missing = benchmark(predictions, objects, score_with)
    else:
        with scorer() as running:
            values, missing = benchmark(predictions, objects, running)
    return Result("scan2cap", Scores(values, counts, missing), [])
