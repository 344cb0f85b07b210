"""A run that several processes share: the same steps on the same scenes, and one result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_up_folder import LANGUAGE, VISION, MadeUpFolder

from video3d_plugin.errors import DataError
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.tiny import build_tiny, train_tokenizer
from video3d_plugin.training import processes
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.stage import Stage, run_stage
from video3d_plugin.training.trainer import train


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


def run_processes(count: int, *arguments: Path) -> None:
    """Run this file in several processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", __file__]
    helpers = Path(__file__).resolve().parents[1] / "helpers"
    path = os.pathsep.join([str(helpers), os.environ.get("PYTHONPATH", "")])
    command += [str(argument) for argument in arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("count", [1, 2])
def test_every_epoch_is_told_to_the_items(tmp_path, count):
    run_processes(count, tmp_path)
    read = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert read == [sorted([0, 1, 2] * (4 // count))] * count


def trained_weights(output: Path, scenes_per_step: int, seed: int = 3) -> dict[str, torch.Tensor]:
    """Weights after steps of few items: in some, no item grounds or none is answered in words."""
    words = ["<image> What is thing 0 1 2 3 4? Find it red green blue white"] * 3
    model, processor = build_tiny(train_tokenizer(words, 320), vision=VISION, seed=0, **LANGUAGE)
    settings = TrainSettings(
        tasks=("scanqa", "scanrefer"), steps=8, scenes_per_step=scenes_per_step, questions_per_scene=1, seed=seed,
        learning_rate=1e-3, vision_tower_lr=1e-3, warmup_fraction=0.0, weight_decay=0.01,
    )  # fmt: skip
    folder = MadeUpFolder(model.config.inputs_spec)
    train(model.train(), processor, folder, output, settings)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def worst_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - value).abs().max()) for name, value in other.items())


def test_a_head_that_a_step_does_not_need_goes_on_along_its_momentum_as_with_several_processes(tmp_path, monkeypatch):
    alone = trained_weights(tmp_path / "alone", 1)
    monkeypatch.setattr(Video3DForCausalLM, "rank_sync_enabled", True)  # as ranks compute: zero gradients
    assert worst_difference(trained_weights(tmp_path / "ranks", 1), alone) < 2e-5


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path):
    run_processes(2, tmp_path / "two", tmp_path / "weights.pt")
    two = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert worst_difference(two, trained_weights(tmp_path / "one", 2)) < 2e-5


if __name__ == "__main__":
    if len(sys.argv) == 2:
        record_epochs(sys.argv[1])
    else:
        weights = trained_weights(Path(sys.argv[1]), 2)
        if processes.is_first():
            torch.save(weights, sys.argv[2])
        processes.leave_process_group()
