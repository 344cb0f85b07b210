"""Folders as they are published, and as they are broken."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, SiglipVisionConfig, SiglipVisionModel

from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.model.checkpoint.export import export_llava
from video3d_plugin.model.checkpoint.folders import weight_shapes
from video3d_plugin.model.checkpoint.weights import initialise
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.pipeline import load_model


@pytest.fixture(scope="module")
def saved(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    pair[0].save_pretrained(folder, max_shard_size="60KB")
    pair[1].save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy in one file, to be broken: (folder, weights, rewrite)."""
    folder = tmp_path / "copy"
    folder.mkdir()
    weights = {}
    for path in saved.iterdir():
        if path.suffix == ".safetensors":
            weights.update(load_file(str(path)))
        elif "index" not in path.name:
            shutil.copy(path, folder)

    def rewrite(weights, **config):
        save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
        content = json.loads((folder / "config.json").read_text())
        content = {k: v for k, v in {**content, **config}.items() if v is not ...}
        (folder / "config.json").write_text(json.dumps(content))

    rewrite(weights)
    return folder, weights, rewrite


def same(a, b) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def in_memory(model):
    """A copy: BLAS may round differently where a file's mapped weights are not aligned to a cache line."""
    return copy.deepcopy(model)


def test_shards_reload_bit_identically(pair, saved, scenes, mixed):
    assert len(list(saved.glob("*.safetensors"))) > 2
    video = load_model(saved, device="cpu")
    assert same(pair[0], video.model) and video.model.initialised_parts == []
    batch = pair[1](mixed, scenes, with_labels=True)
    with torch.no_grad():
        assert torch.equal(in_memory(video.model)(**batch).item_losses, pair[0](**batch).item_losses)


def test_auto_classes(pair, saved):
    model = AutoModelForCausalLM.from_pretrained(str(saved))
    assert isinstance(model, Video3DForCausalLM) and same(pair[0], model)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_and_number_format_are_passed_on(saved, attention):
    model = load_model(saved, dtype="bfloat16", attn_implementation=attention, device="cpu").model
    assert model.dtype == torch.bfloat16 and model.config._attn_implementation == attention
    assert model.get_vision_tower().config._attn_implementation == attention
    with pytest.raises(DataError, match="float99"):
        load_model(saved, dtype="float99", device="cpu")


def test_device_map(saved, scenes):
    video = load_model(saved, device_map="auto", dtype="float32")
    assert video.device.type in ("cpu", "cuda")
    assert isinstance(video.answer(scenes[0], "What?", max_new_tokens=2), str)
    assert len(video.ground(scenes[0], "the lamp")) == len(scenes[0].proposals)


@pytest.mark.parametrize("kind", ["llava", "llava_qwen", "video3d"])
def test_the_hosts_model_types_and_a_wrong_vocabulary_in_the_config(pair, copied, kind):
    folder, weights, rewrite = copied
    rewrite(weights, model_type=kind, vocab_size=99_999, vision_config=pair[0].config.vision_config)
    model = Video3DForCausalLM.from_pretrained(str(folder))
    assert model.config.vocab_size == len(weights["lm_head.weight"]) and same(pair[0], model)


def test_bin_files_are_read_without_unpickling(pair, copied, tmp_path):
    folder, weights, _ = copied
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert same(pair[0], Video3DForCausalLM.from_pretrained(str(folder)))
    mark = tmp_path / "ran"
    torch.save({**weights, "x": _Runs(str(mark))}, folder / "pytorch_model.bin")
    with pytest.raises((ValueError, OSError), match="pytorch_model.bin"):
        Video3DForCausalLM.from_pretrained(str(folder))
    assert not mark.exists()


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_sharded_bin_files(pair, copied):
    folder, weights, _ = copied
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for part, own in parts.items():
        torch.save({name: weights[name] for name in own}, folder / part)
    index = {"metadata": {}, "weight_map": {name: part for part, own in parts.items() for name in own}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(pair[0], Video3DForCausalLM.from_pretrained(str(folder)))
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(OSError, match="1 of 2 shards are missing: pytorch_model-00002"):
        Video3DForCausalLM.from_pretrained(str(folder))


def test_a_missing_shard_is_named(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(MissingError, match=shard.name):
        load_model(folder)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "found a list"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": 3}}', "names 3"),
        ('{"weight_map": {"a": "../secret.bin"}}', "names '../secret.bin'"),
        ('{"weight_map": {"a": ".."}}', "names '..'"),
    ],
)
def test_an_index_that_is_none_or_leads_out_of_its_folder(copied, written, said):
    folder, _, _ = copied
    (folder / "model.safetensors.index.json").write_text(written)
    with pytest.raises(DataError, match=f"model.safetensors.index.json: .*{said}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("processor_config.json", "{"),
        ("processor_config.json", "[]"),
        ("processor_config.json", '{"system_message": 3}'),
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_broken_file_of_the_tokenizer_is_named(copied, name, written):
    folder, _, _ = copied
    (folder / name).write_text(written)
    with pytest.raises(DataError, match="processor_config" if "proc" in name else "tokenizer"):
        load_model(folder)


def test_missing_and_unexpected_parameters_are_listed(copied):
    folder, weights, rewrite = copied
    weights["model.norm.bias"] = weights.pop("model.norm.weight")
    weights["model.layers.0.self_attn.q_proj.weight"] = weights["model.layers.0.self_attn.q_proj.weight"][:4].clone()
    rewrite(weights)
    with pytest.raises(
        DataError, match="missing: model.norm.weight; unexpected: model.norm.bias; of another shape: .*q_proj"
    ):
        Video3DForCausalLM.from_pretrained(str(folder))


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_attention_heads": 0},
        {"hidden_size": -4},
        {"hidden_act": "nope"},
        {"vision_config": {"hidden_size": 10, "num_attention_heads": 3}},
    ],
)
def test_sizes_that_make_no_model_are_an_error_that_names_the_folder(copied, sizes):
    folder, weights, rewrite = copied
    if "vision_config" in sizes:
        own = json.loads((folder / "config.json").read_text())["vision_config"]
        sizes = {"vision_config": {**own, **sizes["vision_config"]}}
    rewrite(weights, **sizes)
    with pytest.raises(DataError, match=f"^{re.escape(str(folder))}.*config.json must be the one saved"):
        Video3DForCausalLM.from_pretrained(str(folder))


def test_a_config_that_transformers_refuses_is_an_error_that_names_the_file(copied):
    folder, weights, rewrite = copied
    rewrite(weights, dtype="float99", torch_dtype="float99")
    with pytest.raises(DataError, match=r"config\.json.*float99"):
        Video3DForCausalLM.from_pretrained(str(folder))


def test_half_a_head_is_an_error(copied):
    folder, weights, rewrite = copied
    del weights["ground_head_query.0.weight"]
    rewrite(weights)
    with pytest.raises(DataError, match="missing: ground_head_query.0.weight"):
        Video3DForCausalLM.from_pretrained(str(folder))


def test_a_base_checkpoint_gets_new_parts_and_says_so(pair, copied, caplog):
    folder, weights, rewrite = copied
    rewrite({name: value for name, value in weights.items() if not name.startswith("ground_head")})
    with caplog.at_level(logging.WARNING):
        model = Video3DForCausalLM.from_pretrained(str(folder))
    assert "ground_head_obj, ground_head_query, ground_head_zero_target: initialised" in caplog.text
    assert set(model.initialised_parts) == {name for name in weights if name.startswith("ground_head")}
    for name, value in model.named_parameters():
        assert not value.is_meta and torch.isfinite(value).all(), name
        assert name.startswith("ground_head") or torch.equal(value, weights[name]), name
    assert float(model.ground_head_obj[0].weight.std()) > 0.01 and float(model.ground_head_zero_target.std()) > 0.3
    assert model.ground_head_obj[2].weight.eq(1).all()  # a norm starts as one


def test_initialisation_overwrites_whatever_was_there(build):
    """Room for new parameters may hold anything: transformers initialises some of them, in some versions."""
    model, _ = build()
    names = [name for name, _ in model.named_parameters() if name.startswith("ground_head")]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).fill_(float("nan"))
    initialise(model, names)
    for name, p in model.named_parameters():
        assert torch.isfinite(p).all() and (name in names or torch.equal(p, before[name])), name


def test_a_base_checkpoint_without_position_embedding(build, tmp_path):
    model, processor = build(world_position_embedding_type="avg-mlp")
    model.save_pretrained(tmp_path)
    weights = load_file(str(tmp_path / "model.safetensors"))
    kept = {k: v for k, v in weights.items() if "world_position" not in k}
    save_file(kept, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})
    loaded = Video3DForCausalLM.from_pretrained(str(tmp_path))
    assert all("world_position_embedding.mlp" in name for name in loaded.initialised_parts)
    assert len(loaded.initialised_parts) == 6


def siglip(model, folder, kind="vision"):
    """The tower as a SigLIP checkpoint of its own, with a last layer that the model drops."""
    tower = SiglipVisionModel(SiglipVisionConfig(**model.config.vision_config))
    names = {name.removeprefix("vision_model."): name for name in tower.state_dict()}
    prefix = "model.vision_tower.vision_tower.vision_model."
    own = {n.removeprefix(prefix): p for n, p in model.state_dict().items() if n.startswith(prefix)}
    tower.load_state_dict({names[n]: p for n, p in own.items()}, strict=False)
    tower.save_pretrained(folder)


@pytest.mark.parametrize("where", ["absolute", "beside"])
def test_a_tower_in_a_local_folder(pair, copied, where, tmp_path):
    """Its path says nothing of its kind (`clip-like` here); its config.json does."""
    folder, weights, rewrite = copied
    tower = (tmp_path if where == "absolute" else folder) / "openai-clip-like"
    siglip(pair[0], tower)
    kept = {name: value for name, value in weights.items() if "vision_tower" not in name}
    rewrite(kept, mm_vision_tower=str(tower) if where == "absolute" else tower.name, vision_config=...)
    model = Video3DForCausalLM.from_pretrained(str(folder))
    assert same(pair[0], model) and model.initialised_parts == []


def test_a_clip_tower_is_refused(pair, copied, tmp_path):
    folder, weights, rewrite = copied
    (tmp_path / "siglip").mkdir()
    (tmp_path / "siglip" / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    rewrite(weights, mm_vision_tower=str(tmp_path / "siglip"), vision_config=...)
    with pytest.raises(DataError, match="clip_vision_model.*not SigLIP"):
        Video3DForCausalLM.from_pretrained(str(folder))


def test_a_tower_that_is_nowhere(pair, copied, monkeypatch):
    folder, weights, rewrite = copied
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rewrite({k: v for k, v in weights.items() if "vision_tower" not in k}, mm_vision_tower="nobody/nothing")
    with pytest.raises(OSError, match="nobody/nothing"):
        Video3DForCausalLM.from_pretrained(str(folder))
    rewrite({k: v for k, v in weights.items() if "vision_tower" not in k}, mm_vision_tower=None)
    with pytest.raises(OSError, match="names none"):
        Video3DForCausalLM.from_pretrained(str(folder))


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "nowhere"])
def test_no_such_folder(path):
    with pytest.raises(MissingError, match="no such checkpoint folder"):
        load_model(path)


def test_a_folder_without_weights(tmp_path, pair):
    pair[0].config.save_pretrained(tmp_path)
    with pytest.raises(MissingError, match="no weights here"):
        load_model(tmp_path)


def test_a_truncated_file_is_named(copied):
    folder, _, _ = copied
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises((DataError, OSError), match="model.safetensors"):
        Video3DForCausalLM.from_pretrained(str(folder))


def test_a_tokenizer_longer_than_the_weights(pair, copied):
    folder, weights, rewrite = copied
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1].clone()
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:-1].clone()
    rewrite(weights)
    with pytest.raises(DataError, match="the tokenizer knows"):
        load_model(folder)


def test_new_tokens_start_as_the_mean_and_keep_what_is_frozen(build):
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    words = train_tokenizer(["a b c"], 300)
    model, _ = build_tiny(words, vocab_size=len(words) - 2)  # as a base checkpoint: without <ground> and <coord>
    old = len(words) - 2
    weight = model.get_input_embeddings().weight
    assert weight.shape[0] == len(words) == model.config.vocab_size
    assert torch.allclose(weight[-1], weight[:old].mean(0), atol=1e-6)
    model.requires_grad_(False)
    words.add_tokens(["<more>"])
    model.add_tokens(words)
    assert not any(p.requires_grad for p in model.parameters())
    assert model.config.coord_token_ids == [words.convert_tokens_to_ids("<coord>")]


def test_exported_folder_is_in_the_hosts_terms(pair, saved, tmp_path, scenes, mixed):
    out = export_llava(saved, tmp_path / "out")
    content = json.loads((out / "config.json").read_text())
    assert content["model_type"] == "llava_qwen" and content["architectures"] == ["LlavaQwenForCausalLM"]
    assert content["rope_theta"] == pair[0].config.to_dict()["rope_theta"]
    assert "rope_parameters" not in content and "siglip" in content["mm_vision_tower"]
    assert weight_shapes(out) == weight_shapes(saved)
    again = load_model(out, device="cpu").model
    batch = pair[1](mixed, scenes, with_labels=True)
    with torch.no_grad():
        assert torch.equal(in_memory(again)(**batch).item_losses, pair[0](**batch).item_losses)
    with pytest.raises(DataError, match="not an empty folder"):
        export_llava(saved, out)


@pytest.mark.parametrize("made_before", [False, True])
def test_what_a_killed_export_leaves_is_removed_by_the_next(saved, tmp_path, made_before):
    """Nothing of it is ever in the folder itself, so that no half checkpoint can be taken for a whole one."""
    if made_before:
        (tmp_path / "out").mkdir()
    code = (
        "import os, sys, shutil\n"
        "from video3d_plugin.model.checkpoint import export\n"
        "copy = shutil.copyfile\n"
        "def killed(source, target):\n"
        "    copy(source, target)\n"
        "    os.kill(os.getpid(), 9)\n"
        "shutil.copyfile = killed\n"
        "export.export_llava(sys.argv[1], sys.argv[2])\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(saved), str(tmp_path / "out")], capture_output=True)
    assert process.returncode == -9, process.stderr.decode()
    assert not list((tmp_path / "out").glob("*")) and len(list(tmp_path.glob(".out.*"))) == 1
    out = export_llava(saved, tmp_path / "out")
    assert (out / "config.json").is_file() and weight_shapes(out) == weight_shapes(saved)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_that_fails_leaves_nothing_behind(copied, tmp_path):
    folder, weights, _ = copied
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    index = {"weight_map": {"a": "model.safetensors", "b": "../secret.txt"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="secret.txt"):
        export_llava(folder, tmp_path / "out")
    (folder / "model.safetensors.index.json").unlink()
    (folder / "tokenizer_config.json").write_text("{")  # read after the weights are copied
    (tmp_path / "empty").mkdir()
    for out in ("out", "empty"):
        with pytest.raises(DataError, match="tokenizer_config.json: not valid JSON"):
            export_llava(folder, tmp_path / out)
    assert not (tmp_path / "out").exists() and not list((tmp_path / "empty").iterdir())


def test_an_export_copies_no_folder_that_is_no_tower(copied, tmp_path):
    folder, weights, rewrite = copied
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "config.json").write_text("{}")
    rewrite(weights, mm_vision_tower=str(tmp_path / "private"))
    with pytest.raises(DataError, match="not SigLIP"):
        export_llava(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_export_command(pair, saved, tmp_path, capsys):
    from video3d_plugin.cli import main

    assert main(["export", str(saved), "--output", str(tmp_path / "llava"), "--tower", "me/siglip-tiny"]) == 0
    assert json.loads((tmp_path / "llava" / "config.json").read_text())["mm_vision_tower"] == "me/siglip-tiny"
    assert main(["export", str(saved), "--output", str(tmp_path / "ours"), "--format", "video3d"]) == 0
    assert same(pair[0], load_model(tmp_path / "ours", device="cpu").model)
    assert main(["export", str(saved), "--output", str(tmp_path / "ours")]) == 2
    assert "give a new folder" in capsys.readouterr().err


def test_the_exported_tower_is_a_siglip_checkpoint(pair, saved, tmp_path):
    out = export_llava(saved, tmp_path / "out")
    tower = SiglipVisionModel.from_pretrained(out / "siglip-vision-tower")
    assert tower.config.num_hidden_layers == pair[0].config.vision_config["num_hidden_layers"]
    pixels = torch.randn(1, 3, 58, 58)
    expected = pair[0].get_vision_tower()(pixels.permute(0, 2, 3, 1))
    found = tower(pixels, output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_published_config_is_taken_as_it_is():
    config = Video3DConfig(
        vocab_size=152064, hidden_size=3584, num_attention_heads=28, num_key_value_heads=4, mm_hidden_size=1152,
        mm_vision_tower="google/siglip-so400m-patch14-384", mm_patch_merge_type="spatial_unpad",
        mm_newline_position="grid", world_position_embedding_type="avg-discrete-sin3d", ground_head_type="infonce",
        object_feature_type="patch14-pe", mm_spatial_pool_mode="bilinear", some_later_option=3,
    )  # fmt: skip
    spec = config.inputs_spec
    assert (spec.image_size, spec.patches_per_side, spec.grid_side, spec.points) == (384, 27, 14, "average")
    assert config.some_later_option == 3


@pytest.mark.host
def test_llava_nexts_own_loader_opens_an_export(saved, tmp_path):
    """Needs LLAVA_NEXT_SRC and what it imports. Its tower must be a hub name: a cache with one stands for the hub."""
    source = os.environ.get("LLAVA_NEXT_SRC")
    if not source:
        pytest.skip("set LLAVA_NEXT_SRC to an unedited LLaVA-NeXT checkout")
    out = export_llava(saved, tmp_path / "out", tower="local/siglip-tiny")
    repository = tmp_path / "cache" / "models--local--siglip-tiny"
    shutil.copytree(out / "siglip-vision-tower", repository / "snapshots" / "0")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    script = tmp_path / "open.py"
    script.write_text(_OPENS_AND_COMPARES)
    environment = {
        **os.environ,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]),
    }
    run = subprocess.run([sys.executable, str(script), str(out)], env=environment, capture_output=True, text=True)
    if "cannot import name" in run.stderr or "ModuleNotFoundError" in run.stderr:
        pytest.skip(f"LLaVA-NeXT does not import here: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == "same"


_OPENS_AND_COMPARES = """
import glob, sys
import torch
from safetensors.torch import load_file
for name in ("nms", "qnms"):  # torchvision beside a CPU torch
    try:
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass
from llava.model.builder import load_pretrained_model
_, model, _, _ = load_pretrained_model(sys.argv[1], None, "llava_qwen", device_map="auto", attn_implementation="sdpa")
assert type(model).__module__ == "llava.model.language_model.llava_qwen"
own, ours = model.state_dict(), {}
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    ours.update(load_file(path))
unknown = sorted({name.split(".")[0] for name in ours if name not in own})
assert unknown == ["ground_head_obj", "ground_head_query", "ground_head_zero_target"], unknown
assert set(own) <= set(ours), sorted(set(own) - set(ours))
print("same" if all(torch.equal(own[n].cpu(), ours[n].half()) for n in own) else "different")
"""


_MEASURE = """
import json, resource, sys
import torch
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
from video3d_plugin.model.modeling import Video3DForCausalLM
before = peak()
model = Video3DForCausalLM.from_pretrained(sys.argv[1])
print(json.dumps([before, peak(), sum(p.nbytes for p in model.parameters()) / 2**20]))
"""


@pytest.mark.slow
def test_loading_makes_no_second_copy_of_the_weights(build, tmp_path):
    model, _ = build(vocab_size=50_000, hidden_size=768, num_attention_heads=4, num_key_value_heads=4)
    model.save_pretrained(tmp_path, max_shard_size="50MB")
    del model
    script = tmp_path / "measure.py"
    script.write_text(_MEASURE)
    run = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=True)
    before, after, weights = json.loads(run.stdout.strip().splitlines()[-1])
    assert weights > 250 and after - before < 1.4 * weights


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_answers_in_bfloat16(saved, scenes):
    video = load_model(saved)
    assert video.device.type == "cuda" and video.model.dtype == torch.bfloat16
    assert len(video.answer(scenes[0], ["What?"], max_new_tokens=3)) == 1
    assert video.ground_scores(scenes[0], ["the lamp"])[0].device.type == "cpu"


def test_new_tokens_in_rows_to_spare_start_as_the_mean_of_the_known_ones(build):
    from video3d_plugin.model.tiny import build_tiny, train_tokenizer

    words = train_tokenizer(["a b c"], 300)
    model, _ = build_tiny(words, vocab_size=len(words) + 50)  # as Qwen2: more rows than tokens
    known = len(words)
    words.add_tokens(["<more>"])
    unknown = type(words)(tokenizer_object=words._tokenizer)
    before = model.get_input_embeddings().weight.detach().clone()
    names = ("<image>", "<ground>", "<coord>")
    renamed = {name: name[:-1] + "2>" for name in names}
    from video3d_plugin.model import llava_api

    with pytest.MonkeyPatch.context() as patch:  # a tokenizer that lacks the three tokens
        patch.setattr(llava_api, "SPATIAL_TOKENS", tuple(renamed.values()))
        for constant, name in (("GROUND_TOKEN", "<ground>"), ("COORD_TOKEN", "<coord>")):
            patch.setattr(llava_api, constant, renamed[name])
        assert model.add_tokens(unknown) == list(renamed.values())
    after = model.get_input_embeddings().weight
    assert after.shape == before.shape
    assert torch.allclose(after[known + 1 : known + 4], before[: known + 1].mean(0).expand(3, -1), atol=1e-6)
    assert torch.equal(after[: known + 1], before[: known + 1])
    assert torch.equal(after[known + 4 :], before[known + 4 :])
