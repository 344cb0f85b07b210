"""Several questions of one scene in one row: loss and gradients are the mean of the separate items."""

from __future__ import annotations

import pytest
import torch
from model_cases import question
from test_batches import gradients

from video3d_plugin.errors import DataError
from video3d_plugin.scene import Question


@pytest.fixture(scope="module")
def by_scene(mixed):
    """In the order in which shared rows hold them."""
    return sorted(mixed, key=lambda item: item.scene_id)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_losses_and_gradients(build, scenes, by_scene, attention, side):
    model, processor = build(attn_implementation=attention)
    apart = processor(by_scene, scenes, with_labels=True)
    shared = processor(by_scene, scenes, with_labels=True, shared=True, padding_side=side)
    assert len(shared["input_ids"]) == 2 and len(apart["input_ids"]) == len(by_scene)
    with torch.no_grad():
        one, other = model(**shared), model(**apart)
    assert torch.allclose(one.item_losses, other.item_losses, rtol=1e-5)
    assert torch.allclose(one.loss, other.loss, rtol=1e-5)
    expected = gradients(model, apart)
    for name, gradient in gradients(model, shared).items():
        norm = float(expected[name].norm())
        assert float((gradient - expected[name]).norm()) <= 1e-5 * norm + 1e-7, name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_mixed_precision(build, scenes, by_scene, attention):
    model, processor = build(attn_implementation=attention)
    shared = processor(by_scene, scenes, with_labels=True, shared=True)
    exact = model(**shared).item_losses.detach()
    with torch.autocast("cpu", torch.bfloat16):
        loose = model(**shared)
    loose.loss.backward()
    assert torch.allclose(loose.item_losses.detach(), exact, rtol=0.05, atol=0.05)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_row_of_one_question_is_the_question(pair, scenes):
    model, processor = pair
    items = [question("scan2cap", "a")]
    with torch.no_grad():
        shared = model(**processor(items, scenes[:1], with_labels=True, shared=True)).loss
        alone = model(**processor(items, scenes[:1], with_labels=True)).loss
    assert torch.allclose(shared, alone, rtol=1e-6)


@pytest.mark.slow  # compiles
def test_flex_attention_gives_the_same(build, scenes, by_scene):
    try:
        model, processor = build(attn_implementation="flex_attention")
    except (ValueError, ImportError) as error:  # transformers before 4.48
        pytest.skip(f"no FlexAttention for Qwen2 here: {error}")
    plain, _ = build()
    plain.load_state_dict(model.state_dict())
    batch = processor(by_scene, scenes, with_labels=True, shared=True)
    with torch.no_grad():
        try:
            found = model(**batch).item_losses
        except Exception as error:
            if "compile" not in str(error).lower() and "inductor" not in str(error).lower():
                raise
            pytest.skip(f"FlexAttention does not run on this machine: {type(error).__name__}")
        assert torch.allclose(found, plain(**batch).item_losses, rtol=1e-4)


def test_without_marks_flash_attention_is_refused_for_shared_rows(pair, scenes, by_scene, monkeypatch):
    model, processor = pair
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2", raising=False)
    shared = processor(by_scene, scenes, with_labels=True, shared=True)
    with torch.no_grad():
        assert torch.isfinite(model(**shared).loss)  # marks need no kernel that takes masks
    monkeypatch.setattr(model.model, "reads_marks", False)
    with pytest.raises(DataError, match="flash_attention_2.*sdpa"):
        model(**shared)


def test_text_before_the_image_cannot_be_shared(pair, scenes):
    _, processor = pair
    with pytest.raises(DataError, match="shared=False"):
        processor([Question("x", "1", "a", "Look: <image> What?", "red")], scenes, with_labels=True, shared=True)


def test_shared_rows_are_not_continued(pair, scenes, by_scene):
    model, processor = pair
    with pytest.raises(DataError, match="one item a row"):
        model.generate(**processor(by_scene, scenes, shared=True), max_new_tokens=2)
