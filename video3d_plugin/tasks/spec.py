"""TaskSpec: everything in which one benchmark differs from another, in one record.

A benchmark is a module with such a record; every table elsewhere is derived from the records of all benchmarks
(`tasks.registry`). Adding one: docs/extending.md.

    from video3d_plugin import tasks
    spec = tasks.get("scanrefer")
    record = spec.record(doc, prediction)   # a plain dict: ids, boxes, status, what the question scored
    numbers = spec.aggregate(records)       # {"acc@0.25": 58.1, ..., "count_missing": 0}
    scores = spec.scores(records)           # values, counts, and why a value is missing
    spec.names()                            # every name of a number; spec.headline: those to show first

Numbers are percentages, CIDEr x 100 as papers print it. A plain name is the official evaluator's number; other
programs' numbers have a prefix (`v3d_`, `m3dref_`, `leo_`, ...). None: it could not be computed.

What a prediction may be: None or {"unanswered": reason} (missing); text; a dict; a list of one. Scores and words may
also come as a dict in JSON text; any other JSON text is read by `metrics.box_text`.

    boxes      {"scores": [N or N+1], "boxes": [[6] x N], "has_zero_target": bool}; a box or a list of boxes, also as
               {"boxes": ...} or {"box": ...}, each six numbers or eight corners; or text with boxes
    captions   {"caption": str, "box": [6] or None}, or text for the box that the document gives
    answers    text, {"answer": str}, for benchmarks that rank answers also {"answers": [best, second, ...]}
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
    """How files of predictions hold them, beside the project's own lines and lmms-eval's samples.

    Attributes:
        official_names: Names under which the official files hold a prediction, to the names used here.
        read_value: Turns what stands under `prediction` into a prediction.
        flags: What an official file says of an item itself, to the document's name of the same.
        folder_of_scenes: Whether a folder of <scene_id>.json files is one of the official forms.
        sample_key: Turns the `sample_id` of a line of Video-3D-LLM's output into a key.
        value_kind: Kind (see `files.schema`) of what stands under `prediction` where it is a list.
        reference_kind: Kind of `gt_response` in such a line; None: any.
        reference_doc: Makes a document of such a line, which holds the truth beside the prediction.
        place: (doc, prediction) -> the prediction with what only its document knows.
        extra_record: Given the line's flags, the fields of the record of a prediction that no question asked for.
        score_scenes: (path, documents, scorer) -> scores of a file that predicts whole scenes at once, or None where
            the file has another form. `documents` is a function: only such a file needs them.
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
    """(true boxes, predicted boxes) of a record with one of each at most."""
    truth, predicted = record.get("gt_box"), record.get("box")
    return [truth] if truth else [], [predicted] if predicted else []


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One benchmark.

    Attributes:
        name: As hosts and data folders call it; letters, digits and underscores.
        files: Split to the names of the annotation files that it needs, as officially published.
        eval_split: The split that papers report.
        hidden_splits: Splits whose answers are not public: documents are made of them, training questions are not.
        is_grounding: Answered with boxes; the model's answer is `<ground>` and a score for each proposal.
        needs_boxes: Boxes are part of the truth, which therefore needs the scans and not the annotations alone.
        needs_point: A question is about a point: its prompt holds one `<coord>`. Without a point it cannot be asked.

        read: (paths of a split's files) -> items, checked.
        doc_fields: Kinds of the documents' fields that are read when they are asked and scored.
        docs: (items, split, context) -> evaluation documents: `task`, `split`, `item_id`, `scene_id`, `prompt`, and
            whatever else `make_record` reads; `coords` where the prompt holds `<coord>`.
        questions: (items, split, context) -> training questions.
        processed: Video-3D LLM's processed files of the benchmark; None where it has none.

        plain_prompt: The question for a model that was not trained on it; names of a document's text fields, and
            {box}, are filled in.
        text_keys: Names under which a prediction that is a mapping holds its words; () for boxes.
        response_prediction: (doc, a model's response) -> the prediction.
        truth_fields: Fields of a document that lmms-eval's samples list as the target, where a document has them.

        make_record: (doc, prediction) -> the record's own fields: at least `id`, `scene_id`, `status`.
        score_records: (records, scorer) -> scores.
        record_fields: Fields that are read when a record is scored, with their kinds (see `files.schema`).
        headline: The numbers to show first.
        metrics: The numbers in the host's table, in order. The first carries the records.
        with_mass: The same benchmark with boxes selected by another cumulative mass; None where none are selected so.

        id_fields: Official ids of a question, best first: each a tuple of a document's fields, joined by "|".
        predictions: How files of predictions hold them.
        submission: (doc, prediction) -> an item of the file for the benchmark's own server; None where it has none.

        question_count: How many questions the split that papers report has; None: not known.
        published: System (`tasks.systems`) to its numbers by name.
        bars: (label, name of a number) of each bar in the report.
        example_fields: (label, field of the record) of what the report shows of an example.
        item_score: Score of one record, higher is better, by which the worst examples are found.
        corpus_scores: (records) -> {id: score}, in place of `item_score` where one item has no score of its own.
        score_meaning: What such a score is.
        boxes: (record) -> true and predicted boxes, to be drawn.
        show: (record) -> what the viewer says of it: `question`, `answer`, `expected`, `verdict`, `point`; see
            `view.items`.
        yaml_folder: Folder in which an add-on has its YAML files for lmms-eval.
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
        """Everything about one sample; `prediction` inside it is the raw one, for drawing and for scoring again."""
        parsed = parse_prediction(prediction, self.text_keys)
        record: Record = {"task": self.name, "status": "missing" if parsed.is_missing else "ok"}
        record.update(self.make_record(doc, parsed))
        record["prediction"] = finite(parsed.fields) if parsed.fields is not None else parsed.text
        if parsed.reason:
            record["reason"] = parsed.reason
        record["peculiar"] = format_flags(record.get("caption") or record.get("answer") or parsed.text or "")
        return record

    def scores(self, records: Sequence[Record], score: Scorer | None = None) -> Scores:
        """The numbers of many records, in every convention.

        Args:
            records: A later record of the same id replaces the earlier one and is counted as a duplicate.
            score: A running Scorer to use for the text metrics (METEOR takes ten seconds to start); None starts one.
        """
        known = distinct(records)
        with nullcontext(score) if score is not None else scorer() as running:
            scores = self.score_records(known, running)
        return with_counts(scores, known, len(records) - len(known))

    def aggregate(self, records: Sequence[Record]) -> dict[str, float | None]:
        """Percentages by name (None: could not be computed), and the counts as `count_<what>`."""
        return self.scores(records).flat()

    def names(self) -> tuple[str, ...]:
        """Every name that `aggregate` gives."""
        return tuple(self.aggregate([]))

    def item_scores(self, records: Sequence[Record]) -> dict[str, float]:
        """{id: score} of single questions, higher is better; what it is: `score_meaning`. Empty where there is none."""
        if self.corpus_scores is not None:
            return self.corpus_scores(records)
        return {} if self.item_score is None else {record["id"]: self.item_score(record) for record in records}

    def keys(self, item: Mapping[str, Any]) -> list[str]:
        """The official ids of a document, or of a line of predictions, that its fields give, best first."""
        complete = (names for names in self.id_fields if all(item.get(name) is not None for name in names))
        return ["|".join(str(item[name]) for name in names) for names in complete]
