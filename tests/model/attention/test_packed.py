"""Several questions of one scene in one row: loss and gradients are the mean of the separate items."""

from __future__ import annotations

import copy

import pytest
import torch
from model_cases import gradients, question, random_scene

from video3d_plugin.errors import DataError
from video3d_plugin.model.attention import packed
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
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_compiled_layer_is_one_graph_for_rows_of_any_length(build, scenes, checkpointing):
    from torch._dynamo.testing import CompileCounterWithBackend

    model, processor = build()
    compiled = copy.deepcopy(model)
    counter = CompileCounterWithBackend("eager")
    compiled.model.compile_layers(backend=counter, fullgraph=True)  # which fails where a graph would break
    for one in (model, compiled):
        one.train()
        if checkpointing:
            one.gradient_checkpointing_enable({"use_reentrant": False})
    kinds = ["scanqa", "scan2cap", "multi3drefer", "two_coords", "sqa3d"]
    for kept in (kinds[:2], kinds[:3], kinds, kinds[1:4]):
        batch = processor([question(kind, "a") for kind in kept], scenes[:1], with_labels=True, shared=True)
        expected, found = gradients(model, batch), gradients(compiled, batch)
        assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    assert counter.frame_count <= 3  # not one for each layer or length


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


def test_without_packed_attention_flash_attention_is_refused_for_shared_rows(pair, scenes, by_scene, monkeypatch):
    model, processor = pair
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2", raising=False)
    shared = processor(by_scene, scenes, with_labels=True, shared=True)
    with torch.no_grad():
        assert torch.isfinite(model(**shared).loss)  # packed attention needs no kernel that takes masks
    monkeypatch.setattr(model.model, "packed_attention_enabled", False)
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


def both_ways(model, batch):
    """(losses and gradients with packed attention, the same with a mask of all pairs)."""
    found = []
    for reads in (True, False):
        model.model.packed_attention_enabled = reads
        try:
            model.zero_grad()
            output = model(**batch)
            output.loss.backward()
        finally:
            model.model.packed_attention_enabled = True
        found.append(
            (output.item_losses.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        )
    return found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", ["all tasks, two lengths", "one question", "one frame", "no proposals"])
def test_packed_attention_gives_the_losses_and_gradients_of_a_mask(build, scenes, by_scene, case, side):
    model, processor = build()
    spec = model.config.inputs_spec
    chosen, items = list(scenes), by_scene
    if case == "one question":
        items = by_scene[:1]
    elif case == "one frame":
        chosen = [random_scene(spec, "a", 1, 4, seed=3), scenes[1]]
    elif case == "no proposals":
        chosen, items = [random_scene(spec, "a", 2, 0)], [question("scanqa", "a"), question("sqa3d", "a")]
    chosen = [scene for scene in chosen if any(item.scene_id == scene.scene_id for item in items)]
    batch = processor(items, chosen, with_labels=True, shared=True, padding_side=side)
    (losses, gradients_), (masked_losses, masked) = both_ways(model, batch)
    assert len(losses) == len(items) and torch.allclose(losses, masked_losses, rtol=1e-5)
    assert gradients_.keys() == masked.keys()
    for name, gradient in gradients_.items():
        assert float((gradient - masked[name]).norm()) <= 1e-5 * float(masked[name].norm()) + 1e-7, name


def test_packed_attention_in_bfloat16_is_near_the_mask(build, scenes, by_scene):
    model, processor = build()
    batch = processor(by_scene, scenes, with_labels=True, shared=True)
    exact = both_ways(model, batch)[0][1]
    (losses, marked), (masked_losses, masked) = both_ways(model.bfloat16(), batch)
    assert torch.allclose(losses, masked_losses, atol=0.05, rtol=0.05)
    whole, by_packed, by_mask = (
        torch.cat([part[name].float().flatten() for name in exact]) for part in (exact, marked, masked)
    )
    error, other = float((by_packed - whole).norm()), float((by_mask - whole).norm())
    assert 0 < error <= 1.5 * other  # as near to float32 as the mask is


def test_the_fast_way_is_taken(pair, scenes, by_scene, monkeypatch):
    model, processor = pair
    calls = []
    monkeypatch.setattr(packed, "attend_row", lambda *parts, own=packed.attend_row: calls.append(1) or own(*parts))
    batch = processor(by_scene, scenes, with_labels=True, shared=True)
    model(**batch)
    assert len(calls) == 2 * model.config.num_hidden_layers  # rows times layers
    model(**processor(by_scene, scenes, with_labels=True))
    assert len(calls) == 2 * model.config.num_hidden_layers


def test_rows_in_another_order_are_not_marked():
    def mark(*row):
        found = packed.segment_mask(torch.tensor([row]))
        return None if found is None else found[0, 0, 0].tolist()

    padding = packed.PADDING
    assert mark(-1, 0, 0, 1, 2, 2, -1) == [padding, 0, 0, -1, -2, -2, padding]
    assert mark(0, 1, 0) is None and mark(0, 2, 1) is None and mark(0, -1, 1) is None
    assert mark(1, 1) is None and mark(0, 0) is None and mark(-1, -1) is None


def test_attention_with_dropout_keeps_the_mask(build, scenes, by_scene):
    model, processor = build(attention_dropout=0.1)
    plain, _ = build()
    assert not model.model.packed_attention_enabled and plain.model.packed_attention_enabled
    batch = processor(by_scene, scenes, with_labels=True, shared=True)
    with torch.no_grad():
        assert torch.allclose(model(**batch).item_losses, plain(**batch).item_losses, rtol=1e-5)


def test_an_extended_model_can_be_copied(pair, scenes, by_scene):
    model, processor = pair
    batch = processor(by_scene, scenes, with_labels=True, shared=True)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(**batch).loss, model(**batch).loss)
