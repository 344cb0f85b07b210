"""`video3d train`: which settings its options give, which stages they bring, and a run that processes share."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from video3d_plugin.cli import main
from video3d_plugin.cli import train as command
from video3d_plugin.errors import DataError
from video3d_plugin.mini import presets
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.training import processes
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.trainer import training_arguments

SHORT = "--tower-steps 1 --lookup-steps 1 --object-steps 1 --object-rounds 1 --steps 2 --scenes-per-step 2".split()


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--data", "DATA", "--output", "runs/none", *words])


def chosen(*words: str) -> TrainSettings:
    return command.settings_of(parsed(*words))


def test_a_checkpoint_without_a_preset_is_fine_tuned_and_no_model_is_made_from_scratch_by_default():
    paper, mini = chosen("--model", "CHECKPOINT"), chosen()
    assert paper == chosen("--model", "CHECKPOINT", "--preset", "paper")
    assert (paper.learning_rate, paper.vision_tower_lr, paper.epochs) == (1e-5, 2e-6, 1)
    assert mini == chosen("--preset", "mini") and mini.tower_steps and mini.lookup_steps


def test_what_a_model_from_scratch_learns_first_is_left_out_with_a_checkpoint_unless_given():
    words = ("--model", "CHECKPOINT", "--preset", "mini")
    left = replace(chosen("--preset", "mini"), tower_steps=0, lookup_steps=0, object_steps=0)
    assert chosen(*words) == left
    assert chosen(*words, "--lookup-steps", "7") == replace(left, lookup_steps=7)


def test_epochs_given_alone_decide_and_steps_decide_over_them(tmp_path):
    for preset in ("demo", "mini", "paper"):
        settings = chosen("--preset", preset, "--epochs", "3")
        per_epoch = -(-1000 // settings.scenes_per_step)
        assert training_arguments(tmp_path, settings, 1000).max_steps == 3 * per_epoch
        assert chosen("--preset", preset, "--epochs", "3", "--steps", "5").steps == 5


@pytest.mark.parametrize("option", ["--steps", "--epochs", "--scenes-per-step", "--scenes-at-once"])
def test_no_steps_and_no_scenes_are_refused(option):
    with pytest.raises(DataError, match=option.strip("-").replace("-", "_") + " is 0"):
        chosen(option, "0")


def test_two_processes_do_what_one_does(rooms, tmp_path, capfd):
    losses = []
    for count in (1, 2):
        output = tmp_path / str(count)
        words = ["train", "--data", str(rooms.path), "--output", str(output), "--max-frames", "2", *SHORT]
        assert main([*words, "--processes", str(count)]) == 0
        said = capfd.readouterr().out
        assert said.count("2 steps over") == 1, "one of them reports"
        losses.append([loss for _, loss in json.loads((output / "training.json").read_text())["losses"]])
        assert Video3DForCausalLM.from_pretrained(output).config.num_hidden_layers > 1
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_full_folder_is_refused_before_anything_is_started(rooms, tmp_path, capsys, monkeypatch):
    (tmp_path / "kept").write_text("x")
    monkeypatch.setattr(processes, "launch", lambda *_: pytest.fail("started"))
    assert main(["train", "--data", str(rooms.path), "--output", str(tmp_path), "--processes", "2"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_every_option_has_help_and_those_of_settings_name_a_field():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert [action.dest for action in parser._actions if not action.help] == []
    assert set(command.SETTINGS) <= {field.name for field in fields(TrainSettings)}
    own = {field.name for field in fields(MiniSettings)} - {field.name for field in fields(TrainSettings)}
    assert set(command.MINI_SETTINGS) <= own and set(command.MINI_PRESETS) == set(presets.PRESETS)


def test_an_option_of_a_model_from_scratch_adds_its_stage_to_the_papers_settings():
    plain, looking = chosen("--model", "CHECKPOINT"), chosen("--model", "CHECKPOINT", "--lookup-steps", "7")
    assert type(plain) is TrainSettings and type(looking) is MiniSettings
    assert {f.name: getattr(looking, f.name) for f in fields(plain)} == {
        f.name: getattr(plain, f.name) for f in fields(plain)
    }
    assert looking.lookup_steps == 7 and looking.optimizer == "adamw" and not looking.move_scenes


def test_an_unknown_preset_lists_all():
    with pytest.raises(DataError, match="no preset 'tiny'.*demo, mini, paper"):
        chosen("--preset", "tiny")


def test_the_papers_preset_needs_a_checkpoint(rooms, tmp_path, capsys):
    words = ["train", "--data", str(rooms.path), "--output", str(tmp_path / "run"), "--preset", "paper"]
    assert main(words) == 2
    assert "give --model CHECKPOINT" in capsys.readouterr().err


@pytest.mark.parametrize("lora", [[], ["--lora", "2"]])
def test_a_checkpoint_is_fine_tuned_without_the_small_models_code_and_again_alike(
    rooms, tiny_checkpoint, tmp_path, lora
):
    """In a process of its own, which tells what it imported."""
    if lora:
        pytest.importorskip("peft")
    script = (
        "import sys, torch; torch.manual_seed(int(sys.argv[1]))\n"
        "from video3d_plugin.cli import main\n"
        "assert main(sys.argv[2:]) == 0\n"
        "print([name for name in sys.modules if name.startswith('video3d_plugin.mini')])"
    )
    losses = []
    for number in "12":
        output = tmp_path / number
        words = ["train", "--model", str(tiny_checkpoint), "--data", str(rooms.path), "--output", str(output), *lora]
        words += ["--steps", "2", "--max-frames", "2", "--precision", "float32", "--scenes-per-step", "1"]
        done = subprocess.run([sys.executable, "-c", script, number, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[-1] == "[]"
        summary = json.loads((output / "training.json").read_text())
        losses.append(summary["losses"])
        assert summary["settings"]["sampler"] == "uniform" and summary["settings"]["max_frames"] == 2
        assert "lookup_steps" not in summary["settings"]
    assert losses[0] == losses[1], "the seed decides, also of what adapters begin with"
