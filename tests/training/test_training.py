"""Training under transformers.Trainer as it is: every question of every epoch, a falling loss, resumption."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from made_up_folder import COLOURS, LANGUAGE, VISION, MadeUpFolder

from video3d_plugin.errors import DataError, Interrupted
from video3d_plugin.model.tiny import build_tiny, train_tokenizer
from video3d_plugin.training.dataset import GroupCollator, SceneGroups
from video3d_plugin.training.settings import TrainSettings
from video3d_plugin.training.stage import Stage
from video3d_plugin.training.trainer import fine_tuning_stages, train


@pytest.fixture(scope="module")
def tiny():
    texts = ["<image> What is thing 0 1 2 3 4? Find it " + " ".join(COLOURS)] * 3

    def build():
        model, processor = build_tiny(train_tokenizer(texts, 320), vision=VISION, seed=0, **LANGUAGE)
        processor.label_style = "answer"
        return model, processor

    return build


@pytest.fixture
def folder(tiny):
    return MadeUpFolder(tiny()[0].config.inputs_spec)


def groups(folder, spec, size, seed=0):
    questions = [q for task in ("scanqa", "scanrefer") for q in folder.questions(task, "train")]
    return SceneGroups(folder, questions, spec, questions_per_scene=size, seed=seed)


@pytest.mark.parametrize("size", [1, 4, 6, 100])
def test_every_question_of_every_epoch_is_seen_once_and_groups_hold_one_scene(folder, size):
    dataset = groups(folder, folder.spec, size)
    wanted = Counter(q.item_id for q in folder.all_questions())
    orders = set()
    for epoch in range(3):
        dataset.set_epoch(epoch)
        seen = []
        for index in range(len(dataset)):
            inputs, questions = dataset[index]
            assert 1 <= len(questions) <= size and {q.scene_id for q in questions} == {inputs.scene_id}
            seen += [q.item_id for q in questions]
        assert Counter(seen) == wanted
        orders.add(tuple(seen))
    assert len(orders) == 3, "epochs are shuffled differently"


def test_the_order_depends_on_the_seed_alone(folder):
    first, again, other = (groups(folder, folder.spec, 4, seed) for seed in (1, 1, 2))
    assert [q.item_id for q in first.questions()] == [q.item_id for q in again.questions()]
    assert [q.item_id for q in first.questions()] != [q.item_id for q in other.questions()]


def test_no_questions_or_no_group_size_is_an_error(folder):
    with pytest.raises(DataError, match="no training questions"):
        SceneGroups(folder, [], folder.spec)
    with pytest.raises(DataError, match="questions_per_scene"):
        groups(folder, folder.spec, 0)


def test_shared_sequences_have_the_loss_of_separate_items(folder, tiny):
    model, processor = tiny()
    dataset = groups(folder, folder.spec, 6)
    batch = [dataset[0], dataset[1]]
    shared = model(**GroupCollator(processor)(batch))
    apart = model(**GroupCollator(processor, shared=False)(batch))
    torch.testing.assert_close(shared.item_losses, apart.item_losses, rtol=1e-5, atol=1e-5)


SETTINGS = TrainSettings(
    tasks=("scanqa", "scanrefer"),
    steps=24,
    scenes_per_step=2,
    questions_per_scene=3,
    learning_rate=1e-2,
    vision_tower_lr=None,
    save_every=12,
    max_frames=2,
)


def test_the_loss_falls_and_the_result_loads_and_answers_alike(folder, tiny, tmp_path):
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

    model, processor = tiny()
    summary = train(model.train(), processor, folder, tmp_path / "run", SETTINGS)
    assert summary["steps"] == 24 and summary["questions"] == 18
    assert summary["loss_last"] < 0.5 * summary["loss_first"]
    again = Video3DForCausalLM.from_pretrained(str(tmp_path / "run")).eval()
    processor_again = Video3DProcessor.from_pretrained(str(tmp_path / "run"), config=again.config)
    batch = GroupCollator(processor_again)([groups(folder, folder.spec, 6)[0]])
    torch.testing.assert_close(again(**batch).item_losses, model.eval()(**batch).item_losses)


def test_ctrl_c_says_whether_the_run_can_be_resumed(folder, tiny, tmp_path, monkeypatch):
    from transformers import Trainer

    training_step = Trainer.training_step

    def stop_at(last: int) -> str:
        def step(trainer, *args, **kwargs):
            if trainer.state.global_step == last:
                raise KeyboardInterrupt
            return training_step(trainer, *args, **kwargs)

        monkeypatch.setattr(Trainer, "training_step", step)
        model, processor = tiny()
        with pytest.raises(Interrupted) as stopped:
            train(model.train(), processor, folder, tmp_path / "run", replace(SETTINGS, save_every=2))
        return str(stopped.value)

    assert stop_at(1) == "no checkpoint had been saved"
    assert stop_at(3).endswith("--resume goes on from the last checkpoint (checkpoint-2)")


def test_a_run_resumed_from_a_checkpoint_ends_with_the_same_weights(folder, tiny, tmp_path):
    import shutil

    model, processor = tiny()
    train(model.train(), processor, folder, tmp_path / "whole", SETTINGS)
    shutil.copytree(tmp_path / "whole" / "checkpoint-24", tmp_path / "keep")

    model_b, processor_b = tiny()
    half = tmp_path / "half"
    _train_until_killed(model_b, processor_b, folder, half)
    model_c, processor_c = tiny()
    train(model_c.train(), processor_c, folder, half, replace(SETTINGS, save_every=12), resume=True)
    for (name, one), other in zip(model.named_parameters(), model_c.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda m, name=name: f"{name}: {m}")


def _train_until_killed(model, processor, folder, output):
    """Stops the run right after its first checkpoint, as a kill would."""
    import transformers

    class Killed(Exception):
        pass

    original = transformers.Trainer.training_step

    def step(self, *args, **kwargs):
        if self.state.global_step == 12:
            raise Killed
        return original(self, *args, **kwargs)

    transformers.Trainer.training_step = step
    try:
        with pytest.raises(Killed):
            train(model.train(), processor, folder, output, SETTINGS)
    finally:
        transformers.Trainer.training_step = original


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_resuming_a_run_that_has_ended_changes_no_byte(folder, tiny, tmp_path):
    settings = replace(SETTINGS, steps=4, save_every=3)
    model, processor = tiny()
    summary = train(model.train(), processor, folder, tmp_path / "run", settings)
    before = contents(tmp_path / "run")
    for _ in range(2):
        again, _ = tiny()
        resumed = train(again.train(), processor, folder, tmp_path / "run", settings, resume=True)
        assert (resumed["steps"], resumed["loss_last"]) == (4, summary["loss_last"])
        assert contents(tmp_path / "run") == before
        for one, other in zip(model.parameters(), again.parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_run_that_was_killed_after_its_last_checkpoint_gets_its_result(folder, tiny, tmp_path):
    settings = replace(SETTINGS, steps=4, save_every=3)
    model, processor = tiny()
    train(model.train(), processor, folder, tmp_path / "run", settings)
    before = contents(tmp_path / "run")
    for path in (tmp_path / "run").iterdir():
        if path.is_file():
            path.unlink()
    again, processor = tiny()
    assert train(again.train(), processor, folder, tmp_path / "run", settings, resume=True)["steps"] == 4
    after = contents(tmp_path / "run")
    weights = [name for name in before if name.suffix == ".safetensors"]
    assert weights and all(after[name] == before[name] for name in weights)
    assert sorted(after) == sorted(before)


def test_a_run_that_has_ended_goes_on_if_more_steps_are_asked_for(folder, tiny, tmp_path):
    model, processor = tiny()
    for steps, resume in ((3, False), (5, True)):
        settings = replace(SETTINGS, steps=steps)
        assert train(model.train(), processor, folder, tmp_path / "run", settings, resume=resume)["steps"] == steps


def test_resuming_where_there_is_nothing_says_so(folder, tiny, tmp_path):
    model, processor = tiny()
    with pytest.raises(DataError, match="nothing to resume"):
        train(model, processor, folder, tmp_path / "empty", SETTINGS, resume=True)


class Adds(torch.nn.Module):
    """Learns the mean of numbers: a stage that has nothing of a language model."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(()))

    def forward(self, numbers):
        return {"loss": (numbers - self.mean).square().mean()}


def test_stages_are_trained_in_their_order_before_the_last_and_their_contexts_are_left(folder, tiny, tmp_path):
    model, processor = tiny()
    module, seen = Adds(), []

    @contextmanager
    def context():
        seen.append(("begins", float(module.mean.detach())))
        yield
        seen.append(("ends", float(module.mean.detach())))

    def stages(model, processor, folder, settings):
        first = Stage(
            "adding up",
            module,
            torch.utils.data.TensorDataset(torch.full((4,), 3.0)),
            lambda items: {"numbers": torch.stack([number for (number,) in items])},
            lambda: seen.append("optimizer") or torch.optim.SGD(module.parameters(), 0.1),
            steps=8,
            scenes_per_step=2,
            context=context,
        )
        (last,) = fine_tuning_stages(model, processor, folder, settings)
        return [first, last]

    summary = train(model.train(), processor, folder, tmp_path, replace(SETTINGS, steps=1), stages=stages)
    assert summary["steps"] == 1 and summary["questions"] == 18
    (begins, began), optimizer, (ends, ended) = seen
    assert (begins, optimizer, ends) == ("begins", "optimizer", "ends") and began == 0 < 0.1 < ended < 3
    assert not (tmp_path / "stages").exists() and (tmp_path / "config.json").is_file()
