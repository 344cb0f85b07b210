"""What the task folders of `lmms_tasks/` have in common: docs, prompts, frames, records and numbers for lmms-eval.

lmms-eval computes each metric from its own list of per-sample values. The first metric of a task carries the whole
record of a sample (ids, scores, boxes, answers: what the samples file keeps, enough to score again and to draw); the
others carry a reference, and read their number from what was computed for the first. So a samples file holds each
record once, and METEOR's Java runs once.
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
    """One benchmark for lmms-eval; its methods are what the YAML files name.

    `spec` is a benchmark's name, or the TaskSpec itself.
    """

    def __init__(self, spec: str | TaskSpec) -> None:
        self.spec = get(spec) if isinstance(spec, str) else spec
        self.name = self.spec.name

    def docs(self, split: str, mini: bool = False) -> Callable[[Any], Any]:
        """`process_docs`: in place of the placeholder data set, the docs of the data folder in use."""

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
        """`doc_to_text`: for video3d the prompt its weights were trained with, for any other model a plain one."""
        options = options or {}
        if _reads_scenes(options):
            return doc["prompt"]
        return plain_prompts.text(self.spec, doc, options)

    def visual(self, doc: Mapping, options: Mapping | None = None) -> list:
        """`doc_to_visual`: frames as images, with `depth` each followed by it; video3d reads the scene itself."""
        options = options or {}
        return [] if _reads_scenes(options) else plain_prompts.images(doc["scene_id"], options)

    def target(self, doc: Mapping) -> str:
        """`doc_to_target`: JSON of the question's ids and its truth; --predict_only samples hold nothing else."""
        names = ("scene_id", "item_id", *self.spec.truth_fields)
        return json.dumps({name: doc[name] for name in names if name in doc})

    def process_results(self, doc: Mapping, results: Sequence[str]) -> dict[str, dict]:
        """The record of a sample under the first metric, a reference to it under the others."""
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
        """`aggregation` of every metric: the items say which."""
        return aggregate(self.spec, items)

    def write_submission(self, split: str) -> Callable[..., str]:
        """`aggregation` of a split whose answers are not public: writes the benchmark's own prediction file."""
        from video3d_plugin.hosts.lmms_eval.submission import writer

        return writer(self.spec, split)

    def submission_items(self, doc: Mapping, results: Sequence[str]) -> dict[str, dict]:
        """`process_results` of such a split."""
        return {"submission": {"doc": dict(doc), "response": self._prediction(doc, results[0])}}


def _reads_scenes(options: Mapping) -> bool:
    return options.get("format") == "video3d" or STATE.current.reads_scenes


def mini_selection(docs: Sequence[dict], questions: int = MINI_QUESTIONS, scenes: int = MINI_SCENES) -> list[dict]:
    """At most so many questions about at most so many scenes, spread evenly over the split; always the same ones."""
    ids = sorted({doc["scene_id"] for doc in docs})
    selected = {ids[i] for i in _spread(len(ids), scenes)}
    asked = [doc for doc in docs if doc["scene_id"] in selected]
    return [asked[i] for i in _spread(len(asked), questions)]


def _spread(count: int, limit: int) -> list[int]:
    return list(range(count)) if count <= limit else [i * count // limit for i in range(limit)]


def aggregate(spec: TaskSpec, items: Sequence[dict]) -> float | str:
    """One number of a task, in per cent; "N/A", with the reason in the log, where it cannot be computed."""
    from video3d_plugin.metrics.ngrams import shared_scorer

    values = STATE.current.values
    metric, ids = items[0]["metric"], frozenset(item["id"] for item in items)
    if metric == spec.metrics[0]:
        # Ranks hand over their records one after the other: sorted, so that sums of floats do not depend on it.
        scores = spec.scores(sorted(items, key=lambda record: record["id"]), shared_scorer())
        values[spec.name] = (ids, scores.flat())
        shown = {name: reason for name, reason in scores.missing.items() if name in spec.metrics}
        for reason, names in _by_reason(shown).items():
            log.warning("%s: %s could not be computed: %s", spec.name, ", ".join(names), reason)
    seen, numbers = values.get(spec.name, (None, {}))
    if seen != ids:
        what = f"{metric} was asked for before {spec.metrics[0]}, which carries the records"
        raise Video3DError(f"{spec.name}: {what}")
    value = numbers[metric]
    return "N/A" if value is None else value


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        reasons.setdefault(reason, []).append(name)
    return reasons
