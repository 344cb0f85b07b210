"""A run that several processes share: the same steps on the same scenes, and one result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from video3d_plugin.cli import main
from video3d_plugin.errors import DataError
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.training import processes
from video3d_plugin.training.run import TrainSettings
from video3d_plugin.training.stage import run_stage

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


class Seen(torch.utils.data.Dataset):
    """Four items, each of which is the epoch that it is read in."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.epoch


class Recording(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.epochs = torch.nn.Parameter(torch.zeros(())), []

    def forward(self, epochs):
        self.epochs += epochs.tolist()
        return {"loss": self.weight * 0.0}


def record_epochs(output: str) -> None:
    """Six steps of two items, which are three epochs; leaves the epochs of the items that this process read."""
    model = Recording()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run_stage(model, Seen(), lambda items: {"epochs": torch.tensor(items)}, optimizer, 6, output, TrainSettings(), "x")
    Path(output, f"{'first' if processes.is_first() else 'second'}.json").write_text(json.dumps(model.epochs))
    processes.end_together()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("count", [1, 2])
def test_every_epoch_is_told_to_the_items(tmp_path, count):
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", __file__, str(tmp_path)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=300)
    read = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert read == [sorted([0, 1, 2] * (4 // count))] * count


if __name__ == "__main__":
    record_epochs(sys.argv[1])
