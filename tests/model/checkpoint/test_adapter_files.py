"""Adapters of strangers: what PEFT would import, build or run by their settings, and weights that do not fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from video3d_plugin.errors import MissingError, Video3DError
from video3d_plugin.hosts.llava_next.train import check_last_adapter
from video3d_plugin.model.checkpoint.adapter import TARGETS, read_adapter
from video3d_plugin.model.checkpoint.lora import add_lora
from video3d_plugin.pipeline import load_model

peft = pytest.importorskip("peft")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@pytest.fixture(scope="module")
def made(pair, tmp_path_factory):
    """(base, adapter): rank 2 on all layers, with what is trained in full."""
    folder = tmp_path_factory.mktemp("made")
    pair[0].save_pretrained(folder / "base")
    pair[1].save_pretrained(folder / "base")
    wrapped = add_lora(load_model(folder / "base", device="cpu").model, rank=2)
    shake(wrapped, seed=0)
    wrapped.save_pretrained(str(folder / "adapter"))
    return folder / "base", folder / "adapter"


def shake(model, seed):
    """Move the trainable weights, as training does."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.fixture
def adapter(made, tmp_path):
    return shutil.copytree(made[1], tmp_path / "adapter")


def refused(made, adapter, says, kind=Video3DError):
    with pytest.raises(kind, match=says) as error:
        load_model(made[0], lora=adapter, device="cpu")
    message = str(error.value)
    assert "\n" not in message and len(message) < 3000 and str(adapter) in message
    return message


def settings(adapter, **fields):
    path = adapter / "adapter_config.json"
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "<gone>"}))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"peft_type": "MEGATRON"}, "peft_type` is 'MEGATRON', expected one of LORA"),
        ({"peft_type": "IA3"}, "peft_type` is 'IA3'"),
        ({"peft_type": None}, "peft_type` is None"),
        ({"peft_type": "<gone>"}, "peft_type` is missing"),
        ({"megatron_config": {"x": 1}, "megatron_core": "antigravity"}, "megatron_config"),
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "antigravity"}}, "auto_mapping"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"arrow_config": {"a": 1}}, "arrow_config"),
        ({"monteclora_config": {"a": 1}}, "monteclora_config"),
        ({"velora_config": {"a": 1}}, "velora_config"),
        ({"corda_config": {"cache_file": "/etc/passwd"}}, "corda_config"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config"),
        ({"use_qalora": True}, "use_qalora"),
        ({"target_parameters": ["a"]}, "target_parameters"),
        ({"exclude_modules": "(a+)+$"}, "exclude_modules"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"something_new": {"on": True}}, "something_new"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"r": 0}, "r` is 0"),
        ({"r": "2"}, "r` is '2'"),
        ({"r": 2.0}, "r` is 2.0"),
        ({"r": True}, "r` is True"),
        ({"lora_alpha": None}, "lora_alpha` is None"),
        ({"lora_alpha": 0}, "lora_alpha` is 0"),
        ({"lora_dropout": 2}, "lora_dropout` is 2"),
        ({"bias": "most"}, "bias` is 'most'"),
        ({"target_modules": None}, "target_modules` is None"),
        ({"target_modules": [1]}, "target_modules"),
        ({"target_modules": ["(q|k)_proj"]}, "target_modules"),
        ({"target_modules": ["no_proj"]}, "what the model lacks: no_proj"),
        ({"target_modules": "a" * 600}, "target_modules"),
        ({"rank_pattern": {"(a+)+$": 3}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": "x"}}, "alpha_pattern"),
        ({"modules_to_save": "lm_head"}, "modules_to_save"),
        ({"layers_pattern": "(a+)+"}, "layers_pattern"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"use_dora": True}, "missing: .*lora_magnitude_vector"),
        ({"lora_bias": True}, "missing: .*lora_B.bias|unexpected keyword argument .lora_bias"),
        ({"bias": "all"}, "missing: .*q_proj.*bias"),
    ],
)
def test_settings_that_are_not_taken(made, adapter, fields, says):
    settings(adapter, **fields)
    refused(made, adapter, says)


def test_a_pattern_of_a_file_is_not_run(made, adapter):
    """(a+)+$ takes 2 ** 40 steps on such names; what it means is read off the weights."""
    settings(adapter, target_modules="model.layers.(a+|[a-z]+)+\\d+(.*)*(.*)*x?(self_attn|mlp).*$")
    assert load_model(made[0], lora=adapter, device="cpu").model.initialised_parts == []


@pytest.mark.parametrize(
    "fields",
    [
        {"megatron_core": "megatron.core", "peft_version": "0.99.0", "revision": None, "inference_mode": True},
        {"loftq_config": {}, "eva_config": None, "corda_config": None, "qalora_group_size": 16, "runtime_config": None},
        {"something_new": None, "something_else": False, "more": {}, "and_more": [], "number": 0},
        {"init_lora_weights": "gaussian", "fan_in_fan_out": False, "auto_mapping": None},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
        {"target_modules": "model.*[a-z]_proj"},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {}},
        {"layers_to_transform": [0, 1], "layers_pattern": None},
    ],
)
def test_settings_that_say_nothing_of_the_weights_are_taken(made, adapter, fields):
    settings(adapter, **fields)
    assert load_model(made[0], lora=adapter, device="cpu").model.initialised_parts == []


def test_settings_of_peft_013_are_taken(made, adapter):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({
        "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": str(made[0]), "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layer_replication": None,
        "layers_pattern": None, "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 16,
        "lora_dropout": 0.05, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
        "peft_type": "LORA", "r": 2, "rank_pattern": {}, "revision": None, "target_modules": TARGETS,
        "task_type": "CAUSAL_LM", "use_dora": False, "use_rslora": False,
    }))  # fmt: skip
    assert load_model(made[0], lora=adapter, device="cpu").model.initialised_parts == []


def weights(adapter):
    return load_file(str(adapter / "adapter_model.safetensors"))


def rewrite(adapter, tensors):
    save_file(tensors, str(adapter / "adapter_model.safetensors"), metadata={"format": "pt"})


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def test_a_weight_without_a_place_and_a_place_without_a_weight_are_listed(made, adapter):
    tensors = weights(adapter)
    tensors[FIRST.replace("q_proj", "x_proj")] = tensors.pop(FIRST)
    rewrite(adapter, tensors)
    message = refused(made, adapter, "missing: model.layers.0.self_attn.q_proj.lora_A.weight")
    assert "unexpected: model.layers.0.self_attn.x_proj.lora_A.weight" in message


def test_weights_of_other_names_do_not_load_as_the_base_model(made, adapter):
    rewrite(adapter, {name.replace("base_model.model.", "transformer."): t for name, t in weights(adapter).items()})
    refused(made, adapter, r"missing: model.layers.0.* and \d+ more; unexpected: transformer.model")


def test_a_layer_that_is_left_out(made, adapter):
    for pattern in (TARGETS, "some.*pattern", ["q_proj", "o_proj", "k_proj", "v_proj"]):
        settings(adapter, target_modules=pattern)
        kept = {n: t for n, t in weights(adapter).items() if "layers.1.self_attn.q_proj" not in n}
        rewrite(adapter, kept)
        refused(made, adapter, "missing: model.layers.1.self_attn.q_proj.lora_A.weight")


@pytest.mark.parametrize("rank", [1, 4])
def test_another_rank_than_the_weights(made, adapter, rank):
    settings(adapter, r=rank)
    refused(made, adapter, rf"of another shape: .*lora_A.weight \(2, (\d+)\), expected \({rank}, \1\)")


def test_weights_that_are_not_finite(made, adapter):
    tensors = weights(adapter)
    tensors[FIRST][0, 0] = float("nan")
    rewrite(adapter, tensors)
    refused(made, adapter, f"not all finite: {FIRST}")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "non_lora_trainables.bin", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["empty", "half", "pointer", "noise"])
def test_a_damaged_file_is_named(made, adapter, name, damage):
    path = adapter / name
    content = path.read_bytes()
    new = {"empty": b"", "half": content[: len(content) // 2], "pointer": LFS, "noise": b"\x80\x02}q\x00." * 9}[damage]
    path.write_bytes(new)
    assert name in refused(
        made, adapter, "Git LFS" if damage == "pointer" else "cannot be read|empty|JSON|damaged|holds"
    )


def test_missing_files(made, adapter):
    (adapter / "adapter_model.safetensors").unlink()
    refused(made, adapter, "no adapter_model.safetensors here", MissingError)


def test_weights_in_a_bin_file(made, adapter, mixed, scenes, pair):
    batch = pair[1](mixed, scenes, with_labels=True)
    with torch.no_grad():
        expected = load_model(made[0], lora=made[1], device="cpu").model(**batch).item_losses
        torch.save(weights(adapter), adapter / "adapter_model.bin")
        (adapter / "adapter_model.safetensors").unlink()
        assert torch.equal(load_model(made[0], lora=adapter, device="cpu").model(**batch).item_losses, expected)


def full(adapter, change):
    path = adapter / "non_lora_trainables.bin"
    tensors = torch.load(path, weights_only=True)
    change(tensors)
    torch.save(tensors, path)


HEAD = "base_model.model.lm_head.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.update({HEAD: t[HEAD][:-3]}), "lm_head"),
        (lambda t: t.update({HEAD: t[HEAD].long()}), "no floating-point numbers: base_model.model.lm_head.weight"),
        (lambda t: t.update({HEAD: t[HEAD] * float("inf")}), "not all finite"),
        (lambda t: t.update({"x": torch.zeros(1)}), "unexpected: x"),
    ],
)
def test_what_is_trained_in_full_fits(made, adapter, change, says):
    full(adapter, change)
    assert "non_lora_trainables.bin" in refused(made, adapter, says)


def test_parts_that_only_an_adapters_config_knows_are_an_error(made, adapter, tmp_path):
    base = shutil.copytree(made[0], tmp_path / "base")
    tensors = load_file(str(base / "model.safetensors"))
    save_file({n: t for n, t in tensors.items() if not n.startswith("ground_head")}, str(base / "model.safetensors"),
              metadata={"format": "pt"})  # fmt: skip
    (adapter / "non_lora_trainables.bin").unlink()
    refused((base,), adapter, "that neither it nor its base has: ground_head")


def test_a_trained_rank_pattern_dora_and_saved_modules_are_merged_as_peft_does(made, mixed, scenes, pair, tmp_path):
    batch = pair[1](mixed, scenes, with_labels=True)
    model = load_model(made[0], device="cpu").model
    config = peft.LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], use_dora=True, rank_pattern={"q_proj": 3},
        alpha_pattern={"q_proj": 9}, modules_to_save=["lm_head"], task_type="CAUSAL_LM", layers_to_transform=[0, 1],
    )  # fmt: skip
    wrapped = peft.get_peft_model(model, config).eval()
    shake(wrapped, seed=1)
    with torch.no_grad():
        wrapped.save_pretrained(str(tmp_path / "other"))
        expected = wrapped(**batch).item_losses
        merged = load_model(made[0], lora=tmp_path / "other", device="cpu").model
        assert torch.allclose(merged(**batch).item_losses, expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_without_a_base_says_so(made, adapter):
    settings(adapter, base_model_name_or_path=None)
    with pytest.raises(Video3DError, match="names no base checkpoint"):
        _ = read_adapter(adapter).base


@pytest.mark.parametrize("damage", ["half", "pointer", "renamed", "rank", "missing", "no LoRA"])
def test_a_run_is_not_resumed_from_a_damaged_adapter(made, adapter, damage):
    """The Trainer calls `load_adapter`, and PEFT leaves a place without a weight as it is."""
    wrapped = add_lora(load_model(made[0], device="cpu").model, rank=2)
    path = adapter / "adapter_model.safetensors"
    if damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "pointer":
        path.write_bytes(LFS)
    elif damage == "renamed":
        rewrite(adapter, {name.replace("q_proj", "x_proj"): tensor for name, tensor in weights(adapter).items()})
    elif damage == "rank":
        rewrite(adapter, {name: tensor[:, :1].contiguous() for name, tensor in weights(adapter).items()})
    elif damage == "missing":
        path.unlink()
    else:
        settings(adapter, peft_type="IA3")
    says = {"half": "cannot be read", "pointer": "Git LFS", "renamed": "missing: .*q_proj.*unexpected: .*x_proj",
            "rank": "of another shape", "missing": "no adapter_model.safetensors", "no LoRA": "peft_type"}  # fmt: skip
    with pytest.raises(Video3DError, match=says[damage]) as error:
        wrapped.load_adapter(str(adapter), "default", is_trainable=True)
    assert "\n" not in str(error.value) and str(adapter) in str(error.value)


def test_an_adapter_of_ours_without_what_was_trained_in_full_is_not_taken(made, adapter, pair):
    pair[1].save_pretrained(adapter)
    load_model(made[0], lora=adapter, device="cpu")
    (adapter / "non_lora_trainables.bin").unlink()
    refused(made, adapter, "no non_lora_trainables.bin here: embeddings, heads and projector", MissingError)


def with_lora(made, rank):
    """The base model as LLaVA-NeXT's script leaves it: PEFT has put the matrices inside."""
    return add_lora(load_model(made[0], device="cpu").model, rank=rank).get_base_model()


def test_a_damaged_checkpoint_of_the_host_is_named_before_it_goes_on(made, adapter, tmp_path):
    model = with_lora(made, rank=2)
    check_last_adapter(str(tmp_path / "none"), model)
    (tmp_path / "out").mkdir()
    check_last_adapter(str(tmp_path / "out"), model)
    newest = tmp_path / "out" / "checkpoint-4"
    shutil.copytree(adapter, newest)
    check_last_adapter(str(tmp_path / "out"), model)
    (newest / "adapter_model.safetensors").write_bytes(LFS)
    with pytest.raises(Video3DError, match="checkpoint-4/adapter_model.safetensors: is a Git LFS pointer"):
        check_last_adapter(str(tmp_path / "out"), model)


def test_a_checkpoint_of_another_rank_is_refused_before_the_host_goes_on(made, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "out" / "checkpoint-4")
    with pytest.raises(Video3DError, match=r"of another shape: .*lora_A.*\(2, .*expected \(8, .*LoRA options") as error:
        check_last_adapter(str(tmp_path / "out"), with_lora(made, rank=8))
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_matrices_on_other_layers_is_refused(made, adapter, tmp_path):
    few = {name: tensor for name, tensor in weights(adapter).items() if "q_proj" in name}
    rewrite(adapter, few)
    shutil.copytree(adapter, tmp_path / "out" / "checkpoint-4")
    with pytest.raises(Video3DError, match=r"missing: .*\.k_proj\.lora_A"):
        check_last_adapter(str(tmp_path / "out"), with_lora(made, rank=2))
