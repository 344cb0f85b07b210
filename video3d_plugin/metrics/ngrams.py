"""BLEU, METEOR, ROUGE-L and CIDEr of a corpus, computed by pycocoevalcap.

A corpus has one hypothesis and one or more references for each key. Scores are fractions as in pycocoevalcap (CIDEr up
to 10); `CorpusScores.named` returns percentages. METEOR needs Java: without it, METEOR is None and `missing` holds the
reason. Without pycocoevalcap, all scores are None.
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
    """The scores of a corpus. A score that could not be computed is None.

    Attributes:
        corpus: Scores of the corpus, by name of NAMES.
        items: (N,) scores of the items in key order, by name of NAMES.
        missing: Reasons by name, for scores that are None.
    """

    corpus: dict[str, float | None]
    items: dict[str, np.ndarray | None]
    missing: dict[str, str] = field(default_factory=dict)

    def named(self, prefix: str = "", suffix: str = "", names: Sequence[str] = NAMES) -> dict[str, float | None]:
        """Return the corpus scores in per cent (CIDEr x 100, as papers print it).

        Args:
            prefix: Prefix of the names.
            suffix: Suffix of the names.
            names: Scores to return.

        Returns:
            `{prefix}{name}{suffix}` to the score, or to None.
        """
        scores = {name: self.corpus[name] for name in names}
        return {f"{prefix}{n}{suffix}": None if v is None else 100 * v for n, v in scores.items()}

    def why(self, prefix: str = "", suffix: str = "") -> dict[str, str]:
        """Return the reasons for missing scores, under the names of `named`."""
        return {f"{prefix}{name}{suffix}": reason for name, reason in self.missing.items()}


class Scorer:
    """Scores corpora, with one METEOR process that starts at the first corpus.

    Args:
        without_meteor: Reason for not computing METEOR; None to compute it.
    """

    def __init__(self, without_meteor: str | None = None) -> None:
        self._meteor: Meteor | None = None
        self._no_meteor = without_meteor

    def close(self) -> None:
        """End METEOR."""
        if self._meteor is not None:
            self._meteor.close()
            self._meteor = None

    def __call__(self, hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> CorpusScores:
        """Score a corpus.

        Args:
            hypotheses: A sentence by key.
            references: One or more sentences for each of these keys.

        Raises:
            DataError: The keys differ, or an item has no reference.
        """
        if hypotheses.keys() != references.keys():
            raise DataError("hypotheses and references do not have the same keys")
        without = [key for key, sentences in references.items() if not sentences]
        if without:
            raise DataError(f"{len(without)} items have no reference, the first is {without[0]!r}")
        if not hypotheses:
            reasons = {name: "there is nothing to score" for name in NAMES}
            return CorpusScores(dict.fromkeys(NAMES), dict.fromkeys(NAMES), reasons)
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
    """Make a Scorer that is closed at the end of the block.

    Args:
        without_meteor: Reason for not computing METEOR; None to compute it.
    """
    program = Scorer(without_meteor)
    try:
        yield program
    finally:
        program.close()


@lru_cache(maxsize=1)
def shared_scorer() -> Scorer:
    """Return the Scorer of this process, which is closed when the interpreter ends."""
    program = Scorer()
    atexit.register(program.close)
    return program


def _plain_scores(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float | None], dict[str, np.ndarray | None]]:
    """BLEU-1 to BLEU-4, ROUGE-L and CIDEr. `verbose=0` keeps pycocoevalcap from printing.

    CIDEr is 0 where no reference has a word: no n-gram can agree. pycocoevalcap ends in a ValueError there.
    """
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
        if name == "cider" and not any(sentence.split() for sentences in truth.values() for sentence in sentences):
            score, scores = 0.0, [0.0] * len(truth)
        else:
            score, scores = program.compute_score(truth, result)
        corpus[name], items[name] = float(score), np.asarray(scores, np.float64)
    return corpus, items


def length_ratio(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> float:
    """Compute BLEU's length ratio, as pycocoevalcap prints it.

    Args:
        hypotheses: A sentence by key.
        references: Sentences by key.

    Returns:
        Number of words in the hypotheses divided by that in the references of closest length (the shorter of two).
    """
    words = expected = 0
    for key, hypothesis in hypotheses.items():
        length = len(hypothesis.split())
        words += length
        expected += min((abs(len(r.split()) - length), len(r.split())) for r in references[key])[1]
    return (words + 1e-15) / (expected + 1e-9)
