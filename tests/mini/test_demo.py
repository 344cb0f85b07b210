"""`video3d demo` from rooms to table, as small as it goes; and what it says when something fails."""

from __future__ import annotations

import re

import pytest

from video3d_plugin import cli
from video3d_plugin.mini import demo

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (pip install 'video3d-plugin[eval]')")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


def small(output, *more):
    return [
        "demo",
        "--output",
        str(output),
        "--rooms",
        "1",
        "--train",
        "--train-rooms",
        "2",
        "--steps",
        "2",
        "--limit",
        "6",
        *more,
    ]


def test_the_demo_ends_with_a_table_of_all_five_tasks(output, capsys):
    assert cli.main(small(output)) == 0
    printed = capsys.readouterr().out
    assert "trained from scratch for 2 steps on 2 made-up rooms" in printed
    for task in demo.TASKS:
        (row,) = re.findall(rf"^{task} .*$", printed, re.MULTILINE)
        assert re.search(r"\d+\.\d", row), f"{task} has no number: {row!r}"
    assert len(list(output.rglob("*_samples_*.jsonl"))) == 5


def test_a_second_run_reuses_rooms_and_checkpoint(output, capsys):
    assert cli.main(small(output)) == 0
    printed, bars = capsys.readouterr()
    assert "furnished rooms" not in printed and "from scratch, " not in printed
    assert "Postprocessing" not in bars, "no bars in a pipe"


def test_a_failed_evaluation_is_a_nonzero_exit(output, capsys, monkeypatch):
    from video3d_plugin import evaluate
    from video3d_plugin.errors import Video3DError

    def fail(*args, **kwargs):
        raise Video3DError("lmms-eval gave no results for scanrefer")

    monkeypatch.setattr(evaluate, "evaluate", fail)
    assert cli.main(small(output)) == 2
    assert "lmms-eval gave no results" in capsys.readouterr().err


def test_questions_without_an_answer_are_a_nonzero_exit(output, capsys, monkeypatch):
    from video3d_plugin import evaluate

    monkeypatch.setattr(evaluate, "evaluate", lambda tasks, **_: {task: {"count_missing": 3} for task in tasks})
    assert cli.main(small(output)) == 2
    assert "questions without an answer" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_says_so(tmp_path, capsys):
    assert cli.main(["demo", "--output", str(tmp_path), "--rooms", "1", "--checkpoint", str(tmp_path / "none")]) == 2
    assert "no checkpoint here" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--limit", "--rooms", "--train-rooms", "--steps"])
def test_none_of_something_is_a_mistake_said_before_any_work(tmp_path, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["demo", "--output", str(tmp_path / "out"), option, "0"])
    assert f"{option}: '0' is not a whole number above 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_table_shows_missing_numbers_as_missing():
    numbers = {task: {metric: 12.34 for metric, _, _ in rows} for task, rows in demo.ROWS.items()}
    numbers["scan2cap"]["cider@0.5"] = None
    printed = demo.table(numbers, {"scanqa": {"per_template": 20.0}})
    assert re.search(r"scan2cap +CIDEr@0.5 +missing", printed)
    assert re.search(r"scanqa +EM@1 +12\.3 +20\.0", printed)
