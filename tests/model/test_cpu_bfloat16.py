"""bfloat16 on a CPU without instructions for it: the numbers of a product in float32, rounded once."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from video3d_plugin.model import cpu_bfloat16
from video3d_plugin.model.cpu_bfloat16 import use_float32_products
from video3d_plugin.model.modeling import Video3DForCausalLM


@pytest.fixture(autouse=True)
def without_instructions(monkeypatch):
    monkeypatch.setattr(cpu_bfloat16, "has_bfloat16_instructions", lambda: False)
    cpu_bfloat16.say_once.cache_clear()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [1, 40, 1 << 24])
def test_products_are_those_of_float32_rounded_once(bias, block, monkeypatch):
    monkeypatch.setattr(cpu_bfloat16, "_BLOCK", block)
    layer = nn.Linear(20, 33, bias=bias).bfloat16()
    x = torch.randn(5, 14, 20).bfloat16()
    expected = nn.functional.linear(x.float(), layer.weight.float(), layer.bias.float() if bias else None)
    assert use_float32_products(nn.Sequential(layer)) == 1
    with torch.no_grad():
        assert torch.equal(layer(x), expected.bfloat16())


def test_few_rows_gradients_and_other_formats_go_the_usual_way(monkeypatch):
    layer = nn.Linear(20, 33).bfloat16()
    use_float32_products(layer)
    layer(torch.randn(70, 20).bfloat16()).float().sum().backward()
    assert layer.weight.grad.dtype == torch.bfloat16
    called = []
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: called.append(len(x)) or x)
    with torch.no_grad():
        layer(torch.randn(63, 20).bfloat16())
        layer(torch.randn(64, 20).bfloat16())
        layer.float()(torch.randn(65, 20))
    assert called == [63, 65] and use_float32_products(nn.Linear(20, 33)) == 0


def test_cpus_with_instructions_keep_their_layers(monkeypatch):
    monkeypatch.setattr(cpu_bfloat16, "has_bfloat16_instructions", lambda: True)
    layer = nn.Linear(20, 33).bfloat16()
    assert use_float32_products(layer) == 0 and type(layer) is nn.Linear


def test_a_loaded_model_has_such_layers_and_it_is_said_once(pair, tmp_path, caplog):
    model, _ = pair
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        loaded = [Video3DForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.bfloat16) for _ in range(2)]
    kinds = {type(module) for module in loaded[0].model.layers.modules() if isinstance(module, nn.Linear)}
    assert kinds == {cpu_bfloat16.Linear} and loaded[0].state_dict().keys() == model.state_dict().keys()
    assert sum("bfloat16" in record.message for record in caplog.records) == 1
    assert nn.Linear in {type(module) for module in Video3DForCausalLM.from_pretrained(tmp_path).modules()}
