"""Shared by the benchmarks' score functions: the result, counts, and collection of text metrics.

A record is a dict of JSON values with everything needed to score it again. Its `status` is one of:

    ok           the prediction was scored
    missing      no prediction was made (None, or {"unanswered": reason}); each convention has its own rule
    empty        the prediction has no content
    unreadable   the text is too long or holds no box, a value is not text, or the number of scores does not fit the
                 proposals; scored as wrong
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from video3d_plugin.metrics import answers
from video3d_plugin.metrics.java import JavaMissing
from video3d_plugin.metrics.ngrams import NAMES, Scorer

STATUSES = ("missing", "empty", "unreadable", "duplicate", "extra")
FORMAT_FLAGS = ("multi_line", "non_ascii")  # texts that are scored here, but that some evaluators misread
# Prefixes of metrics that are not those of the official evaluator.
UNOFFICIAL_PREFIXES = tuple("v3d_ m3dref_ leo_ llava3d_ chatscene_ torchmetrics_ mass half_ llm_ benchmark_".split())
LEO_NAMES = ("bleu4", "meteor", "rouge", "cider")
Pairs = tuple[dict[str, str], dict[str, list[str]]]


@dataclass(frozen=True)
class Scores:
    """The metrics of many records.

    Attributes:
        values: Metrics by name, in per cent; None if one cannot be computed.
        counts: Numbers of records by what is counted.
        missing: Reasons by name, for values that are None.
    """

    values: dict[str, float | None]
    counts: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def flat(self) -> dict[str, float | None]:
        """Return the values, and the counts as `count_<what>`."""
        return {**self.values, **{f"count_{name}": float(n) for name, n in self.counts.items()}}


def distinct(records: Sequence[dict]) -> list[dict]:
    """Return one record for each id. A later record replaces an earlier one."""
    return list({record["id"]: record for record in records}.values())


def with_counts(scores: Scores, records: Sequence[dict], repeated: int) -> Scores:
    """Add the counts by status, and a reason for every missing value.

    Args:
        scores: Scores of the records.
        records: The records.
        repeated: Number of records that were replaced by later ones.
    """
    status = Counter(record["status"] for record in records)
    status["duplicate"] = repeated
    status["extra"] = sum(bool(record.get("extra")) for record in records)
    flags = Counter(name for record in records for name in record.get("peculiar", ()))
    counts = {"questions": len(records), **{name: status[name] for name in STATUSES}}
    counts |= {name: flags[name] for name in FORMAT_FLAGS} | scores.counts
    without = dict.fromkeys((name for name, v in scores.values.items() if v is None), "no question of this kind")
    return Scores(scores.values, counts, without | scores.missing)


def format_flags(text: str) -> list[str]:
    """Return which of FORMAT_FLAGS apply to the text of a prediction."""
    flags = (len(text.strip().splitlines()) > 1, not text.isascii())
    return [name for name, flag in zip(FORMAT_FLAGS, flags, strict=True) if flag]


class CorpusNumbers:
    """Collects text metrics of several corpora, and the reasons for missing ones.

    Args:
        score: A running Scorer.

    Attributes:
        values: Metrics by name, in per cent; None if one cannot be computed.
        missing: Reasons by name, for values that are None.
    """

    def __init__(self, score: Scorer) -> None:
        self.score = score
        self.values: dict[str, float | None] = {}
        self.missing: dict[str, str] = {}

    def add(self, pairs: Callable[[], Pairs], prefix: str, suffix: str = "", names: Sequence[str] = NAMES) -> None:
        """Score a corpus.

        Args:
            pairs: Makes the hypotheses and references. If it raises JavaMissing, all metrics of the corpus are missing.
            prefix: Prefix of the metrics' names.
            suffix: Suffix of the metrics' names.
            names: Metrics to add.
        """
        try:
            scores = self.score(*pairs())
        except JavaMissing as error:
            absent = [f"{prefix}{name}{suffix}" for name in names]
            self.values.update(dict.fromkeys(absent))
            self.missing.update(dict.fromkeys(absent, str(error)))
            return
        self.values.update(scores.named(prefix, suffix, names))
        self.missing.update({k: v for k, v in scores.why(prefix, suffix).items() if k in self.values})


def match_score(record: Mapping, references: Sequence[str]) -> float:
    """Score one answer, both sides cleaned (`metrics.answers`).

    Args:
        record: A record with `status` and `answer`.
        references: The annotated answers.

    Returns:
        1 for an exact match, 0.5 for Chat-Scene's refined match, else 0.
    """
    if record["status"] == "missing":
        return 0.0
    clean = answers.clean_answer
    exact, refined = answers.chatscene_match(clean(record["answer"]), [clean(reference) for reference in references])
    return max(float(exact), 0.5 * refined)
