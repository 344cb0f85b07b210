"""The stages of a run: one that is killed in any of them resumes and ends with the same weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from video3d_plugin.mini.curriculum.stages import curriculum_stages
from video3d_plugin.mini.presets import MiniPreset, preset
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.mini.train import from_scratch, train_mini


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["training"]),
        ({"object_rounds": 1}, ["training"]),
        ({"tower_steps": 1}, ["learning to see", "training"]),
        ({"lookup_steps": 1}, ["learning to look", "training"]),
        ({"object_steps": 1, "object_rounds": 1}, ["looking and answering", "training"]),
        (
            {"tower_steps": 1, "lookup_steps": 1, "object_steps": 1, "object_rounds": 1},
            ["learning to see", "learning to look", "looking and answering", "training"],
        ),
    ],
)
def test_a_run_has_the_stages_that_its_settings_ask_for(rooms, build, options, names):
    stages = curriculum_stages(*build(num_hidden_layers=3), rooms, MiniSettings(tasks=("scanrefer",), **options))
    assert [stage.name for stage in stages] == names
    assert [stage.steps for stage in stages[:-1]] == [1] * (len(stages) - 1)


@pytest.mark.parametrize("looking", [0, 1])
def test_a_task_of_more_rounds_is_asked_so_many_times_an_epoch(rooms, build, looking):
    settings = MiniSettings(tasks=("scanrefer", "scanqa"), task_rounds={"scanqa": 3}, lookup_steps=looking)
    last = curriculum_stages(*build(), rooms, settings)[-1]
    groups = last.dataset.groups if looking else last.dataset
    asked = Counter((question.task, question.item_id) for question in groups.questions())
    assert sum(asked.values()) == last.questions
    assert {(task, times) for (task, _), times in asked.items()} == {("scanqa", 3), ("scanrefer", 1)}


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "asks", "left"),
    [("VisionPretraining", False, 12), ("AttentionSupervision", False, 8), ("AttentionSupervision", True, 2)],
)
def test_the_mini_preset_killed_and_resumed_ends_with_the_same_weights(
    rooms, questions, sizes, tower_sizes, tmp_path, monkeypatch, module, asks, left
):
    """Killed after two of a stage's four steps; the rest of it and the stages after it are `left`."""
    import transformers

    chosen = preset("mini")
    few = {"steps": 4, "save_every": 2, "tower_steps": 4, "lookup_steps": 4, "object_steps": 2, "max_frames": 2}
    settings = replace(chosen.settings, **few, tasks=("scanrefer",))
    small = MiniPreset(settings, {**chosen.language, **sizes, "num_attention_heads": 4}, tower_sizes, 400)
    step = transformers.Trainer.training_step

    def killed(self, *args, **kwargs):
        asked = getattr(self.train_dataset, "groups", None) is not None
        if self.state.global_step == 2 and (type(self.model).__name__, asked) == (module, asks):
            raise Killed
        return step(self, *args, **kwargs)

    steps = []

    def counted(self, *args, **kwargs):
        steps.append(self.state.global_step)
        return step(self, *args, **kwargs)

    def run(output, resume=False):
        model, processor = from_scratch(small, questions)
        train_mini(model.train(), processor, rooms, tmp_path / output, settings, resume=resume)
        return model

    whole = run("whole")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(transformers.Trainer, "training_step", killed)
        run("half")
    with monkeypatch.context() as patched:
        patched.setattr(transformers.Trainer, "training_step", counted)
        resumed = run("half", resume=True)
    assert len(steps) == left
    assert not (tmp_path / "half" / "stages").exists()
    for (name, one), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda m, name=name: f"{name}: {m}")
