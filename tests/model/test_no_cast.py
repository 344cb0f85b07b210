"""Batches whose coordinates pass a trainer that converts floats; a tower whose number format a host must not change."""

from __future__ import annotations

import types

import torch

from video3d_plugin.model.no_cast import NoCast
from video3d_plugin.training.dataset import GroupCollator


def test_coordinates_pass_a_trainer_that_casts_to_bfloat16(build, scenes, mixed):
    model, processor = build()
    groups = [(scenes[0], [question for question in mixed if question.scene_id == scenes[0].scene_id])]
    plain = GroupCollator(processor, shared=False)(groups)
    kept = GroupCollator(processor, shared=False, as_is=True)(groups)

    def cast(part):  # as transformers' Trainer._prepare_input does under DeepSpeed
        if isinstance(part, torch.Tensor):
            return part.bfloat16() if part.is_floating_point() else part
        if isinstance(part, dict):
            return {name: cast(value) for name, value in part.items()}
        return [cast(value) for value in part] if isinstance(part, list) else part

    with torch.no_grad():
        expected = model(**plain).item_losses
        assert torch.equal(model(**cast(kept)).item_losses, expected)
        assert not torch.equal(model(**cast(plain)).item_losses, expected)  # or this test would prove nothing


def test_pinning_and_unwrapping():
    value = [torch.zeros(2)]
    assert NoCast(value).pin_memory().value is value


def test_the_host_cannot_make_the_tower_half(build):
    model, _ = build()
    tower = model.get_vision_tower()
    model.get_model().initialize_vision_modules(types.SimpleNamespace())
    assert tower.to(dtype=torch.float16, device="cpu") is tower and tower.dtype == torch.float32
    assert tower.to(torch.float16) is tower and tower.dtype == torch.float32
    assert model.to(torch.bfloat16).get_vision_tower().dtype == torch.bfloat16  # the model itself still can
