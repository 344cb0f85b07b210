"""From records to numbers: what the benchmarks' score functions return and share.

A record is a plain dict that JSON can hold, with everything needed to score it again. `status` says what became of
the prediction:

    ok           scored
    missing      no prediction was made (None, or {"unanswered": reason}); each convention has its own rule for these
    empty        a prediction without content
    unreadable   text in which no box was found or that is too long, words that are no text, or scores that do not fit
                 the proposals; scored as wrong
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from video3d_plugin.metrics import answers
from video3d_plugin.metrics.java import JavaMissing
from video3d_plugin.metrics.ngrams import NAMES, Scorer

STATUSES = ("missing", "empty", "unreadable", "duplicate", "extra")
FORMAT_FLAGS = ("multi_line", "non_ascii")  # texts that are scored, but that some evaluators stumble over
# What the names of numbers begin with that are not the official evaluator's.
OF_OTHERS = tuple("v3d_ m3dref_ leo_ llava3d_ chatscene_ torchmetrics_ mass half_ llm_ benchmark_".split())
LEO_NAMES = ("bleu4", "meteor", "rouge", "cider")
Pairs = tuple[dict[str, str], dict[str, list[str]]]


@dataclass(frozen=True)
class Scores:
    """The numbers of many records.

    Attributes:
        values: Numbers by name, in per cent; None where one cannot be computed.
        counts: What was scored, by name.
        missing: Why a value is None, by its name.
    """

    values: dict[str, float | None]
    counts: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def flat(self) -> dict[str, float | None]:
        """Values, then the counts as `count_<what>`."""
        return {**self.values, **{f"count_{name}": float(n) for name, n in self.counts.items()}}


def distinct(records: Sequence[dict]) -> list[dict]:
    """One record an id: a later one replaces an earlier one."""
    return list({record["id"]: record for record in records}.values())


def with_counts(scores: Scores, records: Sequence[dict], repeated: int) -> Scores:
    """The scores, with what became of the predictions counted, and a reason for every value that is missing."""
    status = Counter(record["status"] for record in records)
    status["duplicate"] = repeated
    status["extra"] = sum(bool(record.get("extra")) for record in records)
    flags = Counter(name for record in records for name in record.get("peculiar", ()))
    counts = {"questions": len(records), **{name: status[name] for name in STATUSES}}
    counts |= {name: flags[name] for name in FORMAT_FLAGS} | scores.counts
    without = dict.fromkeys((name for name, v in scores.values.items() if v is None), "no question of this kind")
    return Scores(scores.values, counts, without | scores.missing)


def format_flags(text: str) -> list[str]:
    """Which of FORMAT_FLAGS a prediction's text has."""
    is_so = (len(text.strip().splitlines()) > 1, not text.isascii())
    return [name for name, flag in zip(FORMAT_FLAGS, is_so, strict=True) if flag]


class CorpusNumbers:
    """Collects n-gram scores, and the reasons for missing ones, over several corpora."""

    def __init__(self, score: Scorer) -> None:
        self.score = score
        self.values: dict[str, float | None] = {}
        self.missing: dict[str, str] = {}

    def add(self, pairs: Callable[[], Pairs], prefix: str, suffix: str = "", names: Sequence[str] = NAMES) -> None:
        """Score the corpus that `pairs` makes; where making it needs a Java that is not there, all of it is missing."""
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
    """Of one answer, both sides cleaned: 1 where it is a reference, 0.5 where the refined match finds one, else 0."""
    if record["status"] == "missing":
        return 0.0
    clean = answers.clean_answer
    exact, refined = answers.chatscene_match(clean(record["answer"]), [clean(reference) for reference in references])
    return max(float(exact), 0.5 * refined)
