"""`video3d export --format vllm`: a plain Qwen2 folder, of which transformers makes the same tokens as this package."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from model_cases import question, random_scene
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2ForCausalLM

from video3d_plugin import load_model
from video3d_plugin.cli import main
from video3d_plugin.errors import DataError
from video3d_plugin.model.checkpoint.export_language import export_language
from video3d_plugin.model.prefix import inference
from video3d_plugin.model.prefix.embeddings import prompt_embeddings

ASKED = ("scanqa", "sqa3d", "scan2cap", "two_coords")


@pytest.fixture(scope="module")
def mini():
    """The small checkpoint that the package ships, on the CPU."""
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    from video3d_plugin.loading import default_checkpoint

    folder = tmp_path_factory.mktemp("export") / "qwen2"
    assert main(["export", str(default_checkpoint()), "--format", "vllm", "--output", str(folder)]) == 0
    return folder


def test_the_folder_is_plain_qwen2_without_code(exported):
    content = json.loads((exported / "config.json").read_text())
    assert content["model_type"] == "qwen2" and content["architectures"] == ["Qwen2ForCausalLM"]
    assert not {"auto_map", "vision_config", "mm_vision_tower", "ground_head_type"} & content.keys()
    assert not list(exported.glob("*.py")) and not list(exported.glob("*.bin"))
    ends = json.loads((exported / "generation_config.json").read_text())
    assert ends == {"eos_token_id": [2], "pad_token_id": 0, "do_sample": False}


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_transformers_gives_the_same_tokens(mini, exported, sampled):
    """Scene and question as `inputs_embeds` of a class that knows nothing of this package."""
    plain = AutoModelForCausalLM.from_pretrained(exported)
    assert type(plain) is Qwen2ForCausalLM
    model, processor = mini.model, mini.processor
    scene = random_scene(mini.spec, "a", 2, 3)
    prefix = mini.encode_scene(scene)
    items = [question(kind, "a") for kind in ASKED]
    own = [inference.answer_tokens(model, processor, prefix, [item], 12)[0] for item in items]
    assert len({tuple(tokens) for tokens in own}) > 1
    for item, tokens in zip(items, own, strict=True):
        ids = torch.tensor([processor.suffix_ids(item, answered=False)[0]])
        points = torch.tensor(item.coords) if item.coords else None
        with torch.no_grad():
            suffix = model.embed_text(ids, torch.ones_like(ids, dtype=torch.bool), points)
        embeds = torch.cat([prefix.embeds[None], suffix], 1)
        if sampled:  # the same logits, step by step: any way of choosing from them is the same
            row = torch.cat([embeds, plain.get_input_embeddings()(torch.tensor([tokens]))], 1)
            with torch.no_grad():
                logits = plain(inputs_embeds=row).logits[0, embeds.shape[1] - 1 : -1]
                expected = model.lm_head(model.model(inputs_embeds=row)[0])[0, embeds.shape[1] - 1 : -1]
            assert float((logits - expected).abs().max()) < 1e-4
            continue
        made = plain.generate(inputs_embeds=embeds, max_new_tokens=12, do_sample=False)[0].tolist()
        assert inference.until_stop(made, processor.stop_ids) == tokens


def test_the_tokenizer_is_the_checkpoints(mini, exported):
    words = AutoTokenizer.from_pretrained(exported)
    for text in ("What colour is the chair?", "<|im_start|>user\n", "<ground>"):
        assert words.encode(text) == mini.processor.tokenizer.encode(text)


def test_tied_embeddings_and_rope_scaling_are_kept(build, tmp_path, scenes):
    scaling = {"rope_type": "linear", "factor": 2.0}
    model, processor = build(tie_word_embeddings=True, rope_scaling=scaling, rope_theta=5e5)
    plain = AutoModelForCausalLM.from_pretrained(export_language(model, processor, tmp_path / "out"))
    ids = torch.tensor([[5, 9, 11, 30]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        assert torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-5)
    content = json.loads((tmp_path / "out" / "config.json").read_text())
    assert content["rope_theta"] == 5e5 and content["rope_scaling"]["factor"] == 2.0 and content["tie_word_embeddings"]


def test_a_half_precision_checkpoint_stays_half_precision(build, tmp_path):
    model, processor = build()
    folder = export_language(model.to(torch.bfloat16), processor, tmp_path / "out")
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto").dtype == torch.bfloat16
    model.float()


def test_layers_that_are_not_qwen2s_are_refused(build, tmp_path):
    model, processor = build()
    model.model.layers[1].extra = torch.nn.Linear(2, 2)
    with pytest.raises(DataError, match=r"not Qwen2's: model.layers.1.extra.weight"):
        export_language(model, processor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_an_add_on_is_exported_with_a_warning(build, tmp_path, caplog):
    model, processor = build()
    model.config.video3d_model = "roomgain"
    with caplog.at_level(logging.WARNING):
        export_language(model, processor, tmp_path / "out")
    assert "roomgain" in caplog.text


def test_a_folder_with_content_is_refused(exported, mini):
    with pytest.raises(DataError, match="give a new folder"):
        export_language(mini.model, mini.processor, exported)


def test_a_model_that_rotates_by_voxels_is_neither_exported_nor_asked_through_an_engine(build, tmp_path):
    model, processor = build(world_position_embedding_type="avg-discrete-mrope", hidden_size=32, num_attention_heads=2)
    with pytest.raises(DataError, match="rotates visual tokens by their voxels"):
        export_language(model, processor, tmp_path / "out")
    prefix = inference.embed_scene(model, processor, random_scene(model.config.inputs_spec, "a", 2, 3))
    with pytest.raises(DataError, match="a: this model rotates visual tokens by their voxels"):
        prompt_embeddings(model, processor, prefix, [question("scanqa", "a")])
    encoded = inference.with_cache(model, prefix)
    assert encoded.has_cache and inference.answer_tokens(model, processor, encoded, [question("scanqa", "a")], 2)
