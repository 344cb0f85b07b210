"""Offline scoring of a file of predictions, in every convention of a benchmark.

`score` matches predictions and questions, makes a record of each pair, and lets the benchmark's TaskSpec compute the
metrics. Of several predictions for a question the last one counts. Missing, repeated and unmatched predictions are
counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.score.documents import docs_of_files, docs_of_folder
from video3d_plugin.score.predictions import Prediction, read_predictions
from video3d_plugin.tasks import Scores, TaskSpec, get, usable


@dataclass(frozen=True)
class GroundTruth:
    """Source of the ground truth: a data folder, or official files.

    Attributes:
        data: Folder made by `video3d prepare`.
        annotations: Official annotation files of one split, where `data` is None.
        boxes: File of boxes of the annotated objects (see `score.documents`).
        proposals: File of boxes from which the given box of an object to describe is selected.
        labels: ScanNet's label table.
        split: The split; None for the one that papers report.
    """

    data: Path | None = None
    annotations: Sequence[Path] = ()
    boxes: Path | None = None
    proposals: Path | None = None
    labels: Path | None = None
    split: str | None = None

    def docs(self, spec: TaskSpec) -> tuple[list[dict], dict[str, int]] | None:
        """Read the evaluation documents.

        Args:
            spec: The benchmark.

        Returns:
            The documents, and the number of items left out by reason; None if there is no source.
        """
        split = self.split or spec.eval_split
        if self.data is not None:
            return docs_of_folder(spec.name, self.data, split), {}
        if self.annotations:
            paths = [Path(path) for path in self.annotations]
            return docs_of_files(spec, paths, self.boxes, self.proposals, self.labels, split)
        return None


@dataclass(frozen=True)
class Result:
    """The result of `score`.

    Attributes:
        task: Name of the benchmark.
        scores: Its metrics.
        records: The record of each question; empty for files that predict whole scenes.
        notes: Number of cases by what was noticed.
    """

    task: str
    scores: Scores
    records: list[dict] = field(repr=False, default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


def score(
    task: str,
    predictions: Path,
    truth: GroundTruth | None = None,
    score_with: Scorer | None = None,
    mass: float | None = None,
) -> Result:
    """Score a file of predictions.

    Args:
        task: Name of the benchmark.
        predictions: The file, or a folder of files.
        truth: The ground truth; not needed if the predictions hold it.
        score_with: A running Scorer for text metrics; None starts one.
        mass: Cumulative mass for selecting boxes from scores, instead of 0.4.

    Raises:
        MissingError: A file, or the ground truth, is missing.
        DataError: A file cannot be used, fewer than half of its items hold an answer, or no prediction belongs to a
            question of the ground truth.
    """
    spec, predictions = get(task), Path(predictions)
    if mass is not None:
        spec = _with_mass(spec, mass)
    available = truth.docs(spec) if truth is not None else None
    score_scenes = spec.predictions.score_scenes
    if score_scenes is not None:
        scores = score_scenes(predictions, lambda: _needed(available, task)[0], score_with)
        if scores is not None:
            return Result(task, scores)
    rows = read_predictions(spec, predictions)
    if not rows:
        raise DataError("the file holds no predictions", where=predictions)
    records: list[dict]
    notes: dict[str, int] = {}
    if all(row.record is not None for row in rows):
        records = [row.record for row in rows if row.record is not None]
        if mass is not None:
            records = [spec.record(record, record.get("prediction")) for record in records]
    elif available is None and all(row.reference is not None for row in rows):
        records = [spec.record(row.reference, row.prediction) for row in rows if row.reference is not None]
    else:
        docs, left_out = _needed(available, task)
        records, notes = _match(spec, rows, docs, predictions)
        notes |= {f"left out: {reason}": count for reason, count in left_out.items()}
    notes |= _of_annotated_fields(rows)
    return Result(task, spec.scores(records, score_with), records, notes)


def _of_annotated_fields(rows: Sequence[Prediction]) -> dict[str, int]:
    """Notes on items with two fields that could hold the answer."""
    pairs = Counter((row.answer.name, row.answer.beside) for row in rows if row.answer is not None)
    return {
        f"answers read from `{name}`; `{beside}` beside it is taken as the annotated one": count
        for (name, beside), count in pairs.items()
        if beside
    }


def _with_mass(spec: TaskSpec, mass: float) -> TaskSpec:
    if spec.with_mass is None:
        supported = ", ".join(name for name, other in usable().items() if other.with_mass is not None)
        raise DataError(f"{spec.name} does not select boxes by cumulative mass", remedy=f"{supported} does")
    return spec.with_mass(mass)


def _needed(available: tuple[list[dict], dict[str, int]] | None, task: str) -> tuple[list[dict], dict[str, int]]:
    if available is None:
        raise MissingError(
            f"this file of predictions needs the ground truth of {task}",
            remedy="give --annotations with the official file(s), or --data DATA",
        )
    if not available[0]:
        reasons = ", ".join(available[1]) or "the files are empty"
        raise DataError(f"the ground truth of {task} has no question to score: {reasons}")
    return available


def _names(spec: TaskSpec, doc: Mapping) -> list[str]:
    """Ids under which a file of predictions may refer to a question, each once."""
    ids = [str(doc["item_id"])] if doc.get("item_id") is not None else []
    return list(dict.fromkeys([*ids, *spec.keys(doc)]))


def _match(
    spec: TaskSpec, rows: Sequence[Prediction], docs: Sequence[dict], path: Path
) -> tuple[list[dict], dict[str, int]]:
    """Records of all documents and of the unmatched predictions, and notes."""
    by_name: dict[str, list[int]] = {}
    for index, doc in enumerate(docs):
        for name in _names(spec, doc):
            by_name.setdefault(name, []).append(index)
    records, answered, extra, disagree = [], set(), [], 0
    for row in rows:
        candidates = next((by_name[key] for key in row.keys if key in by_name), None)
        if candidates is None:
            extra.append(row)
            continue
        # In a file without ids, two questions may have the same text and situation, as in SQA3D's test set.
        index = next((i for i in candidates if i not in answered), candidates[-1])
        answered.add(index)
        doc = docs[index]
        disagree += _disagrees(spec, doc, row.flags)
        records.append(spec.record({**doc, **row.flags}, spec.predictions.place(doc, row.prediction)))
    if not answered:
        example = f"{rows[0].keys[0]!r} is not among them, {_names(spec, docs[0])[0]!r} is"
        raise DataError(f"none of {len(rows)} predictions belongs to a question of {spec.name}: {example}", where=path)
    records += [spec.record(doc, None) for index, doc in enumerate(docs) if index not in answered]
    records += [_extra_record(spec, row) for row in extra]
    notes = {"flags that differ from the annotations (the file's own are used, as officially)": disagree}
    return records, {name: count for name, count in notes.items() if count}


def _disagrees(spec: TaskSpec, doc: Mapping, flags: Mapping) -> bool:
    pairs = ((doc.get(name), flags.get(official)) for official, name in spec.predictions.flags.items())
    return any(a is not None and b is not None and bool(a) != bool(b) for a, b in pairs)


def _extra_record(spec: TaskSpec, row: Prediction) -> dict:
    """The record of a prediction without a question; it is counted, and scored by the benchmark's rule."""
    record = {"task": spec.name, "id": f"extra|{row.keys[0]}", "status": "ok", "extra": True, "scene_id": ""}
    return record | spec.predictions.extra_record(row.flags)
