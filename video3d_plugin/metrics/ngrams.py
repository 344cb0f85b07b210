"""BLEU, METEOR, ROUGE-L and CIDEr of a corpus, by pycocoevalcap.

One hypothesis and one or more references for each key. Results are fractions as pycocoevalcap gives them (CIDEr up
to 10); `named` turns them into percentages with names. Where Java fails, METEOR is None and `missing` says why; the
other scores do not need it. Without pycocoevalcap all of them are None, with that reason.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.java import JavaMissing, Meteor

NAMES = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge", "cider")


@dataclass(frozen=True)
class CorpusScores:
    """Corpus scores and item scores by name of NAMES; items are (N,) in key order. None: could not be computed."""

    corpus: dict[str, float | None]
    items: dict[str, np.ndarray | None]
    missing: dict[str, str] = field(default_factory=dict)

    def named(self, prefix: str = "", suffix: str = "", names: Sequence[str] = NAMES) -> dict[str, float | None]:
        """`{prefix}{name}{suffix}` -> 100 x the corpus score (CIDEr too, as papers print it), or None."""
        chosen = {name: self.corpus[name] for name in names}
        return {f"{prefix}{n}{suffix}": None if v is None else 100 * v for n, v in chosen.items()}

    def why(self, prefix: str = "", suffix: str = "") -> dict[str, str]:
        """The reasons for what is missing, under the names that `named` gives."""
        return {f"{prefix}{name}{suffix}": reason for name, reason in self.missing.items()}


class Scorer:
    """Scores corpora; starts METEOR once, at the first corpus, and remembers why if it cannot.

    without_meteor: a reason not to start it at all.
    """

    def __init__(self, without_meteor: str | None = None) -> None:
        self._meteor: Meteor | None = None
        self._no_meteor = without_meteor

    def close(self) -> None:
        if self._meteor is not None:
            self._meteor.close()
            self._meteor = None

    def __call__(self, hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CorpusScores:
        """Score `hypotheses` against `references[key]`; keys must agree and every item needs a reference."""
        if hypotheses.keys() != references.keys():
            raise DataError("hypotheses and references do not have the same keys")
        without = [key for key, sentences in references.items() if not sentences]
        if without:
            raise DataError(f"{len(without)} items have no reference, the first is {without[0]!r}")
        if not hypotheses:
            nothing = {name: "there is nothing to score" for name in NAMES}
            return CorpusScores(dict.fromkeys(NAMES), dict.fromkeys(NAMES), nothing)
        try:
            corpus, items = _plain_scores(hypotheses, references)
        except MissingError as error:
            return CorpusScores(dict.fromkeys(NAMES), dict.fromkeys(NAMES), dict.fromkeys(NAMES, str(error)))
        corpus["meteor"], items["meteor"], missing = self._meteor_score(hypotheses, references)
        return CorpusScores(corpus, items, missing)

    def _meteor_score(
        self, hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
    ) -> tuple[float | None, np.ndarray | None, dict[str, str]]:
        """(corpus score, item scores, reasons why there are none)."""
        if self._no_meteor is None:
            try:
                self._meteor = self._meteor or Meteor()
                score, items = self._meteor.score(hypotheses, references)
                return score, np.array(items), {}
            except JavaMissing as error:
                self._no_meteor = str(error)
                self.close()
        return None, None, {"meteor": self._no_meteor}


@contextmanager
def scorer(without_meteor: str | None = None) -> Iterator[Scorer]:
    """A Scorer whose METEOR ends with the block."""
    program = Scorer(without_meteor)
    try:
        yield program
    finally:
        program.close()


@lru_cache(maxsize=1)
def shared_scorer() -> Scorer:
    """One Scorer for the rest of the process: METEOR starts once for all corpora, and ends with the interpreter."""
    program = Scorer()
    atexit.register(program.close)
    return program


def _plain_scores(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float | None], dict[str, np.ndarray | None]]:
    """BLEU-1..4, ROUGE-L and CIDEr. Importing pycocoevalcap.bleu is quiet; `verbose=0` keeps its score quiet too."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError:
        raise MissingError("pycocoevalcap is not installed", remedy="pip install 'video3d-plugin[eval]'") from None
    result = {key: [hypothesis] for key, hypothesis in hypotheses.items()}
    truth = {key: list(references[key]) for key in result}
    bleu, bleu_items = Bleu(4).compute_score(truth, result, verbose=0)
    corpus: dict[str, float | None] = {f"bleu{n + 1}": float(score) for n, score in enumerate(bleu)}
    items: dict[str, np.ndarray | None] = {
        f"bleu{n + 1}": np.asarray(scores, np.float64) for n, scores in enumerate(bleu_items)
    }
    for name, program in (("rouge", Rouge()), ("cider", Cider())):
        score, scores = program.compute_score(truth, result)
        corpus[name], items[name] = float(score), np.asarray(scores, np.float64)
    return corpus, items


def length_ratio(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> float:
    """BLEU's words said over words in the closest references (ties: the shorter), as pycocoevalcap prints it."""
    said = expected = 0
    for key, hypothesis in hypotheses.items():
        length = len(hypothesis.split())
        said += length
        expected += min((abs(len(r.split()) - length), len(r.split())) for r in references[key])[1]
    return (said + 1e-15) / (expected + 1e-9)
