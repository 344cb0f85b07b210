"""Training items as LLaVA-NeXT's `--data_path` names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from video3d_plugin.data.training_files import (
    SPATIAL_INSTRUCTION,
    question_of,
    read_training_files,
    with_spatial_instruction,
)
from video3d_plugin.errors import DataError, MissingError


def item(prompt="<image> What is it?", answer="a chair", dataset="scanqa", **fields):
    turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
    metadata = {"dataset": dataset, **fields.pop("metadata", {})}
    return {"id": 0, "video": "scannet/scene0011_00", "conversations": turns, "metadata": metadata, **fields}


def talk(made, *texts):
    """The item with further turns of text, user first; a name of a role is a turn of that role."""
    further = [{"from": "human" if i % 2 == 0 else "gpt", "value": text} for i, text in enumerate(texts)]
    return {**made, "conversations": made["conversations"] + further}


def test_an_item_may_have_several_turns(tmp_path):
    made = talk(item(), "And its colour?", "Brown.", "Is it <image-like>?", "No.")
    first = {**made, "conversations": [{"from": "gpt", "value": "Hello."}, *made["conversations"]]}
    for question in read_training_files(write(tmp_path / "a.json", [made, first])):
        assert (question.prompt, question.answer) == ("<image> What is it?", "a chair")
        assert question.further == (("And its colour?", "Brown."), ("Is it <image-like>?", "No."))


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_text_item_is_taken_as_it_is(tmp_path):
    (question,) = read_training_files(write(tmp_path / "a.json", [item()]))
    assert (question.task, question.scene_id) == ("scanqa", "scene0011_00")
    assert (question.prompt, question.answer, question.targets) == ("<image> What is it?", "a chair", None)


def test_grounding_items_carry_object_ids_and_captions_the_centre_of_the_box(tmp_path):
    items = [
        item("<image>Find it.", "<ground>", "scanrefer", metadata={"object_id": "5"}),
        item("<image>Find all.", "<ground>", "multi3drefer", metadata={"object_id": []}),
        item("<image> At <coord> ?", "A chair", "scan2cap", box_input=[1, 2, 3, 4, 5, 6]),
    ]
    refer, multi, caption = read_training_files(write(tmp_path / "a.json", items))
    assert refer.targets == (5,) and refer.is_grounding
    assert multi.targets == () and multi.is_grounding
    assert caption.coords == ((1.0, 2.0, 3.0),) and caption.targets is None


def test_the_spatial_instruction_stands_between_image_and_question():
    (question,) = with_spatial_instruction([question_of(item(), Path("x"), 0)])
    assert question.prompt == f"<image>\n{SPATIAL_INSTRUCTION}\n What is it?"


def test_an_image_within_the_prompt_goes_to_its_start():
    assert question_of(item("What is it? <image>"), Path("x"), 0).prompt == "<image>\nWhat is it?"


@pytest.mark.parametrize(
    ("how", "kept"),
    [("all", "0123456789"), ("first:3", "012"), ("end:2", "89"), ("first:25%", "012"), ("first:0", ""), ("end:0", "")],
)
def test_sampling_strategies_of_a_yaml(tmp_path, how, kept):
    write(tmp_path / "a.json", [item(answer=str(i)) for i in range(10)])
    (tmp_path / "d.yaml").write_text(f"datasets:\n  - json_path: {tmp_path}/a.json\n    sampling_strategy: {how}\n")
    assert "".join(q.answer for q in read_training_files(tmp_path / "d.yaml")) == kept


def test_a_random_sample_repeats_with_its_seed(tmp_path):
    write(tmp_path / "a.json", [item(answer=str(i)) for i in range(30)])
    (tmp_path / "d.yaml").write_text(f"datasets: [{{json_path: {tmp_path}/a.json, sampling_strategy: 'random:9'}}]")
    taken = [[q.answer for q in read_training_files(tmp_path / "d.yaml", seed)] for seed in (1, 1, 2)]
    assert len(set(taken[0])) == 9 and taken[0] == taken[1] != taken[2]


def test_braces_and_json_lines(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.json", [item(answer=name)])
    (tmp_path / "c.jsonl").write_text(f"{json.dumps(item(answer='c'))}\n\n")
    assert [q.answer for q in read_training_files(f"{tmp_path}/{{a,b}}.json")] == ["a", "b"]
    assert [q.answer for q in read_training_files(tmp_path / "c.jsonl")] == ["c"]


@pytest.mark.parametrize("name", ["none.yaml", "none.json", "none.jsonl"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(MissingError, match=name):
        read_training_files(tmp_path / name)


@pytest.mark.parametrize("content", ["- a", "datasets: 3", "datasets: [{path: x}]", "{", "datasets: [7]"])
def test_a_yaml_of_another_kind(tmp_path, content):
    (tmp_path / "d.yaml").write_text(content)
    with pytest.raises(DataError, match="d.yaml"):
        read_training_files(tmp_path / "d.yaml")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (7, "item 0"),
        ({**item(), "video": None, "conversations": []}, "item 0: `video` is None"),
        ({k: v for k, v in item().items() if k != "video"}, "video"),
        (item("<image> <coord>", dataset="scan2cap"), "no box_input"),
        (item("What is it?"), "0 <image>"),
        (item("What <image> is <image> it?"), "2 <image>"),
        (item("<image> <coord>", box_input=["a", 1, 2]), "`box_input.0.` is 'a'"),
        (item("<image> <coord>", box_input=[float("nan"), 1, 2]), "`box_input.0.` is nan"),
        (item("<image>", "<ground>", "scanrefer"), "no object_id"),
        (item("<image>", "<ground>", "scanrefer", metadata={"object_id": "x"}), "object id 'x'"),
        ({**item(), "conversations": item()["conversations"] * 2}, "shows the scene again"),
        ({**item(), "conversations": item()["conversations"][:1]}, "turns of human "),
        (talk(item(), "And?", "No.", "gpt"), "turns of"),
        (talk(item(dataset="scanrefer", metadata={"object_id": "5"}), "And?", "No."), "grounding item with 4 turns"),
        (talk(item(box_input=[1, 2, 3]), "At <coord> ?", "No."), "<coord> in a later turn"),
    ],
)
def test_an_item_that_cannot_be_used_is_named(tmp_path, broken, says):
    with pytest.raises(DataError, match=says) as error:
        read_training_files(write(tmp_path / "a.json", [broken]))
    assert "a.json" in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_strategy(tmp_path):
    write(tmp_path / "a.json", [item()])
    (tmp_path / "d.yaml").write_text(f"datasets: [{{json_path: {tmp_path}/a.json, sampling_strategy: 'best:3'}}]")
    with pytest.raises(DataError, match="best:3"):
        read_training_files(tmp_path / "d.yaml")
