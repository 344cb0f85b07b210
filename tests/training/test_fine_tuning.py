"""A checkpoint that is trained further: in float32, whatever it is stored in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_training import LANGUAGE, VISION, MadeUpFolder

from video3d_plugin.model.lora import add_lora, load_full
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.tiny import build_tiny, train_tokenizer
from video3d_plugin.training.run import TrainSettings, train

SETTINGS = TrainSettings(
    tasks=("scanqa", "scanrefer"), steps=20, scenes_per_step=2, questions_per_scene=3, save_every=20, max_frames=2
)


@pytest.fixture
def stored():
    """(model, processor) with bfloat16 weights, as published checkpoints have."""
    texts = ["<image> What is thing 0 1 2 3 4? Find it red green blue white"] * 3
    model, processor = build_tiny(train_tokenizer(texts, 320), vision=VISION, seed=0, **LANGUAGE)
    processor.label_style = "answer"
    return model.bfloat16(), processor


def layers_of(model) -> list[torch.Tensor]:
    return [p.detach().clone() for name, p in model.named_parameters() if "model.layers." in name and p.ndim == 2]


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_small_steps_reach_the_weights_of_a_bfloat16_checkpoint(stored, tmp_path, precision):
    """Steps of 1e-5 are less than half the distance of two bfloat16 numbers from 0.005 on: each alone is lost."""
    model, processor = stored
    before = layers_of(model)
    folder = MadeUpFolder(model.config.inputs_spec)
    train(model.train(), processor, folder, tmp_path / "run", replace(SETTINGS, precision=precision))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}, "what they were"
    again = Video3DForCausalLM.from_pretrained(str(tmp_path / "run"), dtype="auto")
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    large = [old.abs() > 0.005 for old in before]
    changed = sum(int((new != old)[of].sum()) for new, old, of in zip(layers_of(again), before, large, strict=True))
    assert changed > 0.2 * sum(int(of.sum()) for of in large)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_beside_an_adapter_what_is_frozen_stays_and_what_trains_in_full_is_float32(stored, tmp_path, precision):
    pytest.importorskip("peft")
    model, processor = stored
    words, frozen = model.model.embed_tokens.weight.detach().clone(), layers_of(model)
    folder = MadeUpFolder(model.config.inputs_spec)
    wrapped = add_lora(model, rank=2)
    train(wrapped.train(), processor, folder, tmp_path / "run", replace(SETTINGS, precision=precision))
    base = [p for name, p in wrapped.named_parameters() if "base_layer" in name and p.ndim == 2]
    assert all(torch.equal(p, old) for p, old in zip(base, frozen, strict=True))
    load_full(model, tmp_path / "run" / "non_lora_trainables.bin")
    seen = (model.model.embed_tokens.weight != words).any(1)
    large = (words.abs() > 0.005)[seen]
    assert float((model.model.embed_tokens.weight != words)[seen][large].float().mean()) > 0.2
