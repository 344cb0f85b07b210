"""Adapters as LLaVA-NeXT's training leaves them."""

from __future__ import annotations

import json

import pytest
import torch

from video3d_plugin.compat import numpy_random_state_allowed
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.pipeline import load_model

pytest.importorskip("peft")


@pytest.fixture
def trained(pair, tmp_path):
    """(base folder, adapter folder, the wrapped model after a change to everything that trains)."""
    from video3d_plugin.model.checkpoint.lora import add_lora

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    pair[0].save_pretrained(base)
    pair[1].save_pretrained(base)
    wrapped = add_lora(load_model(base, device="cpu").model, rank=2).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    wrapped.save_pretrained(adapter)
    return base, adapter, wrapped


def test_heads_and_embeddings_train_in_full_and_the_rest_through_adapters(trained):
    _, _, wrapped = trained
    for name, parameter in wrapped.named_parameters():
        full = any(part in name for part in ("embed_tokens", "lm_head", "ground_head", "mm_projector", "image_newline"))
        assert parameter.requires_grad == (("lora_" in name or full) and "vision_tower" not in name), name
    assert any("layers.0.self_attn.q_proj.lora_A" in name for name, _ in wrapped.named_parameters())
    assert not any("vision_tower" in name and "lora_" in name for name, _ in wrapped.named_parameters())


def test_adapters_of_the_tower_are_where_the_references_suffixes_lead_peft(pair, tmp_path, scenes, mixed):
    import peft

    from video3d_plugin.model.checkpoint.adapter import read_adapter
    from video3d_plugin.model.checkpoint.lora import add_lora

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    pair[0].save_pretrained(base)
    pair[1].save_pretrained(base)
    # find_all_linear_names of the reference: the last words of the language model's linear layers
    suffixes = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    theirs = peft.get_peft_model(load_model(base, device="cpu").model, peft.LoraConfig(r=2, target_modules=suffixes))
    wrapped = add_lora(load_model(base, device="cpu").model, rank=2, tower=True).eval()
    names = [{n for n, _ in model.named_parameters() if "lora_" in n} for model in (theirs, wrapped)]
    assert names[0] == names[1] and any("vision_tower" in name for name in names[1])
    for name, parameter in wrapped.named_parameters():
        if "vision_tower" in name:
            assert parameter.requires_grad == ("lora_" in name), name
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    wrapped.save_pretrained(adapter)
    assert read_adapter(adapter).settings["target_modules"]
    batch = pair[1](mixed, scenes, with_labels=True)
    merged = load_model(base, lora=adapter, device="cpu").model
    tower = "model.vision_tower.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(merged.state_dict()[tower], pair[0].state_dict()[tower])
    with torch.no_grad():
        assert torch.allclose(merged(**batch).item_losses, wrapped(**batch).item_losses, rtol=1e-3, atol=1e-4)


def test_a_merged_adapter_gives_what_was_trained(trained, pair, scenes, mixed):
    base, adapter, wrapped = trained
    batch = pair[1](mixed, scenes, with_labels=True)
    merged = load_model(base, lora=adapter, device="cpu").model
    assert not any("lora" in name for name, _ in merged.named_parameters())
    with torch.no_grad():
        expected = wrapped(**batch).item_losses
        assert torch.allclose(merged(**batch).item_losses, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(pair[0](**batch).item_losses, expected, rtol=1e-2)


def test_heads_of_an_adapter_replace_the_notice_of_a_base_without_them(trained, pair):
    from safetensors.torch import load_file, save_file

    base, adapter, _ = trained
    weights = load_file(str(base / "model.safetensors"))
    kept = {name: value for name, value in weights.items() if not name.startswith("ground_head")}
    save_file(kept, str(base / "model.safetensors"), metadata={"format": "pt"})
    model = load_model(base, lora=adapter, device="cpu").model
    assert model.initialised_parts == []
    stored = torch.load(adapter / "non_lora_trainables.bin", weights_only=True)
    assert torch.equal(model.ground_head_zero_target, stored["base_model.model.ground_head_zero_target"])


def test_an_adapter_with_more_words_than_its_base(trained, pair):
    base, adapter, _ = trained
    path = adapter / "non_lora_trainables.bin"
    stored = torch.load(path, weights_only=True)
    for name in ("base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"):
        stored[name] = torch.cat([stored[name], stored[name][:2]])
    torch.save(stored, path)
    model = load_model(base, lora=adapter, device="cpu").model
    assert model.config.vocab_size == pair[0].config.vocab_size + 2 == len(model.lm_head.weight)


def test_unknown_parameters_are_listed(trained):
    base, adapter, _ = trained
    stored = torch.load(adapter / "non_lora_trainables.bin", weights_only=True)
    stored["base_model.model.other_head.weight"] = torch.zeros(2)
    torch.save(stored, adapter / "non_lora_trainables.bin")
    with pytest.raises(DataError, match="unexpected: other_head.weight"):
        load_model(base, lora=adapter, device="cpu")


def test_a_folder_without_an_adapter(trained, tmp_path):
    base, _, _ = trained
    with pytest.raises(MissingError, match="adapter_config.json"):
        load_model(base, lora=tmp_path)


def test_an_adapter_folder_finds_its_base(trained, pair, scenes, mixed):
    base, adapter, wrapped = trained
    pair[1].save_pretrained(adapter)
    found = load_model(adapter, device="cpu").model
    batch = pair[1](mixed, scenes, with_labels=True)
    with torch.no_grad():
        assert torch.allclose(found(**batch).item_losses, wrapped(**batch).item_losses, rtol=1e-4, atol=1e-5)


def test_frames_are_those_of_the_adapters_training_else_of_its_bases(trained, pair, tmp_path, monkeypatch):
    base, adapter, _ = trained
    pair[1].save_pretrained(adapter)
    (base / "training.json").write_text(json.dumps({"settings": {"max_frames": 3, "sampler": "mc"}}))
    for named in ({"path": base, "lora": adapter}, {"path": adapter}):
        video = load_model(**named, device="cpu")
        assert (video.max_frames, video.sampler) == (3, "mc")
    (adapter / "training.json").write_text(json.dumps({"settings": {"max_frames": 5, "sampler": "uniform"}}))
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ({"path": base, "lora": f"~/{adapter.name}"}, {"path": f"~/{adapter.name}"}):
        video = load_model(**named, device="cpu")
        assert (video.max_frames, video.sampler) == (5, "uniform")


def test_the_configurations_options_go_with_an_adapter(trained):
    base, adapter, _ = trained
    assert load_model(base, lora=adapter, device="cpu", mask_invalid_depth=True).spec.mask_invalid_depth
    assert not load_model(base, lora=adapter, device="cpu").spec.mask_invalid_depth


def test_an_adapter_switched_scaled_or_merged_is_another_encoder(trained, pair):
    from video3d_plugin.model.prefix.key import prefix_key

    _, _, wrapped = trained
    base, seen = wrapped.get_base_model(), []

    def key():
        return prefix_key(base, pair[1])

    on = key()
    with wrapped.disable_adapter():
        seen.append(key())
    assert key() == on
    wrapped.base_model.set_adapter([])
    seen.append(key())
    wrapped.base_model.set_adapter("default")
    for module in wrapped.modules():
        if hasattr(module, "lora_A"):
            module.scaling["default"] *= 2
    seen.append(key())
    wrapped.merge_adapter()
    seen.append(key())
    assert len({on, *seen}) == 5


def test_the_trainer_saves_and_resumes_everything_that_was_trained(pair, scenes, mixed, tmp_path):
    from transformers import Trainer, TrainingArguments

    from video3d_plugin.model.checkpoint.lora import add_lora

    base = tmp_path / "base"
    pair[0].save_pretrained(base)
    pair[1].save_pretrained(base)

    def run(output, steps, resume=None):
        torch.manual_seed(0)
        wrapped = add_lora(load_model(base, device="cpu").model, rank=2, dropout=0.0)
        arguments = TrainingArguments(
            output_dir=str(tmp_path / output), max_steps=steps, save_steps=2, per_device_train_batch_size=3,
            report_to="none", remove_unused_columns=False, use_cpu=True, learning_rate=1e-2, disable_tqdm=True,
            lr_scheduler_type="constant",
        )  # fmt: skip
        texts = [item for item in mixed if item.scene_id == "a"]
        trainer = Trainer(
            model=wrapped, args=arguments, train_dataset=texts,
            data_collator=lambda items: pair[1](items, scenes[:1], with_labels=True),
        )  # fmt: skip
        with numpy_random_state_allowed():
            trainer.train(resume_from_checkpoint=resume)
        trainer.save_model()
        return load_model(base, lora=tmp_path / output, device="cpu").model

    whole = run("whole", 4)
    assert not torch.equal(whole.ground_head_zero_target, pair[0].ground_head_zero_target)
    run("parts", 2)
    resumed = run("parts", 4, resume=str(tmp_path / "parts" / "checkpoint-2"))
    for (name, a), b in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name
