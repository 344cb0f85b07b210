"""The functions that the YAML files of `lmms_tasks/` name: documents, prompts, frames, records and aggregation.

lmms-eval aggregates each metric over a list of per-sample values. The first metric of a task gets the complete record
of each sample (ids, scores, boxes, answers: enough to score it again and to draw it). The other metrics get the
sample's id, and look up their values in the scores computed for the first. A samples file thus holds each record once,
and METEOR runs once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.hosts.lmms_eval import plain_prompts
from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.tasks import TaskSpec, get

log = logging.getLogger(__name__)

MINI_QUESTIONS = 64
MINI_SCENES = 8


class SceneTask:
    """One benchmark for lmms-eval.

    Args:
        spec: Name of the benchmark, or its TaskSpec.
    """

    def __init__(self, spec: str | TaskSpec) -> None:
        self.spec = get(spec) if isinstance(spec, str) else spec
        self.name = self.spec.name

    def docs(self, split: str, mini: bool = False) -> Callable[[Any], Any]:
        """Return the function for `process_docs`, which replaces lmms-eval's placeholder by prepared documents.

        Args:
            split: The split.
            mini: Whether to use a fixed selection of the documents (`mini_selection`).

        Returns:
            A function that returns a `datasets.Dataset`. It raises MissingError where no document is prepared, and
            DataError where the documents do not fit one table.
        """

        def process_docs(placeholder: Any) -> Any:
            try:
                from datasets import Dataset
                from pyarrow import ArrowException
            except ImportError as error:
                remedy = "pip install 'video3d-plugin[eval]'"
                raise MissingError(f"evaluation needs {error.name or 'datasets'}", remedy=remedy) from error
            folder = STATE.data_folder()
            docs = folder.docs(self.name, split)
            if not docs:
                raise MissingError(
                    f"no questions of {self.name} {split} about the prepared scenes",
                    where=folder.path,
                    remedy="prepare the scenes of this split, or choose another task",
                )
            try:
                return Dataset.from_list(mini_selection(docs) if mini else docs)
            except (ArrowException, ValueError, TypeError, OverflowError) as error:
                # two types in one column, an integer of more than 64 bits, half of a surrogate pair
                what = f"the docs of {self.name} {split} do not fit in one table: {error!s:.200}"
                raise DataError(what, where=folder.path, remedy="run `video3d prepare` again") from error

        return process_docs

    def text(self, doc: Mapping, options: Mapping | None = None) -> str:
        """Return the prompt (`doc_to_text`).

        Args:
            doc: An evaluation document.
            options: `lmms_eval_specific_kwargs`. `format: video3d` gives the prompt of the published weights, anything
                else a plain one (`plain_prompts`).
        """
        options = options or {}
        if _reads_scenes(options):
            return doc["prompt"]
        return plain_prompts.text(self.spec, doc, options)

    def visual(self, doc: Mapping, options: Mapping | None = None) -> list:
        """Return the images (`doc_to_visual`); none for `format: video3d`, which reads the scene itself.

        Args:
            doc: An evaluation document.
            options: `lmms_eval_specific_kwargs`, see `plain_prompts`.
        """
        options = options or {}
        return [] if _reads_scenes(options) else plain_prompts.images(doc["scene_id"], options)

    def target(self, doc: Mapping) -> str:
        """Return the ids and the ground truth as JSON (`doc_to_target`). Samples of --predict_only hold nothing else.

        Args:
            doc: An evaluation document.
        """
        names = ("scene_id", "item_id", *self.spec.truth_fields)
        return json.dumps({name: doc[name] for name in names if name in doc})

    def process_results(self, doc: Mapping, results: Sequence[str]) -> dict[str, dict]:
        """Return the sample's record for the first metric, and its id for the others.

        Args:
            doc: An evaluation document.
            results: The model's responses; the first is scored.
        """
        record = self.spec.record(doc, self._prediction(doc, results[0]))
        first, *others = self.spec.metrics
        items = {name: {"metric": name, "id": record["id"]} for name in others}
        return {first: {"metric": first, **record}, **items}

    def _prediction(self, doc: Mapping, response: str) -> Any:
        reason = STATE.why_unanswered(self.name, doc["scene_id"], str(doc["item_id"]))
        if reason is not None:
            return {"unanswered": reason}
        return self.spec.response_prediction(doc, response)

    def aggregate(self, items: Sequence[dict]) -> float | str:
        """Compute a metric (`aggregation`).

        Args:
            items: The values of `process_results` for one metric.
        """
        return aggregate(self.spec, items)

    def write_submission(self, split: str) -> Callable[..., str]:
        """Return the `aggregation` of a split without public answers, which writes a prediction file.

        Args:
            split: The split.
        """
        from video3d_plugin.hosts.lmms_eval.submission import writer

        return writer(self.spec, split)

    def submission_items(self, doc: Mapping, results: Sequence[str]) -> dict[str, dict]:
        """Return the document and the prediction (`process_results` of a split without public answers).

        Args:
            doc: An evaluation document.
            results: The model's responses; the first is used.
        """
        return {"submission": {"doc": dict(doc), "response": self._prediction(doc, results[0])}}


def _reads_scenes(options: Mapping) -> bool:
    return options.get("format") == "video3d" or STATE.current.reads_scenes


def mini_selection(docs: Sequence[dict], questions: int = MINI_QUESTIONS, scenes: int = MINI_SCENES) -> list[dict]:
    """Select documents evenly over a split. The selection is deterministic.

    Args:
        docs: All documents of the split.
        questions: Maximum number of documents.
        scenes: Maximum number of scenes.
    """
    ids = sorted({doc["scene_id"] for doc in docs})
    selected = {ids[i] for i in _spread(len(ids), scenes)}
    candidates = [doc for doc in docs if doc["scene_id"] in selected]
    return [candidates[i] for i in _spread(len(candidates), questions)]


def _spread(count: int, limit: int) -> list[int]:
    return list(range(count)) if count <= limit else [i * count // limit for i in range(limit)]


def aggregate(spec: TaskSpec, items: Sequence[dict]) -> float | str:
    """Compute one metric of a benchmark.

    Args:
        spec: The benchmark.
        items: The values of `SceneTask.process_results` for this metric.

    Returns:
        The value in per cent; "N/A" where it cannot be computed, with the reason in the log.

    Raises:
        Video3DError: The benchmark's first metric was not aggregated before over the same samples.
    """
    from video3d_plugin.metrics.ngrams import shared_scorer

    values = STATE.current.values
    metric, ids = items[0]["metric"], frozenset(item["id"] for item in items)
    if metric == spec.metrics[0]:
        # Sorted, so that sums of floats do not depend on the number of ranks.
        scores = spec.scores(sorted(items, key=lambda record: record["id"]), shared_scorer())
        values[spec.name] = (ids, scores.flat())
        shown = {name: reason for name, reason in scores.missing.items() if name in spec.metrics}
        for reason, names in _by_reason(shown).items():
            log.warning("%s: %s could not be computed: %s", spec.name, ", ".join(names), reason)
    seen, numbers = values.get(spec.name, (None, {}))
    if seen != ids:
        what = f"{metric} was requested before {spec.metrics[0]}, which holds the records"
        raise Video3DError(f"{spec.name}: {what}")
    value = numbers[metric]
    return "N/A" if value is None else value


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        reasons.setdefault(reason, []).append(name)
    return reasons
