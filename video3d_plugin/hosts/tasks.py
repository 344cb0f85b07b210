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
from video3d_plugin.hosts import outcome, plain_prompts
from video3d_plugin.hosts.current import data_folder

log = logging.getLogger(__name__)

MINI_QUESTIONS = 64
MINI_SCENES = 8

# What the host's table shows: the official numbers first, then those of the reference implementation. All the others
# (metrics.tasks.TASKS[...].names()) are computed offline from a samples file by `video3d score`.
METRICS: dict[str, tuple[str, ...]] = {
    "scanrefer": (
        *(f"{group}acc@{at}" for group in ("", "unique_", "multiple_") for at in (0.25, 0.5)),
        *(f"v3d_{group}acc@{at}" for group in ("", "unique_", "multiple_") for at in (0.25, 0.5)),
        *(f"m3dref_acc@{at}" for at in (0.25, 0.5)),
        "count_missing",
        "count_unreadable",
    ),
    "multi3drefer": (
        *(f"{kind}f1@{at}" for kind in ("", "zt_w_d_", "zt_wo_d_", "st_w_d_", "st_wo_d_", "mt_") for at in (0.25, 0.5)),
        *(
            f"{prefix}f1@{at}"
            for prefix in ("v3d_", "mass0.25_", "mass0.25_v3d_", "half_", "half_v3d_")
            for at in (0.25, 0.5)
        ),
        "count_missing",
        "count_unreadable",
    ),
    "scan2cap": (
        *(f"{prefix}{name}@0.5" for prefix in ("", "v3d_") for name in ("cider", "bleu4", "meteor", "rouge")),
        "count_missing",
        "count_no_box",
    ),
    "scanqa": (
        *("em@1", "bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge", "cider", "leo_em_refined"),
        *("v3d_em", "v3d_bleu4", "v3d_meteor", "v3d_rouge", "v3d_cider"),
        "count_missing",
    ),
    "sqa3d": (
        *(f"em{kind}" for kind in ("", "_what", "_is", "_how", "_can", "_which", "_others")),
        *("v3d_em", "leo_em_refined"),
        "count_missing",
    ),
}


class SceneTask:
    """One benchmark for lmms-eval; its methods are what the YAML files name."""

    def __init__(self, name: str) -> None:
        if name not in METRICS:
            raise Video3DError(f"no task {name!r} (known: {', '.join(METRICS)})")
        self.name = name
        self.metrics = METRICS[name]

    def docs(self, split: str, mini: bool = False) -> Callable[[Any], Any]:
        """`process_docs`: in place of the placeholder data set, the docs of the data folder in use."""

        def process_docs(placeholder: Any) -> Any:
            from datasets import Dataset
            from pyarrow import ArrowException

            folder = data_folder()
            found = folder.docs(self.name, split)
            if not found:
                raise MissingError(
                    f"no questions of {self.name} {split} about the prepared scenes",
                    where=folder.path,
                    remedy="prepare the scenes of this split, or choose another task",
                )
            try:
                return Dataset.from_list(mini_selection(found) if mini else found)
            except (ArrowException, ValueError, TypeError, OverflowError) as error:
                # two types in one column, an integer of more than 64 bits, half of a surrogate pair
                what = f"the docs of {self.name} {split} do not fit in one table: {error!s:.200}"
                raise DataError(what, where=folder.path, remedy="run `video3d prepare` again") from error

        return process_docs

    def text(self, doc: Mapping, options: Mapping | None = None) -> str:
        """`doc_to_text`: for video3d the prompt its weights were trained with, for any other model a plain one."""
        options = options or {}
        if options.get("format") == "video3d":
            return doc["prompt"]
        return plain_prompts.text(self.name, doc, options)

    def visual(self, doc: Mapping, options: Mapping | None = None) -> list:
        """`doc_to_visual`: frames as images, with `depth` each followed by it; video3d reads the scene itself."""
        options = options or {}
        return [] if options.get("format") == "video3d" else plain_prompts.images(doc["scene_id"], options)

    def target(self, doc: Mapping) -> str:
        """`doc_to_target`: JSON of the question's ids and its truth; --predict_only samples hold nothing else."""
        names = ("scene_id", "item_id", "gt_box", "gt_boxes", "references", "answers", "answer")
        return json.dumps({name: doc[name] for name in names if name in doc})

    def process_results(self, doc: Mapping, results: Sequence[str]) -> dict[str, dict]:
        """The record of a sample under the first metric, a reference to it under the others."""
        from video3d_plugin.metrics.tasks import get

        record = get(self.name).record(for_metrics(doc), self._prediction(doc, results[0]))
        first, *others = self.metrics
        items = {name: {"metric": name, "id": record["id"]} for name in others}
        return {first: {"metric": first, **record}, **items}

    def _prediction(self, doc: Mapping, response: str) -> Any:
        reason = outcome.why_unanswered(self.name, doc["scene_id"], str(doc["item_id"]))
        if reason is not None:
            return {"unanswered": reason}
        if self.name == "scan2cap":
            return {"caption": response, "box": doc["box"]}
        return response

    def aggregate(self, items: Sequence[dict]) -> float | str:
        """`aggregation` of every metric: the items say which."""
        return aggregate(self.name, items)

    def write_submission(self, split: str) -> Callable[..., str]:
        """`aggregation` of a split whose answers are not public: writes the benchmark's own prediction file."""
        from video3d_plugin.hosts.submission import writer

        return writer(self.name, split)

    def submission_items(self, doc: Mapping, results: Sequence[str]) -> dict[str, dict]:
        """`process_results` of such a split."""
        return {"submission": {"doc": dict(doc), "response": self._prediction(doc, results[0])}}


def for_metrics(doc: Mapping) -> dict:
    """The doc with the names that `metrics.tasks` reads."""
    extra = {}
    if doc["task"] == "scan2cap":
        extra["reference_tokens"] = doc["token"]
    if doc["task"] == "scanrefer" and doc.get("multiple") is not None:
        extra["unique_multiple"] = int(doc["multiple"])
    return {**doc, **extra}


def mini_selection(docs: Sequence[dict], questions: int = MINI_QUESTIONS, scenes: int = MINI_SCENES) -> list[dict]:
    """At most so many questions about at most so many scenes, spread evenly over the split; always the same ones."""
    ids = sorted({doc["scene_id"] for doc in docs})
    chosen = {ids[i] for i in _spread(len(ids), scenes)}
    kept = [doc for doc in docs if doc["scene_id"] in chosen]
    return [kept[i] for i in _spread(len(kept), questions)]


def _spread(count: int, wanted: int) -> list[int]:
    return list(range(count)) if count <= wanted else [i * count // wanted for i in range(wanted)]


_numbers: dict[str, tuple[frozenset[str], dict[str, float | None]]] = {}


def aggregate(task: str, items: Sequence[dict]) -> float | str:
    """One number of a task, in per cent; "N/A", with the reason in the log, where it cannot be computed."""
    from video3d_plugin.metrics.ngrams import shared_scorer
    from video3d_plugin.metrics.tasks import get

    metric, ids = items[0]["metric"], frozenset(item["id"] for item in items)
    if metric == METRICS[task][0]:
        # Ranks hand over their records one after the other: sorted, so that sums of floats do not depend on it.
        scores = get(task).scores(sorted(items, key=lambda record: record["id"]), shared_scorer())
        _numbers[task] = (ids, scores.flat())
        shown = {name: reason for name, reason in scores.missing.items() if name in METRICS[task]}
        for reason, names in _by_reason(shown).items():
            log.warning("%s: %s could not be computed: %s", task, ", ".join(names), reason)
    seen, numbers = _numbers.get(task, (None, {}))
    if seen != ids:
        raise Video3DError(f"{task}: {metric} was asked for before {METRICS[task][0]}, which carries the records")
    value = numbers[metric]
    return "N/A" if value is None else value


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        reasons.setdefault(reason, []).append(name)
    return reasons
