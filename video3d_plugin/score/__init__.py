"""Offline scoring: a file of predictions and the ground truth give the numbers of a benchmark, in every convention.

`score` puts the two together: it looks up the prediction of every question (several: the last one counts), counts what
is missing, repeated or asked of nobody, and hands records to the benchmark's TaskSpec.
"""

from __future__ import annotations

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
    """Where the ground truth comes from: a prepared folder, or official files (with boxes and label table).

    `split` is that of the folder or the files; None: the one that papers report.
    """

    data: Path | None = None
    annotations: Sequence[Path] = ()
    boxes: Path | None = None
    proposals: Path | None = None
    labels: Path | None = None
    split: str | None = None

    def docs(self, spec: TaskSpec) -> tuple[list[dict], dict[str, int]] | None:
        """Documents, and items left out by reason; None where no source was given."""
        split = self.split or spec.eval_split
        if self.data is not None:
            return docs_of_folder(spec.name, self.data, split), {}
        if self.annotations:
            more = (self.boxes, self.proposals, self.labels, split)
            return docs_of_files(spec, [Path(p) for p in self.annotations], *more)
        return None


@dataclass(frozen=True)
class Result:
    """Scores, the records behind them, and what was noticed on the way (counts by what happened)."""

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
        truth: The ground truth; not needed where the predictions carry it.
        score_with: A running Scorer; None starts one.
        mass: Cumulative mass of a benchmark's selection from scores, in place of 0.4 under the plain names.

    Raises:
        DataError: Not one of the predictions belongs to a question of the ground truth.
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
    given = read_predictions(spec, predictions)
    if not given:
        raise DataError("no predictions in it", where=predictions)
    records: list[dict]
    notes: dict[str, int] = {}
    if all(one.record is not None for one in given):
        records = [one.record for one in given if one.record is not None]
        if mass is not None:
            records = [spec.record(record, record.get("prediction")) for record in records]
    elif available is None and all(one.reference is not None for one in given):
        records = [spec.record(one.reference, one.prediction) for one in given if one.reference is not None]
    else:
        docs, left_out = _needed(available, task)
        records, notes = _match(spec, given, docs, predictions)
        notes |= {f"left out: {reason}": count for reason, count in left_out.items()}
    return Result(task, spec.scores(records, score_with), records, notes)


def _with_mass(spec: TaskSpec, mass: float) -> TaskSpec:
    if spec.with_mass is None:
        have = ", ".join(name for name, other in usable().items() if other.with_mass is not None)
        raise DataError(f"{spec.name} selects nothing by cumulative mass", remedy=f"{have} does")
    return spec.with_mass(mass)


def _needed(available: tuple[list[dict], dict[str, int]] | None, task: str) -> tuple[list[dict], dict[str, int]]:
    if available is None:
        raise MissingError(
            f"the ground truth of {task} is needed for this file of predictions",
            remedy="give --annotations with the official file(s), or --data DATA",
        )
    if not available[0]:
        reasons = ", ".join(available[1]) or "the files are empty"
        raise DataError(f"the ground truth of {task} has no question to score: {reasons}")
    return available


def _names(spec: TaskSpec, doc: Mapping) -> list[str]:
    """The names under which a file of predictions may mention a question, each once."""
    ids = [str(doc["item_id"])] if doc.get("item_id") is not None else []
    return list(dict.fromkeys([*ids, *spec.keys(doc)]))


def _match(
    spec: TaskSpec, given: Sequence[Prediction], docs: Sequence[dict], path: Path
) -> tuple[list[dict], dict[str, int]]:
    """Records of all documents and of predictions for none of them; and notes."""
    by_name: dict[str, list[int]] = {}
    for index, doc in enumerate(docs):
        for name in _names(spec, doc):
            by_name.setdefault(name, []).append(index)
    records, answered, extra, disagree = [], set(), [], 0
    for one in given:
        named = next((by_name[key] for key in one.keys if key in by_name), None)
        if named is None:
            extra.append(one)
            continue
        # A file without ids may hold pairs of questions that nothing else tells apart, as SQA3D's test set does.
        index = next((i for i in named if i not in answered), named[-1])
        answered.add(index)
        doc = docs[index]
        disagree += _disagrees(spec, doc, one.flags)
        records.append(spec.record({**doc, **one.flags}, spec.predictions.place(doc, one.prediction)))
    if not answered:
        example = f"{given[0].keys[0]!r} is not among them, {_names(spec, docs[0])[0]!r} is"
        raise DataError(f"none of {len(given)} predictions belongs to a question of {spec.name}: {example}", where=path)
    records += [spec.record(doc, None) for index, doc in enumerate(docs) if index not in answered]
    records += [_extra_record(spec, one) for one in extra]
    notes = {"flags that differ from the annotations (the file's own are used, as officially)": disagree}
    return records, {name: count for name, count in notes.items() if count}


def _disagrees(spec: TaskSpec, doc: Mapping, flags: Mapping) -> bool:
    pairs = ((doc.get(ours), flags.get(official)) for official, ours in spec.predictions.flags.items())
    return any(a is not None and b is not None and bool(a) != bool(b) for a, b in pairs)


def _extra_record(spec: TaskSpec, one: Prediction) -> dict:
    """A prediction for a question that the ground truth does not have: counted, and scored as the benchmark says."""
    record = {"task": spec.name, "id": f"extra|{one.keys[0]}", "status": "ok", "extra": True, "scene_id": ""}
    return record | spec.predictions.extra_record(one.flags)
