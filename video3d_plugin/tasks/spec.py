"""TaskSpec: the record of everything in which benchmarks differ.

A benchmark is a module with such a record. All tables elsewhere are derived from the records (`tasks.registry`).
docs/extending.md shows how to add a benchmark.

    from video3d_plugin import tasks
    spec = tasks.get("scanrefer")
    record = spec.record(doc, prediction)   # a dict: ids, boxes, status, scores of the question
    numbers = spec.aggregate(records)       # {"acc@0.25": 58.1, ..., "count_missing": 0}
    scores = spec.scores(records)           # values, counts, and reasons for missing values
    spec.names()                            # names of all metrics; spec.headline: those to show first

Metrics are percentages, CIDEr x 100 as papers print it, or None if they could not be computed. A plain name is the
official evaluator's metric; those of other programs have a prefix (`v3d_`, `m3dref_`, `leo_`, ...).

A prediction is None or {"unanswered": reason} (missing), text, a dict, or a list of one of these. Scores and texts may
also come as a dict in JSON text; other JSON text is parsed by `metrics.box_text`.

    boxes      {"scores": [N or N+1], "boxes": [[6] x N], "has_zero_target": bool}; a box or a list of boxes, also as
               {"boxes": ...} or {"box": ...}, each six numbers or eight corners; or text with boxes
    captions   {"caption": str, "box": [6] or None}, or text about the box in the document
    answers    text or {"answer": str}; for benchmarks with ranked answers also {"answers": [best, second, ...]}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video3d_plugin.files.schema import finite
from video3d_plugin.metrics.ngrams import Scorer, scorer
from video3d_plugin.scene import Question
from video3d_plugin.tasks.annotations import Context, Doc, Item
from video3d_plugin.tasks.predictions import ParsedPrediction, parse_prediction
from video3d_plugin.tasks.processed import ProcessedFiles
from video3d_plugin.tasks.scoring import Scores, distinct, format_flags, with_counts

Record = dict[str, Any]
Boxes = list[list[float]]


@dataclass(frozen=True)
class PredictionFiles:
    """Official formats of a benchmark's files of predictions.

    Attributes:
        official_names: Names of predictions in official files, to the names used here.
        read_value: Converts the value of `prediction` in a file to a prediction.
        value_kind: Kind (`files.schema`) of that value if it is a list.
        flags: Properties of an item that official files state, to their names in documents.
        folder_of_scenes: Whether a folder of <scene_id>.json files is an official format.
        sample_key: Converts `sample_id` in a line of Video-3D-LLM's output to an id.
        reference_kind: Kind (`files.schema`) of `gt_response` in such a line; None for any.
        reference_doc: Makes a document of such a line, which holds the ground truth; None if that is not possible.
        place: (doc, prediction) -> the prediction, completed with values of its document.
        extra_record: (flags) -> record fields of a prediction without a question.
        score_scenes: (path, documents, scorer) -> scores of a file with predictions of whole scenes, or None if the
            file has another format. `documents` is a function, since only such files need them.
    """

    official_names: Mapping[str, str] = field(default_factory=dict)
    read_value: Callable[[Any], Any] = lambda value: value
    value_kind: Any = list
    flags: Mapping[str, str] = field(default_factory=dict)
    folder_of_scenes: bool = False
    sample_key: Callable[[str], str] = lambda sample_id: sample_id
    reference_kind: Any = None
    reference_doc: Callable[[Mapping[str, Any]], Doc] | None = None
    place: Callable[[Doc, Any], Any] = lambda doc, prediction: prediction
    extra_record: Callable[[Mapping[str, Any]], Record] = lambda flags: {}
    score_scenes: Callable[[Path, Callable[[], Sequence[Doc]], Scorer | None], Scores | None] | None = None


def boxes_of_record(record: Mapping[str, Any]) -> tuple[Boxes, Boxes]:
    """Return (true boxes, predicted boxes) of a record that has at most one of each."""
    truth, predicted = record.get("gt_box"), record.get("box")
    return [truth] if truth else [], [predicted] if predicted else []


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One benchmark.

    Attributes:
        name: Name of the benchmark: letters, digits and underscores.
        files: Names of the official annotation files by split.
        eval_split: The split that papers report.
        hidden_splits: Splits without public answers. They have evaluation documents, but no training questions.
        is_grounding: Whether questions are answered with boxes: the model answers `<ground>` and scores the proposals.
        needs_boxes: Whether the ground truth holds boxes, which come from the scans and not from the annotations.
        needs_point: Whether a question is about a point, with one `<coord>` in its prompt. Without a point it cannot
            be asked.

        read: (paths of a split's files) -> checked items.
        doc_fields: Kinds (`files.schema`) of the fields of documents that are read for asking and scoring.
        docs: (items, split, context) -> evaluation documents with `task`, `split`, `item_id`, `scene_id`, `prompt`,
            `coords` if the prompt holds `<coord>`, and everything that `make_record` reads.
        questions: (items, split, context) -> training questions.
        processed: Video-3D LLM's processed files of the benchmark; None if there are none.

        plain_prompt: Prompt for models that were not trained on the benchmark. Text fields of the document and {box}
            are filled in.
        text_keys: Names of the text in a prediction that is a mapping; () for benchmarks of boxes.
        response_prediction: (doc, a model's response) -> the prediction.
        truth_fields: Fields of a document that lmms-eval's samples hold as the target, if the document has them.

        make_record: (doc, prediction) -> fields of the record, at least `id`, `scene_id` and `status`.
        score_records: (records, scorer) -> scores.
        record_fields: Kinds (`files.schema`) of the fields that are read for scoring a record.
        headline: Names of the metrics to show first.
        main_metric: The one number that stands for the benchmark; "": the first of `headline`.
        metrics: Names of the metrics in lmms-eval's table, in order. The first one holds the records.
        with_mass: Returns the benchmark with boxes selected by another cumulative mass; None if it has no such rule.

        id_fields: Official ids of a question, most specific first: each a tuple of fields, joined by "|".
        predictions: Official formats of files of predictions.
        submission: (doc, prediction) -> an item of the prediction file for the benchmark's server; None if it has none.

        question_count: Number of questions of `eval_split`; None if not known.
        published: Metrics by name of a published system (`tasks.systems`).
        bars: (label, metric) of each bar in the report.
        example_fields: (label, field of the record) of each line of an example in the report.
        item_score: Score of one record for selecting the worst examples; higher is better.
        corpus_scores: (records) -> {id: score}, instead of `item_score` if scores depend on all records.
        score_meaning: Description of this score.
        boxes: (record) -> true and predicted boxes to draw.
        show: (record) -> `question`, `answer`, `expected`, `verdict`, `point` for the viewer (see `view.items`).
        yaml_folder: Folder of an add-on's YAML files for lmms-eval.
    """

    name: str
    files: Mapping[str, tuple[str, ...]]
    eval_split: str = "val"
    hidden_splits: tuple[str, ...] = ()
    is_grounding: bool = False
    needs_boxes: bool = False
    needs_point: bool = False

    read: Callable[[Sequence[Path]], list[Item]]
    docs: Callable[[list[Item], str, Context], list[Doc]]
    doc_fields: Mapping[str, Any] = field(default_factory=dict)
    questions: Callable[[list[Item], str, Context], list[Question]]
    processed: ProcessedFiles | None = None

    plain_prompt: str
    text_keys: tuple[str, ...] = ()
    response_prediction: Callable[[Mapping[str, Any], str], Any] = lambda doc, response: response
    truth_fields: tuple[str, ...] = ("gt_box", "gt_boxes", "references", "answers", "answer")

    make_record: Callable[[Mapping[str, Any], ParsedPrediction], Record]
    score_records: Callable[[Sequence[Record], Scorer], Scores]
    record_fields: Mapping[str, Any]
    headline: tuple[str, ...]
    main_metric: str = ""
    metrics: tuple[str, ...]
    with_mass: Callable[[float], TaskSpec] | None = None

    id_fields: tuple[tuple[str, ...], ...]
    predictions: PredictionFiles = field(default_factory=PredictionFiles)
    submission: Callable[[Doc, Any], dict[str, Any]] | None = None

    question_count: int | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    bars: tuple[tuple[str, str], ...] = ()
    example_fields: tuple[tuple[str, str], ...] = ()
    item_score: Callable[[Record], float] | None = None
    corpus_scores: Callable[[Sequence[Record]], dict[str, float]] | None = None
    score_meaning: str = ""
    boxes: Callable[[Mapping[str, Any]], tuple[Boxes, Boxes]] = boxes_of_record
    show: Callable[[Record], dict[str, Any]]
    yaml_folder: Path | None = None

    def record(self, doc: Mapping[str, Any], prediction: Any) -> Record:
        """Make the record of one sample.

        Args:
            doc: The evaluation document.
            prediction: The prediction, in any form of the module.

        Returns:
            The record. Its `prediction` is the unparsed one, for drawing and for scoring it again.
        """
        parsed = parse_prediction(prediction, self.text_keys)
        record: Record = {"task": self.name, "status": "missing" if parsed.is_missing else "ok"}
        record.update(self.make_record(doc, parsed))
        record["prediction"] = finite(parsed.fields) if parsed.fields is not None else parsed.text
        if parsed.reason:
            record["reason"] = parsed.reason
        record["peculiar"] = format_flags(record.get("caption") or record.get("answer") or parsed.text or "")
        return record

    def scores(self, records: Sequence[Record], score: Scorer | None = None) -> Scores:
        """Compute the metrics in every convention.

        Args:
            records: The records. A later record of an id replaces an earlier one, which is counted as a duplicate.
            score: A running Scorer for text metrics (METEOR takes ten seconds to start); None starts one.
        """
        unique = distinct(records)
        with nullcontext(score) if score is not None else scorer() as running:
            scores = self.score_records(unique, running)
        return with_counts(scores, unique, len(records) - len(unique))

    def aggregate(self, records: Sequence[Record]) -> dict[str, float | None]:
        """Return the metrics by name, in per cent or None, and the counts as `count_<what>`."""
        return self.scores(records).flat()

    def names(self) -> tuple[str, ...]:
        """Return the names of all metrics and counts of `aggregate`."""
        return tuple(self.aggregate([]))

    def item_scores(self, records: Sequence[Record]) -> dict[str, float]:
        """Return {id: score} of single questions (`score_meaning`), higher is better; empty if there are none."""
        if self.corpus_scores is not None:
            return self.corpus_scores(records)
        return {} if self.item_score is None else {record["id"]: self.item_score(record) for record in records}

    def keys(self, item: Mapping[str, Any]) -> list[str]:
        """Return the official ids of a document or of a line of predictions, most specific first."""
        complete = (names for names in self.id_fields if all(item.get(name) is not None for name in names))
        return ["|".join(str(item[name]) for name in names) for names in complete]
