"""A checkpoint that is trained further: in float32, whatever it is stored in, with the paper's settings."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from made_up_folder import LANGUAGE, VISION, MadeUpFolder

from video3d_plugin.errors import DataError
from video3d_plugin.model.checkpoint.lora import add_lora, load_full
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.tiny import build_tiny, train_tokenizer
from video3d_plugin.training import processes
from video3d_plugin.training.dataset import GroupCollator, SceneGroups
from video3d_plugin.training.optimizer import build_adamw
from video3d_plugin.training.presets import PRESETS
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.stage import Stage
from video3d_plugin.training.trainer import make_trainer, train, training_arguments

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


# -- gradients added up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_step_of_the_paper_is_16_items_however_many_processes_share_it(monkeypatch, tmp_path, count):
    monkeypatch.setattr(processes, "count", lambda: count)
    settings = PRESETS["paper"]
    arguments = training_arguments(tmp_path, settings, 223_000)
    own = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    assert own * count * settings.questions_per_scene == 16 and arguments.max_steps == 13_938
    assert arguments.per_device_train_batch_size == 1


def test_scenes_that_cannot_be_shared_evenly_say_so(tmp_path):
    with pytest.raises(DataError, match="16 scenes of a step cannot be taken 5 at once"):
        training_arguments(tmp_path, replace(PRESETS["paper"], scenes_at_once=5), 100)


def trainer_of(model, groups, processor, output, settings):
    stage = Stage("training", model, groups, GroupCollator(processor), lambda: build_adamw(model, settings))
    return make_trainer(stage, output, settings)


def test_a_run_in_float32_is_one_whatever_the_environment_says(stored, tmp_path, monkeypatch):
    """`accelerate launch` sets the variable, and transformers 4 leaves it behind after a run in bfloat16."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    model, processor = stored
    folder = MadeUpFolder(model.config.inputs_spec, scenes=1)
    groups = SceneGroups(folder, folder.questions("scanqa", "train"), model.config.inputs_spec)
    for precision, expected in (("float32", "no"), ("bfloat16", "bf16"), ("float32", "no")):
        settings = replace(SETTINGS, precision=precision)
        trainer = trainer_of(model.train(), groups, processor, tmp_path / precision, settings)
        assert trainer.accelerator.mixed_precision == expected


@pytest.mark.parametrize("lora", [False, True])
def test_a_step_in_parts_has_the_gradients_of_the_whole(stored, tmp_path, lora):
    """With SGD at rate 1 a step is the gradient."""
    if lora:
        pytest.importorskip("peft")
    model, processor = stored
    model = add_lora(model.float(), rank=2, dropout=0.0) if lora else model.float()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    folder = MadeUpFolder(model.config.inputs_spec, scenes=4)
    questions = folder.questions("scanqa", "train") + folder.questions("scanrefer", "train")
    steps = []
    for at_once in (None, 1, 2):
        model.load_state_dict(start, strict=False)
        settings = replace(SETTINGS, steps=1, scenes_per_step=4, scenes_at_once=at_once, questions_per_scene=6)
        groups = SceneGroups(folder, questions, model.config.inputs_spec, questions_per_scene=6)
        trainer = trainer_of(model.train(), groups, processor, tmp_path / str(at_once), settings)
        trainer.args.max_grad_norm, trainer.args.warmup_steps = 0.0, 0
        trainer.optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        trainer.train()
        steps.append({name: start[name] - p.detach() for name, p in model.named_parameters()})
    whole, *parts = steps
    assert sum(float(step.norm()) for step in whole.values()) > 0.1
    for part in parts:
        for name, step in whole.items():
            assert float((part[name] - step).norm()) <= 1e-3 * float(step.norm()) + 1e-5, name


def test_adapters_are_scaled_by_two_unless_another_alpha_is_asked_for(stored):
    pytest.importorskip("peft")
    for alpha, expected in ((None, 2.0), (3, 1.5)):
        model = add_lora(copy.deepcopy(stored[0]), rank=2, alpha=alpha)
        scalings = [module.scaling["default"] for module in model.modules() if hasattr(module, "lora_A")]
        assert scalings and set(scalings) == {expected}
