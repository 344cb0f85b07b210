"""Progress on stderr: nothing into a pipe, unless a line for each stage is wanted."""

from __future__ import annotations

import logging
import shutil

import pytest

from video3d_plugin import cli
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


def test_what_lower_layers_log_of_their_stages_is_a_line_and_their_warnings_stay(capsys):
    log = logging.getLogger("video3d_plugin.data.prepare")
    for kind in progress.KINDS:
        progress.choose(kind)
        log.info("annotations")
    progress.choose("plain")
    log.warning("a warning")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].endswith(" s] annotations") and lines[1] == "a warning"


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["sample", "SCAN"], ["comparing colour with depth", "selecting frames"]),
        (["prepare", "SCANS", "--output", "data", "--store"], ["scenes and frames: 1 scans", "annotations", "store"]),
        (["score", "sqa3d", "none.jsonl"], ["computing the numbers"]),
        (["report", "none"], ["reading the results"]),
    ],
)
def test_commands_say_their_stages_where_plain_progress_is_wanted(
    my_scan, tmp_path, monkeypatch, capsys, words, stages
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(my_scan, tmp_path / "scans" / "my_scan")
    words = [{"SCAN": str(my_scan), "SCANS": "scans"}.get(word, word) for word in words]
    cli.main([*words, "--progress", "plain"])
    said = capsys.readouterr().err
    assert [stage for stage in stages if f" s] {stage}" not in said] == []
