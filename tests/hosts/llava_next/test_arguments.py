"""What `--model video3d` makes of LLaVA-NeXT's command line. Made-up host dataclasses; no host is needed."""

from __future__ import annotations

import json
import os
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pytest

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.hosts.llava_next import arguments, fields, train


@dataclass
class ModelArguments:
    model_name_or_path: Optional[str] = field(default=None)  # noqa: UP045
    mm_tunable_parts: Optional[str] = field(default=None)  # noqa: UP045
    vision_tower: Optional[str] = field(default=None)  # noqa: UP045
    mm_patch_merge_type: Optional[str] = field(default="flat")  # noqa: UP045
    mm_newline_position: Optional[str] = field(default="grid")  # noqa: UP045
    mm_spatial_pool_stride: Optional[int] = field(default=None)  # noqa: UP045
    tune_mm_mlp_adapter: bool = field(default=False)
    mm_use_im_start_end: bool = field(default=False)
    version: Optional[str] = field(default="v0")  # noqa: UP045
    use_pos_skipping: Optional[bool] = field(default=False)  # noqa: UP045
    pretrain_mm_mlp_adapter: Optional[str] = field(default=None)  # noqa: UP045


@dataclass
class DataArguments:
    data_path: Optional[str] = field(default=None)  # noqa: UP045
    video_folder: Optional[str] = field(default=None)  # noqa: UP045
    frames_upbound: Optional[int] = field(default=0)  # noqa: UP045
    force_sample: Optional[bool] = field(default=False)  # noqa: UP045
    image_grid_pinpoints: Optional[str] = field(default=None)  # noqa: UP045


@dataclass
class TrainingArguments:
    seed: int = 42
    attn_implementation: str = "flash_attention_2"
    group_by_varlen: bool = False
    torch_compile: bool = False
    torch_compile_backend: Optional[str] = None  # noqa: UP045
    eval_strategy: str = "no"


@pytest.fixture
def known_transformers(monkeypatch):
    monkeypatch.setattr(arguments, "installed_version", lambda name: "4.57.6")


@pytest.fixture
def parse(known_transformers, checkpoint, training_folder):
    """words of a command line -> the plan, and the three groups of arguments."""
    from transformers import HfArgumentParser

    def run(*words, **given):
        options = {"--model_name_or_path": checkpoint, "--data_path": training_folder, "--model": "video3d",
                   "--attn_implementation": "sdpa", **given}  # fmt: skip
        line = [str(word) for pair in options.items() if pair[1] is not None for word in pair] + [*map(str, words)]
        kinds = fields.add_fields([ModelArguments, DataArguments, TrainingArguments])
        groups = HfArgumentParser(kinds).parse_args_into_dataclasses(line)
        return arguments.plan_run(*groups), groups

    return run


def test_what_is_not_given_stays_as_the_checkpoint_says(parse, checkpoint, training_folder):
    plan, (model, data, _) = parse()
    stored = json.loads((checkpoint / "config.json").read_text())
    for name in ("mm_patch_merge_type", "mm_newline_position", "voxel_size", "min_xyz_range", "ground_head_type"):
        assert getattr(plan.config, name) == stored[name], name
    assert model.mm_newline_position == stored["mm_newline_position"]  # the host writes it back
    assert (plan.sampler, plan.max_frames, plan.questions_per_scene) == ("uniform", 32, 1)
    folder = DataFolder.open(training_folder)
    assert len(plan.questions) == sum(len(folder.questions(*one)) for one in folder.tasks())


def test_the_references_arguments_override_the_checkpoint(parse):
    plan, (model, data, training) = parse(
        *"--world_position_embedding_type avg-discrete-sin3d --object_feature_type patch14-pe --voxel_size 0.2".split(),
        *"--ground_head_type infonce --ground_head_temperature 0.1 --min_xyz_range -9 -8 -7".split(),
        *"--max_xyz_range 9 8 7 --frame_sampling_strategy mc-ratio95 --frames_upbound 8".split(),
        *"--add_spatial_instruction True --group_by_task_length True --group_by_varlen True".split(),
        *"--embodiedscan_folder data/embodiedscan/ --mm_newline_position frame --questions_per_scene 4".split(),
    )
    config = plan.config
    assert config.position.voxel_size == 0.2 and config.position.low == (-9, -8, -7)
    assert (config.head.kind, config.head.temperature, config.layout.newline) == ("infonce", 0.1, "frame")
    assert (plan.sampler, plan.max_frames, plan.questions_per_scene) == ("mc-ratio95", 8, 4)
    assert all("captures 3D spatial information" in question.prompt for question in plan.questions)
    assert not training.group_by_varlen and sum("not needed" in note for note in plan.notes) == 2
    assert any("embodiedscan_folder" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("strategy", "sampler", "clamped"),
    [
        ("mc32", "mc", False),
        ("mc24", "mc", False),
        ("mc-ratio90", "mc-ratio90", False),
        ("mc32-ratio95", "mc-ratio95", False),
        ("mc-norm", "mc", True),
        ("mc32-norm-ratio95", "mc-ratio95", True),
        ("new", "new", False),
    ],
)
def test_the_references_names_of_samplers(strategy, sampler, clamped):
    assert arguments.parse_strategy(strategy) == (sampler, clamped)


def test_norm_clamps_the_points_of_the_run(parse):
    plan, _ = parse("--frame_sampling_strategy", "mc-norm")
    assert plan.sampler == "mc" and plan.config.inputs_spec.clamp_points
    plan, _ = parse("--frame_sampling_strategy", "mc")
    assert not plan.config.inputs_spec.clamp_points


@pytest.mark.parametrize("strategy", ["mc-ratio95-shift", "mcx", "mc-normal"])
def test_a_strategy_that_is_not_supported_is_refused_and_not_read_as_mc(strategy):
    with pytest.raises(DataError, match=f"--frame_sampling_strategy {strategy}: .* not supported"):
        arguments.parse_strategy(strategy)


@pytest.mark.parametrize(
    ("words", "frames", "noted"),
    [
        ("", 32, None),
        ("--frames_upbound 8", 8, None),
        ("--frames_upbound 8 --force_sample True", 8, None),
        ("--frames_upbound 8 --force_sample False", 10, "10 uniform frames"),  # as the reference, whatever the bound
        ("--frames_upbound 8 --force_sample False --frame_sampling_strategy mc", 8, "no effect on mc"),
    ],
)
def test_force_sample_is_what_the_reference_makes_of_it(parse, words, frames, noted):
    plan, (_, data, _) = parse(*words.split())
    assert plan.max_frames == frames and data.force_sample is ("False" not in words)
    notes = [note for note in plan.notes if "force_sample" in note]
    assert len(notes) == (noted is not None) and all(noted in note for note in notes)


def test_arguments_that_the_reference_reads_nowhere_are_kept_with_a_note(parse, tmp_path):
    plan, _ = parse("--ground_head_hidden_size", "512", "--ground_loss_scale", "2")
    assert sum("do not read it" in note for note in plan.notes) == 2
    plan.config.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert (stored["ground_head_hidden_size"], stored["ground_loss_scale"]) == (512, 2)
    type(plan.config).from_pretrained(tmp_path)


def test_another_pool_stride_than_the_references_is_used_with_a_note(parse):
    assert not any("pool" in note for note in parse()[0].notes)
    plan, (model, _, _) = parse("--mm_spatial_pool_stride", "1")
    assert plan.config.layout.pool_stride == plan.config.inputs_spec.pool_stride == model.mm_spatial_pool_stride == 1
    assert any("1 x 1 patches are pooled" in note for note in plan.notes)


def test_compilation_is_taken_from_the_trainer_for_the_layers(parse, monkeypatch):
    assert parse()[0].compilation is None
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")  # as TrainingArguments sets it
    plan, (_, _, training) = parse("--torch_compile", "True", "--torch_compile_backend", "inductor")
    assert not training.torch_compile and "ACCELERATE_DYNAMO_BACKEND" not in os.environ
    assert plan.compilation == {"backend": "inductor"}
    assert any("--torch_compile compiles the language model's layers" in note for note in plan.notes)


def test_compilation_is_left_out_where_weights_are_gathered_in_the_layers(parse, monkeypatch):
    deepspeed = types.SimpleNamespace(is_zero3=lambda: True, config={})
    monkeypatch.setattr(TrainingArguments, "hf_deepspeed_config", deepspeed, raising=False)
    plan, (_, _, training) = parse("--torch_compile", "True")
    assert plan.compilation is None and not training.torch_compile
    assert any("--torch_compile is not used: ZeRO-3" in note for note in plan.notes)


@pytest.mark.parametrize("config", [{}, {"optimizer": {"type": "AdamW"}}])
def test_learning_rates_that_deepspeeds_optimizer_drops_are_noted(parse, monkeypatch, config):
    deepspeed = types.SimpleNamespace(is_zero3=lambda: False, config=config)
    monkeypatch.setattr(TrainingArguments, "hf_deepspeed_config", deepspeed, raising=False)
    monkeypatch.setattr(TrainingArguments, "mm_vision_tower_lr", 2e-6, raising=False)
    notes = [note for note in parse()[0].notes if "mm_vision_tower_lr has no effect" in note]
    assert len(notes) == len(config)


def test_any_folder_name_gets_the_qwen_tokenizer(parse, checkpoint):
    _, (model, _, _) = parse()
    assert "qwen" not in str(checkpoint) and "qwen" in model.model_name_or_path.lower()
    assert model.model_name_or_path == str(checkpoint)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--model vidoe3d", r"did you mean 'video3d'\? known: video3d"),
        ("--attn_implementation flash_attention_2", "flash-attn.*sdpa"),
        ("--version plain", "--version plain.*qwen_1_5"),
        ("--version v0", "--version v0.*qwen_1_5"),
        ("--use_pos_skipping True", "use_pos_skipping"),
        ("--mm_use_im_start_end True", "mm_use_im_start_end"),
        ("--mm_tunable_parts mm_mlp_adapter", "nothing but the projector.*parts of --ground_head_type train too"),
        ("--mm_tunable_parts mm_vision_resampler", "trains nothing"),
        ("--pretrain_mm_mlp_adapter nowhere.bin", "nowhere.bin: no such file"),
        ("--questions_per_scene 0", "questions_per_scene"),
        ("--frame_sampling_strategy unifrom", "did you mean 'uniform'"),
        ("--world_position_embedding_type avg-sin2d", "avg-sin2d"),
        ("--ground_head_type none", "ground_head_type"),
        ("--data_path nowhere.yaml", "nowhere.yaml"),
        ("--model_name_or_path ./nowhere", "no such checkpoint folder"),
        ("--video3d_data ./nowhere", "video3d prepare"),
    ],
)
def test_what_cannot_work_is_said_before_a_weight_is_loaded(parse, monkeypatch, training_folder, words, says):
    from video3d_plugin.model.modeling import Video3DForCausalLM

    monkeypatch.setattr(Video3DForCausalLM, "__init__", lambda *args: pytest.fail("a model was built"))
    monkeypatch.setattr(arguments, "find_spec", lambda name: None)  # no flash-attn, wherever this runs
    monkeypatch.setenv("VIDEO3D_DATA", str(training_folder))
    with pytest.raises((DataError, MissingError), match=says):
        parse(*words.split())


@pytest.mark.parametrize("version", ["4.44.2", "5.23.0"])
def test_transformers_out_of_range(parse, monkeypatch, version):
    monkeypatch.setattr(arguments, "installed_version", lambda name: version)
    with pytest.raises(DataError, match=f"transformers {version} does not train"):
        parse()


def test_processed_files_need_prepared_scenes(parse, tmp_path, monkeypatch, training_folder):
    scene = DataFolder.open(training_folder).scene_ids[0]
    turns = [{"from": "human", "value": "<image> What?"}, {"from": "gpt", "value": "A chair"}]
    items = [{"video": f"scannet/{name}", "conversations": turns, "metadata": {}} for name in (scene, "scene9999_00")]
    (tmp_path / "a.json").write_text(json.dumps(items[:1]))
    (tmp_path / "b.json").write_text(json.dumps(items))
    monkeypatch.delenv("VIDEO3D_DATA", raising=False)
    with pytest.raises(MissingError, match="video3d prepare"):
        parse(**{"--data_path": tmp_path / "a.json"})
    monkeypatch.setenv("VIDEO3D_DATA", str(training_folder))
    assert len(parse(**{"--data_path": tmp_path / "a.json"})[0].questions) == 1
    with pytest.raises(MissingError, match=r"item 1 is about scene9999_00.*1 of 2 items"):
        parse(**{"--data_path": tmp_path / "b.json"})


def test_an_object_without_a_box_is_named(parse, tmp_path, training_folder):
    scene = DataFolder.open(training_folder).scene_ids[0]
    turns = [{"from": "human", "value": "<image> It"}, {"from": "gpt", "value": "<ground>"}]
    item = {"video": scene, "conversations": turns, "metadata": {"dataset": "scanrefer", "object_id": "7777"}}
    (tmp_path / "a.json").write_text(json.dumps([item]))
    with pytest.raises(DataError, match=f"object 7777 of {scene}"):
        parse(**{"--data_path": tmp_path / "a.json", "--video3d_data": training_folder})


# The hook on the script's parser, with a made-up script.

SCRIPT = """
def get_model(): return "host model"
def make_supervised_data_module(): return "host data"
def find_all_linear_names(): return "host names"
class LLaVATrainer: pass
def train(parser):
    return parser((ModelArguments, DataArguments, TrainingArguments)).parse_args_into_dataclasses()
"""


@pytest.fixture
def script(monkeypatch):
    """The globals of a made-up training script, and a parser class that is patched as HfArgumentParser is."""
    from transformers import HfArgumentParser

    class Parser(HfArgumentParser):
        __init__ = train.wrap_parser_init(HfArgumentParser.__init__)
        parse_args_into_dataclasses = train.wrap_parse_args(HfArgumentParser.parse_args_into_dataclasses)

    kinds = {kind.__name__: kind for kind in (ModelArguments, DataArguments, TrainingArguments)}
    scope = {"__name__": "script", **kinds}
    exec(SCRIPT, scope)
    monkeypatch.setattr(train, "source_digest", lambda function: next(iter(train.KNOWN_TRAIN)))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, words)])
        return scope["train"](Parser)

    return scope, run


def ours(checkpoint, training_folder):
    return ["--model=video3d", "--model_name_or_path", checkpoint, "--data_path", training_folder,
            "--attn_implementation", "sdpa"]  # fmt: skip


def test_without_model_the_script_is_left_alone(script, checkpoint):
    scope, run = script
    before = dict(scope)
    groups = run("--model_name_or_path", checkpoint)
    assert [type(group) for group in groups] == [ModelArguments, DataArguments, TrainingArguments]
    assert scope == before


def test_with_model_the_parts_are_ours_and_the_next_run_has_its_own_again(
    script, checkpoint, training_folder, known_transformers, capsys
):
    scope, run = script
    before = {name: scope[name] for name in ("get_model", "make_supervised_data_module", "find_all_linear_names")}
    assert run(*ours(checkpoint, training_folder))[0].model == "video3d"
    assert all(scope[name] is not part for name, part in before.items())
    assert "questions about 2 scenes" in capsys.readouterr().out
    run("--model_name_or_path", checkpoint)
    assert all(scope[name] is part for name, part in before.items())


def test_a_stage_of_the_projector_alone_and_the_stage_after_it(
    script, checkpoint, training_folder, known_transformers, tmp_path
):
    """The host saves `mm_projector` of `named_parameters()` (get_mm_adapter_state_maybe_zero_3)."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    scope, run = script
    folder = Path(shutil.copytree(checkpoint, tmp_path / "qwen"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "ground_head_type": None}))
    weights = {n: t for n, t in load_file(folder / "model.safetensors").items() if not n.startswith("ground_head")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    saved = tmp_path / "mm_projector.bin"

    def model_of(*words):
        model_args, _, training_args = run(*ours(folder, training_folder), *words)
        training_args.bf16, training_args.cache_dir = False, None
        return scope["get_model"](model_args, training_args, {})

    first = model_of("--mm_tunable_parts", "mm_mlp_adapter")
    with torch.no_grad():
        first.get_model().mm_projector[0].weight.add_(1)
    torch.save({n: p.detach() for n, p in first.named_parameters() if "mm_projector" in n}, saved)
    second = model_of("--pretrain_mm_mlp_adapter", str(saved))
    for name, parameter in second.get_model().mm_projector.named_parameters():
        assert torch.equal(parameter, first.get_model().mm_projector.get_parameter(name)), name
    broken = torch.load(saved, weights_only=True)
    torch.save(dict(list(broken.items())[1:]), saved)
    with pytest.raises(SystemExit):
        model_of("--pretrain_mm_mlp_adapter", str(saved))


@pytest.mark.parametrize("words", [["--evaluation_strategy", "steps"], ["--evaluation_strategy=steps"]])
def test_an_option_that_transformers_renamed_keeps_its_old_name(
    script, checkpoint, training_folder, known_transformers, words
):
    _, run = script
    assert run(*ours(checkpoint, training_folder), *words)[2].eval_strategy == "steps"
    assert train.current_names(words, {"--evaluation_strategy", "--eval_strategy"}) == words


def test_an_error_is_one_line_and_status_2(script, checkpoint, training_folder, known_transformers, capsys):
    _, run = script
    with pytest.raises(SystemExit) as end:
        run(*ours(checkpoint, training_folder)[1:], "--model", "other")
    assert end.value.code == 2
    assert capsys.readouterr().err.strip() == "error: unknown model 'other' (known: video3d)"


def test_a_damaged_checkpoint_is_one_line_and_status_2_too(
    script, checkpoint, training_folder, known_transformers, capsys, tmp_path
):
    """The host loads it after its arguments, from its own code."""
    import shutil

    scope, run = script
    folder = Path(shutil.copytree(checkpoint, tmp_path / "qwen"))
    model_args, _, training_args = run(*ours(folder, training_folder))
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    training_args.bf16, training_args.cache_dir = False, None
    with pytest.raises(SystemExit) as end:
        scope["get_model"](model_args, training_args, {})
    assert end.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("error: ") and "Git LFS pointer" in line


def test_an_unknown_checkout_names_the_commits_that_work(script, checkpoint, training_folder, monkeypatch, capsys):
    _, run = script
    monkeypatch.setattr(train, "source_digest", lambda function: "0" * 16)
    with pytest.raises(SystemExit):
        run(*ours(checkpoint, training_folder))
    assert "LLaVA-NeXT b42941c, LLaVA-NeXT df17966" in capsys.readouterr().err


def test_another_programs_parser_is_left_alone(script, monkeypatch):
    scope, run = script
    del scope["get_model"]
    # To argparse, `--model` abbreviates an option of the program's own: one (transformers 4.45), or several, an error.
    try:
        groups = run("--model", "video3d")
    except (SystemExit, ValueError):
        return
    assert groups[0].model_name_or_path == "video3d" and not hasattr(groups[0], "model")


@pytest.mark.parametrize("zero3", [False, True])
def test_gradient_checkpointing_is_of_the_kind_that_goes_with_the_ranks(parse, zero3):
    import types

    TrainingArguments.hf_deepspeed_config = types.SimpleNamespace(is_zero3=lambda: zero3)
    TrainingArguments.gradient_checkpointing, TrainingArguments.gradient_checkpointing_kwargs = True, None
    try:
        _, (_, _, training) = parse()
        assert training.gradient_checkpointing_kwargs == {"use_reentrant": zero3}
    finally:
        for name in ("hf_deepspeed_config", "gradient_checkpointing", "gradient_checkpointing_kwargs"):
            delattr(TrainingArguments, name)


@pytest.mark.parametrize(
    "flags, words, expected",
    [
        ({"bf16": True}, "", "bfloat16"),
        ({"fp16": True}, "", "float16"),
        ({}, "", None),
        ({"bf16": True}, "--coordinate_dtype float32", "float32"),
    ],
)
def test_coordinates_have_the_format_to_which_the_trainer_casts_them(parse, monkeypatch, flags, words, expected):
    import types

    assert parse(*words.split())[0].config.coordinate_dtype in (None, "float32")  # without DeepSpeed
    deepspeed = types.SimpleNamespace(is_zero3=lambda: False)
    for name, value in {"hf_deepspeed_config": deepspeed, **flags}.items():
        monkeypatch.setattr(TrainingArguments, name, value, raising=False)
    assert parse(*words.split())[0].config.coordinate_dtype == expected


def test_checkpoints_say_how_the_run_saw_scenes(checkpoint, tmp_path):
    import json
    import shutil
    import types

    from video3d_plugin.hosts.llava_next.saving import CompleteCheckpoints
    from video3d_plugin.loading import load_checkpoint, trained_view
    from video3d_plugin.model.processing import Video3DProcessor

    view = {"sampler": "mc", "max_frames": 4, "coordinate_dtype": "bfloat16"}
    callback = CompleteCheckpoints(Video3DProcessor.from_pretrained(checkpoint), view)
    state = types.SimpleNamespace(global_step=2, is_world_process_zero=True)
    for folder in (tmp_path / "checkpoint-2", tmp_path):
        folder.mkdir(exist_ok=True)
    callback.on_save(types.SimpleNamespace(output_dir=tmp_path), state, None)
    callback.on_train_end(types.SimpleNamespace(output_dir=tmp_path), state, None)
    for folder in (tmp_path / "checkpoint-2", tmp_path):
        assert trained_view(folder) == view
    whole = tmp_path / "whole"
    shutil.copytree(checkpoint, whole)
    (whole / "training.json").write_text(json.dumps({"settings": view}))
    loaded = load_checkpoint(whole, device="cpu")
    assert (loaded.sampler, loaded.max_frames) == ("mc", 4)
    assert loaded.model.config.inputs_spec.coordinate_dtype == "bfloat16"


def test_the_seed_covers_new_weights(monkeypatch):
    """Heads, tokens and adapters get their weights before the Trainer sets the seed."""
    import types

    import torch

    from video3d_plugin.hosts.llava_next import train
    from video3d_plugin.model.distributed import zero3

    monkeypatch.setattr(zero3, "join_process_group", lambda: None)
    kind = types.SimpleNamespace(from_pretrained=lambda *_, **__: torch.rand(3).tolist())
    model_args = types.SimpleNamespace(model_name_or_path="x")
    training_args = types.SimpleNamespace(bf16=False, cache_dir=None, attn_implementation="sdpa")

    def drawn(seed):
        torch.rand(7)
        plan = types.SimpleNamespace(model_class=kind, config=None, seed=seed)
        return train.load_checkpoint(plan, model_args, training_args, {}), torch.rand(3).tolist()

    assert drawn(1) == drawn(1) != drawn(2)
