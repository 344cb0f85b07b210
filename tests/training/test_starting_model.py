"""A run that starts from LLaVA-Video: no <ground>, no <coord>, no head. Its result has all of them."""

from __future__ import annotations

import json

import pytest
from made_up_folder import LANGUAGE, VISION, MadeUpFolder

from video3d_plugin.cli import main
from video3d_plugin.config.paper import PAPER
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.errors import DataError
from video3d_plugin.model.checkpoint.lora import add_lora
from video3d_plugin.model.tiny import build_tiny, train_tokenizer
from video3d_plugin.pipeline import load_model
from video3d_plugin.prompts import SPATIAL_INSTRUCTION
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, SPATIAL_TOKENS
from video3d_plugin.training.dataset import SceneGroups
from video3d_plugin.training.presets import MODEL_OPTIONS, PRESETS
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.starting_model import load_to_train
from video3d_plugin.training.trainer import train

ABSENT = ("world_position_embedding_type", "object_feature_type", "ground_head_type", "ground_token_ids",
          "coord_token_ids", "video3d_model")  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder as LLaVA-NeXT saves it, whose tokenizer has the chat's tokens alone."""
    folder = tmp_path_factory.mktemp("base") / "LLaVA-Video-tiny"
    texts = ["What is thing 0 1 2 3 4? Find it red green blue white You are a helpful assistant. user system"] * 3
    tokenizer = train_tokenizer(texts, 320)
    model, processor = build_tiny(
        tokenizer, vision=VISION, world_position_embedding_type=None, ground_head_type=None, **LANGUAGE
    )
    model.resize_token_embeddings(len(tokenizer) - len(SPATIAL_TOKENS))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in ABSENT} | {"model_type": "llava_qwen"}
    (folder / "config.json").write_text(json.dumps(config))
    words = json.loads((folder / "tokenizer.json").read_text())
    words["added_tokens"] = [token for token in words["added_tokens"] if token["content"] not in SPATIAL_TOKENS]
    (folder / "tokenizer.json").write_text(json.dumps(words))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("added_tokens_decoder", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_adds_tokens_and_parts_that_its_result_has(base, tmp_path, lora, caplog):
    if lora:
        pytest.importorskip("peft")
    model, processor = load_to_train(base, {})
    assert "<image>, <ground>, <coord>: added; position avg-discrete-sin3d" in caplog.text
    model = add_lora(model, rank=2) if lora else model
    folder = MadeUpFolder(model.config.inputs_spec)
    settings = TrainSettings(tasks=("scanqa", "scanrefer"), steps=2, questions_per_scene=3, learning_rate=1e-2)
    train(model.train(), processor, folder, tmp_path / "run", settings)
    loaded = load_model(tmp_path / "run", device="cpu")
    assert loaded.model.initialised_parts == []
    known = loaded.processor.tokenizer.get_vocab()
    assert loaded.model.config.ground_token_id == known[GROUND_TOKEN] < loaded.model.config.vocab_size
    assert loaded.model.config.coord_token_id == known[COORD_TOKEN]
    for name in ("world_position_embedding_type", "object_feature_type", "ground_head_type"):
        assert getattr(loaded.model.config, name) == PAPER[name]


def test_options_take_the_place_of_the_papers_parts_and_of_the_checkpoints(base, tiny_checkpoint):
    asked = {"world_position_embedding_type": "sample5-mlp", "ground_head_type": "score", "voxel_size": 0.2}
    config = load_to_train(base, asked)[0].config
    assert {name: getattr(config, name) for name in asked} == asked
    assert config.object_feature_type == PAPER["object_feature_type"]
    kept = load_to_train(tiny_checkpoint, {"voxel_size": None})[0].config
    assert kept.voxel_size == 0.1 and kept.coordinates == "float32"
    assert load_to_train(tiny_checkpoint, {"voxel_size": 0.2})[0].config.position.voxel_size == 0.2
    with pytest.raises(DataError, match="ground_head_type 'x' is not understood"):
        load_to_train(base, {"ground_head_type": "x"})


def test_weights_of_another_head_than_the_one_that_is_asked_for_are_an_error(tiny_checkpoint):
    with pytest.raises(DataError, match="unexpected: ground_head"):
        load_to_train(tiny_checkpoint, {"ground_head_type": "mlp"})


def test_the_papers_preset_is_its_script():
    """LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/train/train_multi.sh."""
    paper, options = PRESETS["paper"], MODEL_OPTIONS["paper"]
    assert (paper.learning_rate, paper.vision_tower_lr, paper.weight_decay, paper.warmup_fraction) == (
        1e-5, 2e-6, 0.0, 0.03)  # fmt: skip
    assert paper.epochs == 1 and paper.scenes_per_step * paper.questions_per_scene == 16
    assert paper.precision == "bfloat16" and paper.gradient_checkpointing and paper.add_spatial_instruction
    assert (paper.sampler, paper.max_frames) == ("uniform", 32)
    assert options["coordinate_dtype"] == "bfloat16" and options["mm_newline_position"] == "grid"
    assert options["world_position_embedding_type"] == "avg-discrete-sin3d" and options["mm_spatial_pool_stride"] == 2
    assert options["object_feature_type"] == "patch14-pe" and options["ground_head_type"] == "infonce"


def test_the_spatial_sentence_leads_every_question_where_it_is_asked_for(base):
    folder = MadeUpFolder(load_to_train(base, {})[0].config.inputs_spec)
    for asked in (False, True):
        groups = SceneGroups(folder, list(folder.all_questions()), folder.spec, add_spatial_instruction=asked)
        prompts = [question.prompt for question in groups.questions()]
        start = f"<image>\n{SPATIAL_INSTRUCTION}\n"
        assert [prompt.startswith(start) for prompt in prompts] == [asked] * len(prompts)
        assert all(prompt.count("<image>") == 1 for prompt in prompts)


def test_the_command_starts_from_it_with_the_papers_preset(base, tmp_path, capsys, monkeypatch):
    spec = load_to_train(base, MODEL_OPTIONS["paper"])[0].config.inputs_spec
    monkeypatch.setattr(DataFolder, "open", lambda path: MadeUpFolder(spec))
    words = ["train", "--preset", "paper", "--model", str(base), "--data", "DATA", "--tasks", "scanqa,scanrefer"]
    words += ["--output", str(tmp_path / "run"), "--steps", "1", "--scenes-per-step", "1"]
    assert main([*words, "--ground-head-type", "score"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["ground_head_type"] == "score" and config["coordinate_dtype"] == "bfloat16"
    settings = json.loads((tmp_path / "run" / "training.json").read_text())["settings"]
    assert settings["coordinate_dtype"] == "bfloat16" and settings["add_spatial_instruction"]
    assert main(["train", "--data", "DATA", "--output", str(tmp_path / "x"), "--voxel-size", "1"]) == 2
    assert "--voxel-size needs a checkpoint" in capsys.readouterr().err
