"""The shipped checkpoint on the transformers at hand: `load_model`, `ask` and the demo's evaluation.

`make test-versions` runs this on every version that has constraints of its own.
"""

from __future__ import annotations

import json
import re

import pytest

from video3d_plugin import cli, load_model, load_scene


def test_it_answers_and_finds_boxes(my_scan):
    model = load_model(device="cpu", max_frames=4)
    assert model.model.initialised_parts == []
    scene = load_scene(my_scan)
    assert model.answer(scene, "How many chairs are there?", max_new_tokens=8).strip()
    assert len(model.ground(scene, "the chair")) > 0


def test_the_command_asks_it(my_scan, capsys):
    assert cli.main(["ask", str(my_scan), "How many chairs are there?", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_demo_evaluates_it(tmp_path, capsys):
    pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (pip install 'video3d-plugin[eval]')")
    assert cli.main(["demo", "--output", str(tmp_path), "--rooms", "1", "--limit", "4"]) == 0
    printed = capsys.readouterr().out
    for task in ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d"):
        (row,) = re.findall(rf"^{task} .*$", printed, re.MULTILINE)
        assert re.search(r"\d+\.\d", row), f"{task} has no number: {row!r}"
