"""A run that several processes share: the same steps on the same scenes, and one result."""

from __future__ import annotations

import json

import pytest

from video3d_plugin.cli import main
from video3d_plugin.errors import DataError
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.training import processes

SHORT = "--tower-steps 1 --lookup-steps 1 --object-steps 1 --object-rounds 1 --steps 2 --scenes-per-step 2".split()


def test_each_process_takes_an_even_part_of_a_step(monkeypatch):
    assert processes.part_of(3) == 3 and processes.is_first()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert processes.part_of(6) == 3 and not processes.is_first()
    with pytest.raises(DataError, match="3 scenes a step cannot be shared evenly by 2"):
        processes.part_of(3)


def test_two_processes_do_what_one_does(rooms, tmp_path, capfd):
    losses = []
    for count in (1, 2):
        output = tmp_path / str(count)
        words = ["train", "--data", str(rooms.path), "--output", str(output), "--max-frames", "2", *SHORT]
        assert main([*words, "--processes", str(count)]) == 0
        said = capfd.readouterr().out
        assert said.count("2 steps over") == 1, "one of them reports"
        losses.append([loss for _, loss in json.loads((output / "training.json").read_text())["losses"]])
        assert Video3DForCausalLM.from_pretrained(output).config.num_hidden_layers > 1
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_full_folder_is_refused_before_anything_is_started(rooms, tmp_path, capsys, monkeypatch):
    (tmp_path / "kept").write_text("x")
    monkeypatch.setattr(processes, "launch", lambda *_: pytest.fail("started"))
    assert main(["train", "--data", str(rooms.path), "--output", str(tmp_path), "--processes", "2"]) == 2
    assert "is not empty" in capsys.readouterr().err
