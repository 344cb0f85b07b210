"""What is read of a model under ZeRO-3 leaves it as it was: whole parameters whole, sharded ones sharded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from video3d_plugin.model.checkpoint.lora import save_full
from video3d_plugin.model.distributed import zero3

HERE = Path(__file__).resolve().parent


class Status(Enum):
    AVAILABLE = 1
    NOT_AVAILABLE = 2


class GatheredParameters:
    """What DeepSpeed's does to parameters: shards all of them at the end, also those that were whole before."""

    def __init__(self, parameters, modifier_rank=None):
        self.parameters, self.modifier_rank = list(parameters), modifier_rank

    def __enter__(self):
        for parameter in self.parameters:
            if parameter.ds_status is Status.NOT_AVAILABLE:
                parameter.data, parameter.ds_status = parameter.ds_tensor, Status.AVAILABLE

    def __exit__(self, *_):
        for parameter in self.parameters:
            if self.modifier_rank is not None:
                parameter.ds_tensor = parameter.data.clone()
            parameter.data, parameter.ds_status = torch.empty(0), Status.NOT_AVAILABLE


@pytest.fixture
def sharded(monkeypatch):
    """A module of which DeepSpeed keeps the bias whole, as it does with what is small."""
    monkeypatch.setitem(
        sys.modules, "deepspeed", SimpleNamespace(zero=SimpleNamespace(GatheredParameters=GatheredParameters))
    )
    module = torch.nn.Linear(3, 2)
    for number, parameter in enumerate(module.parameters()):
        parameter.ds_id, parameter.ds_tensor = number, parameter.data.clone()
        parameter.ds_status = Status.AVAILABLE
    module.weight.data, module.weight.ds_status = torch.empty(0), Status.NOT_AVAILABLE
    module.get_base_model = lambda: SimpleNamespace(config=SimpleNamespace(save_pretrained=lambda folder: None))
    return module


def test_what_is_saved_beside_an_adapter_is_whole_and_the_model_is_left_as_it_was(sharded, tmp_path):
    bias = sharded.bias.data
    save_full(sharded, tmp_path)
    saved = torch.load(tmp_path / "non_lora_trainables.bin", weights_only=True)
    assert saved["weight"].equal(sharded.weight.ds_tensor) and saved["bias"].equal(bias)
    assert sharded.bias.ds_status is Status.AVAILABLE and sharded.bias.equal(bias)
    assert sharded.weight.ds_status is Status.NOT_AVAILABLE and not sharded.weight.numel()


def test_nothing_is_gathered_where_all_is_whole_or_deepspeed_has_no_part(sharded, monkeypatch):
    monkeypatch.delitem(sys.modules, "deepspeed")
    with zero3.gathered_to_read([sharded.bias]), zero3.gathered_to_read(torch.nn.Linear(2, 2).parameters()):
        assert sharded.weight.ds_status is Status.NOT_AVAILABLE


def test_what_is_written_reaches_the_shards(sharded):
    with zero3.gathered(sharded.parameters()):
        torch.nn.init.ones_(sharded.weight)
    assert sharded.weight.ds_tensor.equal(torch.ones(2, 3)) and sharded.weight.ds_status is Status.NOT_AVAILABLE


@pytest.mark.slow
def test_a_lora_run_that_was_resumed_saves_and_steps_as_the_uninterrupted_one():
    for package in ("deepspeed", "peft"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    paths = [HERE.parents[1] / "helpers", HERE.parents[2], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in paths if str(p)), "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", str(HERE / "lora_zero3_probe.py")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=600)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-3000:]
    result = json.loads(found[1])
    assert result["resumed"] == pytest.approx(result["whole"][2:], rel=1e-5)
    assert len(set(result["whole"])) == 4
