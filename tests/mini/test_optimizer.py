"""Muon and AdamW as one optimizer: which parameters each takes, rates, stored state."""

from __future__ import annotations

import copy

import pytest
import torch

from video3d_plugin.errors import DataError
from video3d_plugin.mini.optimizer import build_optimizer
from video3d_plugin.mini.settings import MiniSettings


def test_muon_takes_the_layers_matrices_and_adamw_the_rest_each_parameter_once(build):
    model, _ = build()
    settings = MiniSettings(optimizer="muon", vision_tower_lr=1e-4, learning_rate=1e-3)
    together = build_optimizer(model, settings)
    held = [id(p) for group in together.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    names = {id(p): name for name, p in model.named_parameters()}
    muon = {names[id(p)] for group in together.parts[0].param_groups for p in group["params"]}
    assert muon and all(name.startswith("model.layers.") and name.endswith("proj.weight") for name in muon)
    rates = {names[id(p)]: group["lr"] for group in together.param_groups for p in group["params"]}
    writing = {name for name in muon if name.endswith(("o_proj.weight", "down_proj.weight"))}
    assert {rates[name] for name in writing} == {0.005} and {rates[name] for name in muon - writing} == {0.02}
    assert all((rate == 1e-4) == ("vision_tower" in name) for name, rate in rates.items() if name not in muon)


def test_a_scheduler_reaches_both_and_a_stored_state_goes_on_alike(build):
    def run(model, together, steps):
        for step in range(steps):
            together.zero_grad()
            sum((p * (step + 1)).square().sum() for p in model.parameters()).backward()
            together.step()

    settings = MiniSettings(optimizer="muon", learning_rate=1e-3, vision_tower_lr=None)
    model, _ = build()
    together = build_optimizer(model, settings)
    scheduler = torch.optim.lr_scheduler.LambdaLR(together, lambda step: 0.5)
    assert [g["lr"] for g in together.parts[0].param_groups] == [0.01, 0.0025]
    assert all(g["lr"] == 5e-4 for g in together.parts[1].param_groups)
    del scheduler
    run(model, together, 2)
    twin, _ = build()
    twin.load_state_dict(model.state_dict())
    other = build_optimizer(twin, settings)
    other.load_state_dict(copy.deepcopy(together.state_dict()))
    run(model, together, 1)
    run(twin, other, 1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_an_unknown_optimiser_lists_the_known():
    with pytest.raises(DataError, match="adamw, muon"):
        MiniSettings(optimizer="sgd")
