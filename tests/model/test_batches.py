"""Items of one batch give what they give alone."""

from __future__ import annotations

import pytest
import torch
from model_cases import TASKS, alone, gradients, question, random_scene

from video3d_plugin.model import sequence as seq


@pytest.mark.parametrize("side", ["left", "right"])
def test_losses_and_scores_of_a_mixed_batch_are_those_of_the_items_alone(pair, scenes, mixed, side):
    model, processor = pair
    with torch.no_grad():
        together = model(**processor(mixed, scenes, with_labels=True, padding_side=side))
        apart = [model(**alone(processor, item, scenes, with_labels=True)) for item in mixed]
    losses = torch.stack([one.loss for one in apart])
    assert torch.allclose(together.item_losses, losses, rtol=1e-5)
    assert torch.allclose(together.loss, losses.mean(), rtol=1e-5)
    for item, one, scores in zip(mixed, apart, together.ground_scores, strict=True):
        assert (scores is not None) == item.is_grounding
        if scores is not None:
            assert torch.allclose(scores, one.ground_scores[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_generated_tokens_are_those_of_the_items_alone(pair, scenes, mixed, side):
    model, processor = pair
    texts = [item for item in mixed if not item.is_grounding]
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    together = model.generate(**processor(texts, scenes, padding_side=side), **options)
    apart = [model.generate(**alone(processor, item, scenes), **options)[0] for item in texts]
    assert together.tolist() == [tokens.tolist() for tokens in apart]
    assert len({tuple(tokens.tolist()) for tokens in apart}) > 1


def test_beam_search_of_a_batch_is_that_of_the_items_alone(pair, scenes, mixed):
    model, processor = pair
    texts = [item for item in mixed if not item.is_grounding]
    options = {"max_new_tokens": 5, "num_beams": 3, "do_sample": False, "eos_token_id": None}
    together = model.generate(**processor(texts, scenes), **options)
    apart = [model.generate(**alone(processor, item, scenes), **options)[0].tolist() for item in texts]
    assert together.tolist() == apart


def test_sampling_gives_several_sequences_an_item(pair, scenes, mixed):
    model, processor = pair
    torch.manual_seed(0)
    texts = [item for item in mixed if not item.is_grounding][:2]
    tokens = model.generate(
        **processor(texts, scenes), max_new_tokens=4, do_sample=True, num_return_sequences=3, eos_token_id=None
    )
    assert tokens.shape == (6, 4) and len({tuple(t) for t in tokens.tolist()}) > 2


def test_labels_and_grounding_answers_do_not_enter_each_others_loss(pair, scenes):
    """A grounding item's language labels are not trained on: its loss is the head's alone, as in the reference."""
    model, processor = pair
    batch = alone(processor, question("scanrefer", "b"), scenes, with_labels=True)
    before = model(**batch).loss
    batch["labels"] = batch["labels"].clone()
    batch["labels"][0, :9] = 7
    assert torch.equal(model(**batch).loss, before)


def test_the_loss_in_training_needs_logits_of_labelled_positions_only(pair, scenes, mixed):
    model, processor = pair
    batch = processor(mixed, scenes, with_labels=True)
    text = [i for i, item in enumerate(mixed) if not item.is_grounding]
    expected = model(**batch).loss
    try:
        output = model.train()(**batch)
    finally:
        model.eval()
    labelled = int((batch["labels"][text, 1:] != seq.IGNORE).sum())
    assert output.logits.shape == (labelled, model.config.vocab_size)
    assert torch.allclose(output.loss, expected, rtol=1e-5)


def test_every_task_has_a_place_in_a_batch(pair, scenes):
    model, processor = pair
    items = [question(task, "ab"[i % 2]) for i, task in enumerate(TASKS)]
    assert len(model(**processor(items, scenes, with_labels=True)).item_losses) == len(TASKS)


def test_scores_come_without_labels(pair, scenes):
    model, processor = pair
    with torch.no_grad():
        output = model(**alone(processor, question("scanrefer", "a"), scenes))
    assert output.loss is None and output.ground_scores[0].shape == (5,)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_attentions_give_the_same(build, attention, pair, scenes, mixed):
    model, processor = build(attn_implementation=attention)
    batch = processor(mixed, scenes, with_labels=True)
    with torch.no_grad():
        assert torch.allclose(model(**batch).item_losses, pair[0](**batch).item_losses, rtol=1e-5)


def test_frames_and_proposals_may_differ_within_a_batch(pair):
    model, processor = pair
    spec = model.config.inputs_spec
    scenes = [random_scene(spec, name, v, n, seed=n) for name, v, n in (("a", 1, 1), ("b", 4, 7), ("c", 2, 2))]
    items = [question("scanrefer", name, (0,)) for name in "abc"]
    with torch.no_grad():
        together = model(**processor(items, scenes, with_labels=True))
        apart = [model(**alone(processor, item, scenes, with_labels=True)).loss for item in items]
    assert [len(s) for s in together.ground_scores] == [2, 8, 3]
    assert torch.allclose(together.item_losses, torch.stack(apart), rtol=1e-5)


def test_gradients_of_a_batch_are_the_mean_of_the_items(pair, scenes, mixed):
    model, processor = pair
    together = gradients(model, processor(mixed, scenes, with_labels=True))
    apart = [gradients(model, alone(processor, item, scenes, with_labels=True)) for item in mixed]
    for name, gradient in together.items():
        mean = torch.stack([one[name] for one in apart]).mean(0)
        assert float((gradient - mean).norm()) <= 1e-5 * float(mean.norm()) + 1e-7, name


def test_an_item_without_labels_has_loss_zero(pair, scenes):
    model, processor = pair
    batch = processor([question("scanqa", "a"), question("sqa3d", "b")], scenes, with_labels=True)
    batch["labels"][0] = seq.IGNORE
    output = model(**batch)
    assert output.item_losses[0] == 0 and output.item_losses[1] > 0
    output.loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    model.zero_grad()


def test_positions_by_hand():
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1]])
    segments = torch.tensor([[-1, 0, 0, 1, 1, 2, 2]])
    assert seq.positions(mask, segments).tolist() == [[0, 0, 1, 2, 3, 2, 3]]
    allowed = seq.allowed_pairs(segments)[0]
    assert allowed[6].nonzero()[:, 0].tolist() == [1, 2, 5, 6]  # the second item: prefix and itself
    assert allowed[3].nonzero()[:, 0].tolist() == [1, 2, 3]
    assert allowed[0].nonzero()[:, 0].tolist() == [0]  # padding: itself, to stay finite
    assert [(row, at.tolist()) for row, at in seq.item_places(mask, segments)] == [(0, [1, 2, 3, 4]), (0, [1, 2, 5, 6])]
