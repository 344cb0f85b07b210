"""Files of a checkpoint as strangers may have written them: refused in one line, before anything acts on them."""

from __future__ import annotations

import json
import os
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.checkpoint_json import read_checkpoint_json
from video3d_plugin.model.checkpoint import checks
from video3d_plugin.pipeline import load_model

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@pytest.fixture(scope="module")
def saved(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    pair[0].save_pretrained(folder)
    pair[1].save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoint")


def change(path, **fields):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def refused(folder, says, **options):
    with pytest.raises(Video3DError, match=says) as error:
        load_model(folder, device="cpu", **options)
    message = str(error.value)
    assert "\n" not in message and len(message) < 1500
    return message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rope_theta": 0, "rope_parameters": None}, "rope_theta` is 0"),
        ({"rope_parameters": {"rope_theta": 0, "rope_type": "default"}}, "rope_theta` is 0"),
        ({"rope_parameters": {"rope_theta": "1e6", "rope_type": "default"}}, "rope_theta` is '1e6'"),
        ({"rope_parameters": [3]}, "rope_parameters` is a list of 1, expected an object"),
        ({"rms_norm_eps": 0}, "rms_norm_eps` is 0"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers` is 1000000000, expected a whole number from 1 to 512"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers` is 2.0"),
        ({"hidden_size": True}, "hidden_size` is True"),
        ({"hidden_act": "os.system"}, "config.json"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"max_position_embeddings": None}, "max_position_embeddings` is None"),
        ({"dtype": "Tensor"}, "dtype` is 'Tensor'"),
        ({"attn_implementation": "somebody/kernel"}, "attn_implementation` is 'somebody/kernel'"),
        ({"_attn_implementation": "somebody/kernel"}, "_attn_implementation"),
        ({"transformers_weights": "../other.safetensors"}, "'transformers_weights' is no setting"),
        ({"configuration_files": ["config.1.0.0.json"]}, "'configuration_files' is no setting"),
        ({"to_dict": 3}, "'to_dict' is no setting"),
        ({"inputs_spec": 3}, "'inputs_spec' is no setting"),
        ({"__class__": "x"}, "'__class__' is no setting"),
        ({"quantization_config": {"quant_method": "gptq"}}, "only bitsandbytes"),
        ({"mm_vision_tower": 7}, "mm_vision_tower` is 7"),
        ({"vision_config": {"hidden_size": "a"}}, "hidden_size` is 'a'"),
        ({"vision_config": {"hidden_size": 24, "image_size": None}}, "vision_config.intermediate_size` is missing"),
        ({"voxel_size": 0}, "voxel_size"),
        ({"ground_head_temperature": -1}, "ground_head_temperature"),
        ({"min_xyz_range": [20, 20, 20]}, "not below max_xyz_range"),
        ({"min_xyz_range": [1, 2]}, "min_xyz_range"),
        ({"ground_token_ids": ["a"]}, "ground_token_ids"),
        ({"ground_token_ids": [5]}, "<ground> is token"),
        ({"coord_token_ids": [5]}, "<coord> is token"),
        ({"mm_projector_type": "a" * 5000}, "mm_projector_type"),
    ],
)
def test_settings_that_cannot_be(folder, fields, says):
    change(folder / "config.json", **fields)
    refused(folder, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b"[]", "expected a JSON dict"),
        (b'{"a": NaN}', "holds nan, expected a finite number"),
        (b'{"a": 1e999}', "holds inf, expected a finite number"),
        (b'{"a": "\\ud800"}', "expected text .* in Unicode"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "levels deep"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (b" " * (5 << 20) + b"{}", "more than the 4194304"),
        (LFS, "Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_json_that_cannot_be_read(folder, name, content, says):
    (folder / name).write_bytes(content)
    assert name in refused(folder, says)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_file_that_is_no_file_does_not_block(folder, name, kind):
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    refused(folder, "not a regular file|not a file|no tokenizer")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"eos_token_id": "a"}, "eos_token_id` is 'a'"),
        ({"eos_token_id": [1, None]}, "eos_token_id"),
        ({"temperature": "hot"}, "temperature` is 'hot'"),
        ({"max_length": -3}, "max_length` is -3"),
        ({"validate": 3}, "'validate' is no setting"),
        ({"custom_generate": "somebody/code"}, "'custom_generate' is no setting"),
        ({"cache_implementation": "nothing"}, "generation_config.json"),
    ],
)
def test_generation_settings_that_cannot_be(folder, fields, says):
    change(folder / "generation_config.json", **fields)
    assert "generation_config.json" in refused(folder, says)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tokenizer_class": "RagTokenizer"}, "tokenizer_class` is 'RagTokenizer', expected one of Qwen2Tokenizer"),
        ({"tokenizer_file": "/etc/passwd"}, "'tokenizer_file' is no setting"),
        ({"vocab_file": "../vocab.json"}, "'vocab_file' is no setting"),
        ({"init_inputs": ["/etc/passwd"]}, "'init_inputs' is no setting"),
        ({"eos_token": 3}, "eos_token` is 3"),
        ({"model_max_length": "long"}, "model_max_length` is 'long'"),
        ({"added_tokens_decoder": {"a": {"content": "x"}}}, "added_tokens_decoder"),
        ({"added_tokens_decoder": [1]}, "added_tokens_decoder"),
        ({"decode": 3}, "decode: no setting"),
    ],
)
def test_tokenizer_settings_that_cannot_be(folder, fields, says):
    change(folder / "tokenizer_config.json", **fields)
    assert "tokenizer_config.json" in refused(folder, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"settings": 3}, "settings` is 3, expected an object"),
        ({"settings": {"sampler": ["uniform"]}}, "sampler` is"),
        ({"settings": {"max_frames": "32"}}, "max_frames` is '32'"),
        ({"settings": {"max_frames": 0}}, "max_frames` is 0"),
    ],
)
def test_a_record_of_training_that_says_nothing_sensible(folder, content, says):
    (folder / "training.json").write_text(json.dumps(content))
    assert "training.json" in refused(folder, says)
    (folder / "training.json").write_text(json.dumps({"settings": {"sampler": "uniform", "max_frames": 5, "more": []}}))
    assert load_model(folder, device="cpu").max_frames == 5


def test_code_of_a_folder_is_never_run(folder, tmp_path, caplog):
    mark = tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass Thing: pass\n")
    names = {"AutoConfig": "code.Thing", "AutoModelForCausalLM": "code.Thing", "AutoTokenizer": ["code.Thing", None]}
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        change(folder / name, auto_map=names)
    load_model(folder, device="cpu")
    assert not mark.exists() and "names code of its own (auto_map): it is not run" in caplog.text


def test_settings_that_published_checkpoints_have_are_taken(folder):
    change(
        folder / "config.json", image_grid_pinpoints=[[384, 384]] * 30, mm_use_im_start_end=False, rope_scaling=None,
        tokenizer_model_max_length=2048, use_mm_proj=True, sliding_window=131072, torch_dtype="bfloat16",
        mm_vision_select_layer=-2, image_crop_resolution=None, _name_or_path="x/y", transformers_version="4.39.2",
    )  # fmt: skip
    change(folder / "generation_config.json", eos_token_id=[2, 0], top_k=20, top_p=0.8, do_sample=True)
    assert load_model(folder, device="cpu").model.initialised_parts == []


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (LFS, "Git LFS pointer"), (b"\0" * 20, "cannot be read"), (b"x" * 200, "cannot be read")],
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_none(folder, name, content, says):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    assert name in refused(folder, says)


def test_weights_that_are_no_numbers(folder):
    weights = load_file(str(folder / "model.safetensors"))
    weights["model.norm.weight"] = weights["model.norm.weight"].long()
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    refused(folder, "no floating-point numbers: model.norm.weight .I64.")


def test_weights_of_another_framework(folder):
    save_file(
        load_file(str(folder / "model.safetensors")), str(folder / "model.safetensors"), metadata={"format": "tf"}
    )
    refused(folder, "of the format 'tf'")


def test_a_tensor_in_two_shards(folder):
    weights = load_file(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    names = ("model-1.safetensors", "model-2.safetensors")
    save_file(weights, str(folder / names[0]), metadata={"format": "pt"})
    save_file({"lm_head.weight": weights["lm_head.weight"]}, str(folder / names[1]), metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {**dict.fromkeys(weights, names[0]), "lm_head.weight": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "holds again what another shard holds: lm_head.weight")


class _Runs:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.zeros(2)], "holds a list"),
        ({"a": 3}, "no tensor: a"),
        ({3: torch.zeros(2)}, "no tensor: 3"),
        ({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, "'a' claims more than the file holds"),
        ({"a": _Runs()}, "more than tensors"),
    ],
)
def test_a_bin_file_holds_tensors_by_name(tmp_path, content, says):
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(DataError, match=says):
        checks.read_bin(tmp_path / "a.bin")


def test_a_compressed_bin_file_is_not_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "a.bin")
    with (
        zipfile.ZipFile(tmp_path / "a.bin") as archive,
        zipfile.ZipFile(tmp_path / "b.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    with pytest.raises(DataError, match="is compressed"):
        checks.read_bin(tmp_path / "b.bin")
    assert checks.read_bin(tmp_path / "a.bin")["a"].shape == (1 << 20,)


def test_a_changed_byte_of_a_bin_file_is_seen(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "a.bin")
    content = bytearray((tmp_path / "a.bin").read_bytes())
    content[content.index(torch.ones(8).numpy().tobytes()) + 400] ^= 1
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(DataError, match="in it is damaged"):
        checks.read_bin(tmp_path / "a.bin")


def test_messages_show_a_few_names_and_count_the_rest(folder):
    weights = load_file(str(folder / "model.safetensors"))
    weights |= {f"other.{i}" + "x" * 3000: torch.zeros(1) for i in range(50)}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(DataError, match="unexpected: other.* and [0-9]+ more") as error:
        load_model(folder, device="cpu")
    assert len(str(error.value)) < 3000


def test_reading_is_bounded(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, {"b": null}]}')
    assert read_checkpoint_json(tmp_path / "a.json") == {"a": [1, {"b": None}]}
    with pytest.raises(DataError, match="more than the 10"):
        read_checkpoint_json(tmp_path / "a.json", 10)
