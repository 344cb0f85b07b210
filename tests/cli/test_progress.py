"""Progress on stderr: nothing into a pipe, unless a line for each stage is wanted."""

from __future__ import annotations

import pytest

from video3d_plugin.cli import progress
from video3d_plugin.cli.parser import parse


@pytest.fixture(autouse=True)
def restored():
    yield
    progress.choose("auto")


def test_plain_progress_is_a_line_for_each_stage_and_auto_says_nothing_into_a_pipe(capsys):
    for kind in progress.KINDS:
        progress.choose(kind)
        with progress.status("loading the model"):
            pass
        with progress.status("thinking"):
            pass
        lines = capsys.readouterr().err.splitlines()
        assert [line.split("s] ")[-1] for line in lines] == (
            ["loading the model", "thinking"] if kind == "plain" else []
        )


def test_every_command_takes_the_option():
    assert parse(["view", "scan", "--progress", "plain"]).progress == "plain"
    assert parse(["report", "results"]).progress == "auto"
