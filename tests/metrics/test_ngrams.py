from __future__ import annotations

import math

import numpy as np
import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.metrics.ngrams import NAMES, Scorer, length_ratio


@pytest.fixture
def plain():
    pytest.importorskip("pycocoevalcap")
    return Scorer(without_meteor="not asked for")


def test_rouge_by_hand(plain):
    # LCS of "a b c" and "a c d" is 2: precision 2/3, recall 2/3, so F is 2/3 for any beta.
    scores = plain({"x": "a b c"}, {"x": ["a c d"]})
    assert scores.corpus["rouge"] == pytest.approx(2 / 3)


def test_bleu1_by_hand_with_the_brevity_penalty(plain):
    scores = plain({"x": "a b"}, {"x": ["a b c d"]})
    assert scores.corpus["bleu1"] == pytest.approx(math.exp(1 - 2), abs=1e-6)


def test_cider_by_hand(plain):
    # Two items with nothing in common; idf = log 2 for every n-gram, so an exact match is 10 for the n that exist.
    scores = plain({"x": "a b c d", "y": "e"}, {"x": ["a b c d"], "y": ["f"]})
    assert scores.items["cider"] == pytest.approx([10.0, 0.0])
    assert scores.corpus["cider"] == pytest.approx(5.0)


def test_empty_hypotheses_score_zero(plain):
    scores = plain({"x": "", "y": "a b c d"}, {"x": ["a b"], "y": ["a b c d"]})
    for name in ("bleu1", "rouge", "cider"):
        assert scores.items[name][0] == pytest.approx(0, abs=1e-6)
    assert np.isfinite([scores.corpus[name] for name in NAMES if name != "meteor"]).all()


def test_only_empty_hypotheses_do_not_divide_by_zero(plain):
    assert plain({"x": ""}, {"x": ["a b"]}).corpus["bleu4"] == pytest.approx(0, abs=1e-6)


def test_references_without_a_word_score_zero(plain):
    """pycocoevalcap's CIDEr ends in a ValueError where no reference has an n-gram."""
    scores = plain({"a": "a chair", "b": ""}, {"a": [""], "b": [" "]})
    assert scores.corpus["cider"] == 0 and scores.items["cider"].tolist() == [0, 0] and scores.corpus["bleu1"] < 1e-9


def test_nothing_to_score_is_none_and_not_zero(plain):
    scores = plain({}, {})
    assert set(scores.corpus.values()) == {None} and set(scores.missing) == set(NAMES)


def test_keys_must_agree_and_every_item_needs_a_reference(plain):
    with pytest.raises(DataError, match="same keys"):
        plain({"x": "a"}, {"y": ["a"]})
    with pytest.raises(DataError, match="no reference"):
        plain({"x": "a"}, {"x": []})


def test_meteor_that_was_not_asked_for_is_missing_with_that_reason(plain):
    scores = plain({"x": "a"}, {"x": ["a"]})
    assert scores.named("v3d_", "@0.5")["v3d_meteor@0.5"] is None
    assert scores.why("v3d_", "@0.5") == {"v3d_meteor@0.5": "not asked for"}


def test_scoring_prints_nothing(plain, capfd):
    plain({"x": "a b"}, {"x": ["a b"]})
    assert capfd.readouterr() == ("", "")


def test_the_corpus_score_of_meteor_is_the_programs_own_and_not_the_mean(java, score):
    scores = score({"x": "a chair", "y": "the long brown table next to the door"}, {"x": ["a sofa"], "y": ["a table"]})
    assert scores.corpus["meteor"] != pytest.approx(scores.items["meteor"].mean(), abs=1e-4)


def test_length_ratio_takes_the_closest_reference_and_the_shorter_of_two():
    assert length_ratio({"x": "a b c"}, {"x": ["a b", "a b c d"]}) == pytest.approx(3 / 2)
