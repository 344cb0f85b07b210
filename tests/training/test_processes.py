"""A run that several processes share: the same steps on the same scenes, and one result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from video3d_plugin.errors import DataError
from video3d_plugin.training import processes
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.stage import Stage, run_stage


def test_each_process_takes_an_even_part_of_a_step(monkeypatch):
    assert processes.scenes_per_process(3) == 3 and processes.is_first()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert processes.scenes_per_process(6) == 3 and not processes.is_first()
    with pytest.raises(DataError, match="learning to see: 3 scenes a step cannot be shared evenly by 2"):
        processes.scenes_per_process(3, "learning to see")


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
    stage = Stage("x", model, Seen(), lambda items: {"epochs": torch.tensor(items)}, lambda: optimizer, 0, 6, 2)
    run_stage(stage, output, TrainSettings())
    Path(output, f"{'first' if processes.is_first() else 'second'}.json").write_text(json.dumps(model.epochs))
    processes.leave_process_group()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("count", [1, 2])
def test_every_epoch_is_told_to_the_items(tmp_path, count):
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", __file__, str(tmp_path)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=300)
    read = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert read == [sorted([0, 1, 2] * (4 // count))] * count


if __name__ == "__main__":
    record_epochs(sys.argv[1])
