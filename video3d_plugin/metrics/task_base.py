"""What the five benchmarks' bindings share: the record of one sample, and the numbers of many.

A record is a plain dict that JSON can hold, with everything needed to score it again. `status` says what became of
the prediction:

    ok           scored
    missing      no prediction was made (None, or {"unanswered": reason}); each convention has its own rule for these
    empty        a prediction without content
    unreadable   text in which no box was found or that is too long, words that are no text, or scores that do not fit
                 the proposals; scored as wrong
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from video3d_plugin.files.schema import finite
from video3d_plugin.metrics.ngrams import Scorer, scorer

STATUSES = ("missing", "empty", "unreadable", "duplicate", "extra")
LONGEST_ANSWER = 20_000  # characters of an answer or caption that are scored; longer ones count as unreadable
LONGEST_REFERENCE = 5_000  # the longest of an official file has 700; ROUGE takes the product of both lengths
PECULIAR = ("multi_line", "non_ascii")  # texts that are scored, but that some evaluators stumble over


@dataclass(frozen=True)
class Scores:
    """Numbers by name (percentages; None: cannot be computed, `missing` says why) and counts of what was scored."""

    values: dict[str, float | None]
    counts: dict[str, int]
    missing: dict[str, str] = field(default_factory=dict)

    def flat(self) -> dict[str, float | None]:
        """Values, then the counts as `count_<what>`."""
        return {**self.values, **{f"count_{name}": float(n) for name, n in self.counts.items()}}


@dataclass(frozen=True)
class Unpacked:
    """A prediction taken apart: a mapping in our own format, or text; neither where it is missing."""

    text: str | None = None
    fields: Mapping[str, Any] | None = None
    reason: str = ""

    @property
    def is_missing(self) -> bool:
        return self.text is None and self.fields is None


def unpack(prediction: Any, text_keys: Sequence[str] = ()) -> Unpacked:
    """None, a mapping, text, or a list of one of these (as from lmms-eval).

    text_keys   what a mapping holds the words of an answer under; () for a task of boxes, for which any other list is
                a box or several of them ([]: nothing is there)
    """
    if isinstance(prediction, list | tuple):
        if not text_keys and not (len(prediction) == 1 and isinstance(prediction[0], str | Mapping | None)):
            return Unpacked(fields={"boxes": list(prediction)})
        prediction = prediction[0] if prediction else None
    if isinstance(prediction, str):
        prediction = _mapping_of_ours(prediction, text_keys) or prediction
    if isinstance(prediction, Mapping):
        if prediction.get("unanswered"):
            return Unpacked(reason=str(prediction["unanswered"]))
        return Unpacked(fields=prediction)
    return Unpacked(reason="no prediction") if prediction is None else Unpacked(text=str(prediction))


def _mapping_of_ours(text: str, text_keys: Sequence[str]) -> Mapping | None:
    """JSON with the scores of proposals, a reason why there is no answer, or words; any other is a foreign model's
    answer, and left to the parser of boxes in text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    keys = decoded.keys()
    is_ours = keys >= {"scores", "boxes"} or keys == {"unanswered"} or any(key in keys for key in text_keys)
    return decoded if is_ours else None


@dataclass(frozen=True)
class Task:
    """One benchmark: `record(doc, prediction)` for a sample, `scores(records)` or `aggregate(records)` for many.

    name        as in the host
    main        the metrics to show first
    text_keys   where a prediction that is a mapping holds its words; () for a task of boxes
    """

    name: str
    main: tuple[str, ...]
    make_record: Callable[[Mapping, Unpacked], dict]
    score_records: Callable[[Sequence[dict], Scorer], Scores]
    text_keys: tuple[str, ...] = ()

    def record(self, doc: Mapping, prediction: Any) -> dict:
        """Everything about one sample; `prediction` inside it is the raw one, for drawing and for scoring again."""
        unpacked = unpack(prediction, self.text_keys)
        record: dict[str, Any] = {"task": self.name, "status": "missing" if unpacked.is_missing else "ok"}
        record.update(self.make_record(doc, unpacked))
        record["prediction"] = finite(unpacked.fields) if unpacked.fields is not None else unpacked.text
        if unpacked.reason:
            record["reason"] = unpacked.reason
        record["peculiar"] = _peculiar(record.get("caption") or record.get("answer") or unpacked.text or "")
        return record

    def scores(self, records: Sequence[dict], score: Scorer | None = None) -> Scores:
        """All conventions. A later record of the same id replaces the earlier one and is counted as a duplicate.

        score: a running Scorer to use for the text metrics (METEOR takes ten seconds to start); None starts one.
        """
        by_id = {record["id"]: record for record in records}
        kept = list(by_id.values())
        with nullcontext(score) if score is not None else scorer() as score:
            scores = self.score_records(kept, score)
        status = Counter(record["status"] for record in kept)
        status["duplicate"] = len(records) - len(kept)
        status["extra"] = sum(bool(record.get("extra")) for record in kept)
        peculiar = Counter(name for record in kept for name in record.get("peculiar", ()))
        counts = {"questions": len(kept), **{name: status[name] for name in STATUSES}}
        counts |= {name: peculiar[name] for name in PECULIAR} | scores.counts
        without = dict.fromkeys((name for name, v in scores.values.items() if v is None), "no question of this kind")
        return Scores(scores.values, counts, without | scores.missing)

    def aggregate(self, records: Sequence[dict]) -> dict[str, float | None]:
        """Percentages by name (None: could not be computed), and the counts as `count_<what>`."""
        return self.scores(records).flat()

    def names(self) -> tuple[str, ...]:
        """Every name that `aggregate` gives."""
        return tuple(self.aggregate([]))

    def metric(self, name: str) -> Callable[[Sequence[dict]], float | None]:
        """A function records -> number, as a host wants one for each metric; all of them share one computation."""

        def metric(records: Sequence[dict]) -> float | None:
            return _remembered(self, records)[name]

        metric.__name__ = metric.__qualname__ = f"{self.name}_{name}"
        return metric


def _peculiar(text: str) -> list[str]:
    found = (len(text.strip().splitlines()) > 1, not text.isascii())
    return [name for name, is_so in zip(PECULIAR, found, strict=True) if is_so]


_last: dict[str, tuple[str, dict[str, float | None]]] = {}


def _remembered(task: Task, records: Sequence[dict]) -> dict[str, float | None]:
    """`aggregate`, kept for the records seen last: hosts ask for each metric in turn, and METEOR takes a while."""
    digest = hashlib.blake2b(digest_size=16)
    for record in records:
        digest.update(json.dumps(slim(record), sort_keys=True, default=str).encode())
    key = digest.hexdigest()
    if _last.get(task.name, ("",))[0] != key:
        _last[task.name] = (key, task.aggregate(records))
    return _last[task.name][1]


def slim(record: Mapping) -> dict:
    """The record without the raw prediction, which no number depends on."""
    return {key: value for key, value in record.items() if key != "prediction"}
