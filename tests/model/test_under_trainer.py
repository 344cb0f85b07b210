"""Under transformers' Trainer as it is, and the methods that LLaVA-NeXT's script calls."""

from __future__ import annotations

import types

import pytest
import torch
from model_cases import alone, gradients, question
from transformers import Trainer, TrainingArguments


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_does_not_rescale_the_loss(build, scenes, mixed, tmp_path, accumulate):
    """With SGD at rate 1 a step is the gradient: it must be the mean over the items of the step."""
    model, processor = build()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = gradients(model, processor(mixed[:4], scenes, with_labels=True))
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4 // accumulate, report_to="none",
        gradient_accumulation_steps=accumulate, remove_unused_columns=False, max_grad_norm=0.0, use_cpu=True,
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip

    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=mixed[:4],
        data_collator=lambda items: processor(items, _needed(items, scenes), with_labels=True),
        optimizers=(torch.optim.SGD(model.parameters(), lr=1.0), None),
    )
    trainer.get_train_dataloader = lambda: torch.utils.data.DataLoader(
        mixed[:4], batch_size=4 // accumulate, collate_fn=trainer.data_collator
    )
    trainer.create_scheduler = lambda *a, **k: setattr(
        trainer, "lr_scheduler", torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 1.0)
    )
    trainer.train()
    for name, p in model.named_parameters():
        step = start[name] - p.detach()
        norm = float(expected[name].norm())
        assert float((step - expected[name]).norm()) <= 1e-3 * norm + 1e-5, name


def _needed(items, scenes):
    return [scene for scene in scenes if scene.scene_id in {item.scene_id for item in items}]


def test_evaluation_under_the_trainer_gives_the_mean_loss(pair, scenes, mixed, tmp_path):
    model, processor = pair
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_eval_batch_size=7, report_to="none", remove_unused_columns=False,
        use_cpu=True, disable_tqdm=True, prediction_loss_only=True, label_names=["labels"],
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        args=arguments,
        eval_dataset=mixed,
        data_collator=lambda items: processor(items, _needed(items, scenes), with_labels=True),
    )
    with torch.no_grad():
        expected = model(**processor(mixed, scenes, with_labels=True)).loss
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_gradient_checkpointing_changes_nothing(build, scenes, mixed):
    model, processor = build()
    batch = processor(mixed, scenes, with_labels=True, shared=True)
    expected = gradients(model.train(), batch)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.config.use_cache = False
    found = gradients(model, batch)
    for name, gradient in found.items():
        assert float((gradient - expected[name]).norm()) <= 1e-5 * float(expected[name].norm()) + 1e-7, name


def test_the_hosts_methods(build, scenes):
    model, processor = build()
    inner = model.get_model()
    assert inner.get_vision_tower() is model.get_vision_tower() is inner.vision_tower
    model.requires_grad_(False)
    inner.initialize_vision_modules(types.SimpleNamespace(mm_vision_select_layer=-2), fsdp=None)
    assert all(p.requires_grad for p in inner.mm_projector.parameters())
    assert not any(p.requires_grad for p in inner.vision_tower.parameters())
    assert list(inner.vision_resampler.parameters()) == []
    tower = model.get_vision_tower()
    assert (tower.num_patches_per_side, tower.num_patches, tower.hidden_size, tower.is_loaded) == (7, 49, 24, True)
    tower.load_model()
    arguments = types.SimpleNamespace(mm_use_im_start_end=False, mm_use_im_patch_token=False)
    model.initialize_vision_tokenizer(arguments, tokenizer=processor.tokenizer)
    with pytest.raises(ValueError, match="mm_use_im_start_end"):
        model.initialize_vision_tokenizer(types.SimpleNamespace(mm_use_im_start_end=True), processor.tokenizer)
    assert torch.isfinite(model(**alone(processor, question("scanqa", "a"), scenes, with_labels=True)).loss)


def test_training_lowers_the_loss(build, scenes, mixed):
    model, processor = build()
    batch = processor(mixed, scenes, with_labels=True, shared=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model.train()(**batch).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
