"""Sums of weights: every change is seen, at once or within the calls that the module promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from video3d_plugin.model.prefix import weight_sums as sums
from video3d_plugin.model.prefix.key import prefix_key


@pytest.fixture
def layers(monkeypatch):
    """Weights of several windows: 64 of 1 KiB, one of 512 bytes, and 12 with an incomplete last one."""
    monkeypatch.setattr(sums, "SMALLEST_WINDOW", 1 << 10)
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(128, 128), nn.Embedding(1001, 3)])


def reads(monkeypatch):
    """How often all weights were read."""
    calls = []
    own = sums.windows_of
    monkeypatch.setattr(sums, "windows_of", lambda memory: (calls.append(1), own(memory))[1])
    return lambda module: len(calls) // len(list(module.parameters()))


def optimizer_step(layers, **kind):
    for weight in layers.parameters():
        weight.grad = torch.ones_like(weight)
    try:
        torch.optim.AdamW(layers.parameters(), lr=1e-6, **kind).step()
    except RuntimeError:
        pytest.skip("this torch has no such step on a CPU")


def load(layers):
    layers.load_state_dict({name: part * 2 for name, part in layers.state_dict().items()})


def one_number(layers):
    with torch.no_grad():
        layers[1].weight[-1, -1] *= -1


def one_number_in_inference_mode(layers):
    with torch.inference_mode():
        layers[1].weight[3, 1] += 1


class WritesData(torch.optim.Optimizer):
    """As optimizers of DeepSpeed do: a few rows, through `.data`."""

    def step(self, closure=None):
        self.param_groups[0]["params"][0].data[7] += 1


SEEN_AT_ONCE = {
    "step": lambda layers: optimizer_step(layers, foreach=False),
    "step of many": lambda layers: optimizer_step(layers, foreach=True),
    "fused step": lambda layers: optimizer_step(layers, fused=True),
    "step through data": lambda layers: WritesData(layers[1].parameters(), {}).step(),
    "load_state_dict": load,
    "one number": one_number,
    "one number in inference mode": one_number_in_inference_mode,
    "format": lambda layers: layers.bfloat16(),
    "format and back": lambda layers: layers.bfloat16().float(),
    "another tensor": lambda layers: setattr(layers[0], "weight", nn.Parameter(layers[0].weight.detach() + 1)),
    "another tensor's data": lambda layers: setattr(layers[0].weight, "data", layers[0].weight.data + 1),
    "all numbers through data": lambda layers: layers[1].weight.data.mul_(2),
    "all numbers through NumPy": lambda layers: layers[1].weight.detach().numpy().__imul__(2),
}


@pytest.mark.parametrize("change", SEEN_AT_ONCE)
def test_a_change_is_seen_at_once(layers, change):
    for _ in range(3):
        before = sums.weight_sums(layers, "")
    SEEN_AT_ONCE[change](layers)
    after = sums.weight_sums(layers, "")
    assert after != before
    assert after == sums.weight_sums(layers, "", full=True)


@pytest.mark.parametrize("row", [0, 7, 500, 1000])
def test_few_numbers_written_without_a_trace_are_seen_in_time(layers, row):
    before = sums.weight_sums(layers, "")
    layers[1].weight.data[row, 1] += 1
    found = [sums.weight_sums(layers, "") != before for _ in range(64)]
    assert found[-1] and found.count(False) == row * 12 // 1024  # windows of 1 KiB, in order


def test_a_full_sum_sees_them_at_once(layers):
    before = sums.weight_sums(layers, "")
    layers[1].weight.data[1000, 1] += 1
    assert sums.weight_sums(layers, "", full=True) != before


def test_all_weights_are_read_only_when_something_may_have_changed(layers, monkeypatch):
    count = reads(monkeypatch)
    for _ in range(70):
        sums.weight_sums(layers, "")
    assert count(layers) == 1
    layers.load_state_dict(layers.state_dict())  # the same numbers
    before = sums.weight_sums(layers, "")
    assert count(layers) == 2
    assert sums.weight_sums(layers, "merged") == before  # other switches
    assert count(layers) == 3


def test_weights_of_inference_mode_count_no_versions_and_are_sampled():
    with torch.inference_mode():
        layer = nn.Linear(8, 8)
        before = sums.weight_sums(layer, "")
        layer.weight[1, 1] += 1
    assert sums.weight_sums(layer, "") != before


def test_the_sum_of_equal_weights_is_the_same_in_each_model(layers):
    other = nn.ModuleList([nn.Linear(128, 128), nn.Embedding(1001, 3)])
    other.load_state_dict(layers.state_dict())
    assert sums.weight_sums(layers, "") == sums.weight_sums(other, "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8])
@pytest.mark.parametrize("shape", [(), (3,), (5, 7), (8, 8)])
def test_weights_of_any_size_and_format_are_summed(dtype, shape):
    module = nn.Module()
    module.weight = nn.Parameter(torch.ones(shape, dtype=dtype), requires_grad=False)
    before = sums.weight_sums(module, "")
    module.weight.reshape(-1)[-1] = 2
    assert sums.weight_sums(module, "") != before


def test_weights_at_any_address_and_of_several_tensors_are_summed():
    storage = torch.arange(9, dtype=torch.int8).view(torch.uint8)
    shifted, moved = nn.Module(), nn.Module()
    shifted.weight, moved.weight = (nn.Parameter(t, requires_grad=False) for t in (storage[1:], storage[1:].clone()))
    assert sums.weight_sums(shifted, "") == sums.weight_sums(moved, "")
    two = pytest.importorskip("torch.testing._internal.two_tensor")
    both = nn.Module()
    both.weight = nn.Parameter(two.TwoTensor(torch.ones(4), torch.ones(4)))  # as quantised weights are
    before = sums.weight_sums(both, "")
    both.weight.b.data[0] = 2
    assert sums.weight_sums(both, "") != before


def test_an_adapter_merged_and_unmerged_is_read_anew(build):
    pytest.importorskip("peft")
    from video3d_plugin.model.checkpoint.lora import add_lora

    model, processor = build()
    wrapped = add_lora(model, rank=2, dropout=0.0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    keys = [prefix_key(wrapped, processor)]
    wrapped.merge_adapter()
    keys.append(prefix_key(wrapped, processor))
    wrapped.unmerge_adapter()
    keys.append(prefix_key(wrapped, processor))
    assert keys[0] != keys[1]
    assert keys[2] == prefix_key(wrapped, processor, full=True)
