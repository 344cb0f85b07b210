"""Asking a scan in Python: one line to load it, one to ask; what was encoded serves the next question."""

from __future__ import annotations

import doctest
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from video3d_plugin import grounding_result as found
from video3d_plugin import load_model, load_scene, loading, pipeline, prompts, questions
from video3d_plugin.data import readers
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.model.prefix.cache import PrefixCache, scene_key
from video3d_plugin.scene import Question


@pytest.fixture(scope="module")
def scene(my_scan):
    return load_scene(my_scan)


@pytest.fixture
def model(tiny_checkpoint):
    return load_model(tiny_checkpoint, device="cpu")


@pytest.fixture
def encoded(monkeypatch):
    """Ids of the scenes that were encoded."""
    from video3d_plugin.model.prefix import inference as prefix

    ids, original = [], prefix.encode_scene
    monkeypatch.setattr(
        prefix, "encode_scene", lambda m, p, inputs: ids.append(inputs.scene_id) or original(m, p, inputs)
    )
    return ids


def test_one_question_gives_a_text_and_a_list_gives_a_list(model, scene):
    single = model.answer(scene, "What colour is the chair?", max_new_tokens=4)
    listed = model.answer(scene, ["What colour is the chair?", "How many?"], max_new_tokens=4)
    assert isinstance(single, str) and listed[0] == single and len(listed) == 2
    assert model.answer(scene, [], max_new_tokens=4) == []


def test_grounding_gives_boxes_of_the_scene_best_first(model, scene):
    inputs = model.inputs(scene)
    found = model.ground(scene, "the chair near the table")
    assert len(found) == len(inputs.proposals) > 0
    assert sorted(box.index for box in found) == list(range(len(found)))
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert np.array_equal(found.boxes, inputs.proposals.numpy()[[box.index for box in found]])
    (raw,) = model.ground_scores(scene, ["the chair near the table"])
    assert found.best.index == int(raw[:-1].argmax()) and found.chosen == (found.best,)
    total = sum(box.confidence for box in found) + found.nothing
    assert total == pytest.approx(1.0) and 0 <= found.nothing <= 1
    assert [one.description for one in model.ground(scene, ["a", "b"])] == ["a", "b"]


def test_a_caption_is_of_a_point_or_of_the_centre_of_a_box(model, scene):
    box = (0.5, -0.25, 0.75, 1.0, 1.0, 1.0)
    texts = model.caption(scene, [box, box[:3]], max_new_tokens=4)
    assert texts[0] == texts[1] == model.caption(scene, box, max_new_tokens=4)
    assert model.caption(scene, np.array([box, box]), max_new_tokens=4) == [texts[0]] * 2
    assert model.caption(scene, torch.tensor(box), max_new_tokens=4) == texts[0]
    for wrong in ((1.0, 2.0), (float("nan"), 0.0, 0.0)):
        with pytest.raises(DataError, match="neither a point"):
            model.caption(scene, wrong)


def test_a_point_outside_of_the_scan_is_refused_of_every_form_of_a_scene(model, scene, encoded):
    inputs = model.inputs(scene)
    prefix = model.encode_scene(inputs)
    encoded.clear()
    for form in (scene, inputs, prefix):
        with pytest.raises(DataError, match=r"my_scan: the point 90 0 0 lies outside of the scan \(it spans x -"):
            model.caption(form, [(0, 0, 1), (90, 0, 0, 1, 1, 1)])
        with pytest.raises(DataError, match="the point 0 0 -9 lies outside"):
            model.answer(form, "What is at <coord> ?", points=[(0, 0, -9)])
        with pytest.raises(DataError, match="neither a point"):
            model.answer(form, "What is at <coord> ?", points=[(0, float("nan"), 0)])
    assert encoded == []  # before any work is done
    assert isinstance(model.caption(prefix, (0, 0, 1), max_new_tokens=2), str)


def test_a_question_record_is_asked_as_it_is_wherever_its_point_lies(model, scene):
    """Benchmarks ask their official questions through records."""
    question = Question("scan2cap", "0", scene.scene_id, "<image> What is at <coord> ?", coords=((90.0, 0.0, 0.0),))
    assert isinstance(model.answer(scene, question, max_new_tokens=2), str)


def test_empty_questions_and_descriptions_are_refused(model, scene):
    for empty in ("", " \n"):
        with pytest.raises(DataError, match="the question is empty"):
            model.answer(scene, ["How many?", empty])
        with pytest.raises(DataError, match="the description is empty"):
            model.ground(scene, empty)


@pytest.mark.parametrize("token", ["<image>", "<coord>", "<ground>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"])
def test_special_tokens_in_questions_are_text(model, scene, token):
    """The scene is shown once, no point is asked for, the turn goes on."""
    texts = model.answer(scene, [f"Is the {token} red?", f"{token} why?"], max_new_tokens=2)
    assert len(texts) == 2
    found = model.ground(scene, f"the {token} chair")
    assert len(found) == len(model.ground(scene, "the chair")) and found.description == f"the {token} chair"


def test_a_question_about_a_point_needs_its_point(model, scene):
    assert isinstance(model.answer(scene, "What is at <coord> ?", points=[(0, 0, 1)], max_new_tokens=3), str)
    for text in ("What is here?", "What is at <coord> or <coord> ?"):
        with pytest.raises(DataError, match="give one point for each"):
            model.answer(scene, text, points=[(0, 0, 1)])
    with pytest.raises(DataError, match="single plain question"):
        model.answer(scene, ["a", "b"], points=[(0, 0, 1)])


def test_a_chat_over_a_scene_encodes_it_once_even_when_it_is_loaded_again(model, scene, my_scan, encoded):
    for _ in range(2):
        model.answer(scene, "How many?", max_new_tokens=2)
    model.ground(load_scene(my_scan), "the table")
    model.caption(scene, (0, 0, 1), max_new_tokens=2)
    assert len(encoded) == 1
    inputs = model.inputs(scene)
    for _ in range(2):
        model.answer(inputs, "How many?", max_new_tokens=2)
    assert len(encoded) == 2


def test_what_was_encoded_is_not_used_for_another_view_other_boxes_or_other_weights(model, scene, encoded):
    before = model.answer(scene, "How many?", max_new_tokens=6)
    model.answer(replace(scene, proposals=np.ones((1, 6), np.float32)), "How many?", max_new_tokens=2)
    assert len(encoded) == 2
    model.max_frames = 2
    model.answer(scene, "How many?", max_new_tokens=2)
    assert len(encoded) == 3
    model.max_frames = 4
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.mul_(-1.5)
    assert model.answer(scene, "How many?", max_new_tokens=6) != before
    assert len(encoded) == 4


def fused_step(model):
    """torch's fused kernels write without raising the version counter."""
    parameters = list(model.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        torch.optim.AdamW(parameters, lr=1e-6, fused=True).step()
    except RuntimeError:
        pytest.skip("this torch has no fused step on a CPU")


def one_number(model):
    model.model.get_input_embeddings().weight.data[-1, -1] *= -1


def a_frozen_part(model):
    model.model.model.vision_tower.requires_grad_(False)
    weight = next(model.model.model.vision_tower.parameters())
    weight.data = weight.data * 2


def dropout(model):
    model.model.train()


def other_words(model):
    model.processor.system_message = "You are a chair."


def depth_holes(model):
    model.model.config.mask_invalid_depth = True


def newline(model):
    model.model.config.mm_newline_position = "frame"


@pytest.mark.parametrize("change", [fused_step, one_number, a_frozen_part, dropout, other_words, depth_holes, newline])
def test_whatever_changes_an_encoding_is_seen(model, scene, encoded, change):
    for _ in range(2):
        model.answer(scene, "How many?", max_new_tokens=2)
    assert len(encoded) == 1
    change(model)
    for _ in range(2):
        model.answer(scene, "How many?", max_new_tokens=2)
    assert len(encoded) == 2


def test_what_only_reads_an_encoding_may_change(model, scene, encoded):
    model.answer(scene, "How many?", max_new_tokens=2)
    model.model.lm_head.weight.data.mul_(2)
    model.answer(scene, "How many?", max_new_tokens=2)
    assert len(encoded) == 1
    model.prefixes.clear()
    model.answer(scene, "How many?", max_new_tokens=2)
    assert len(encoded) == 2


def test_an_encoding_of_another_model_is_refused(model, scene, tiny_checkpoint):
    other = load_model(tiny_checkpoint, device="cpu")
    prefix = other.encode_scene(scene)
    text = model.answer(prefix, "How many?", max_new_tokens=2)  # the same weights
    assert text == other.answer(scene, "How many?", max_new_tokens=2)
    one_number(other)
    for ask in (other.answer, other.ground, other.ground_scores):
        with pytest.raises(DataError, match=f"{scene.scene_id}: encoded by another model"):
            ask(prefix, ["How many?"])
    other.model.bfloat16()
    assert len(other.answer(prefix.to(dtype=torch.bfloat16), ["How many?"], max_new_tokens=2)) == 1


def test_a_question_about_another_scene_is_refused(model, scene):
    asked = Question("scanqa", "7", "elsewhere", "<image> How many?")
    for ask in (model.answer, model.ground, model.ground_scores):
        with pytest.raises(DataError, match=f"scanqa 7: .*elsewhere, but was asked about scene {scene.scene_id}"):
            ask(scene, [asked])


def test_the_cache_is_bounded_and_forgets_the_least_recently_used(model, scene):
    prefix = model.encode_scene(scene)
    cache, made = PrefixCache(2 * prefix.nbytes), []
    for key in "ABACA":
        cache.get(key, lambda key=key: made.append(key) or prefix)
    assert made == ["A", "B", "C"] and len(cache) == 2 and cache.nbytes <= cache.max_bytes
    cache.get("B", lambda: made.append("B") or prefix)
    assert made[-1] == "B" and len(made) == 4
    small = PrefixCache(1)
    assert small.get("A", lambda: prefix) is prefix and len(small) == 1
    none = PrefixCache(0)
    assert none.get("A", lambda: prefix) is prefix and len(none) == 0


def test_a_frame_written_anew_changes_the_scene(my_scan, tmp_path):
    import os
    import shutil

    folder = shutil.copytree(my_scan, tmp_path / "scan")
    key = scene_key(load_scene(folder))
    assert scene_key(load_scene(folder)) == key
    color = load_scene(folder).frames[3].color.path
    os.utime(color, ns=(1, 1))
    assert scene_key(load_scene(folder)) != key


def test_a_scan_without_boxes_gets_clusters_and_says_so(scene, model):
    from video3d_plugin.data.proposals import with_proposals

    assert not len(scene.proposals)
    made = with_proposals(scene)
    assert len(made.proposals) and any("(auto)" in note for note in made.notes)
    assert np.array_equal(model.inputs(scene).proposals.numpy(), made.proposals)
    own = replace(scene, proposals=np.ones((2, 6), np.float32))
    assert with_proposals(own) is own
    assert len(model.inputs(scene, proposals="pred").proposals) == 0


def test_a_checkpoint_says_how_it_looked_at_scenes(tiny_checkpoint, tmp_path):
    assert load_model(tiny_checkpoint, device="cpu").max_frames == 4
    chosen = load_model(tiny_checkpoint, device="cpu", max_frames=6, sampler="mc")
    assert (chosen.max_frames, chosen.sampler) == (6, "mc")
    (chosen_folder := tmp_path / "bare").mkdir()
    for path in tiny_checkpoint.iterdir():
        if path.name != "training.json":
            (chosen_folder / path.name).write_bytes(path.read_bytes())
    assert load_model(chosen_folder, device="cpu").max_frames == 32


def test_frames_are_those_of_the_training_however_the_checkpoint_is_named(tiny_checkpoint, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    assert load_model("~/tiny", device="cpu").max_frames == 4
    kept = tmp_path / "hub" / "models--me--tiny"
    shutil.copytree(tiny_checkpoint, kept / "snapshots" / "0")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_model("me/tiny", cache_dir=str(tmp_path / "hub"), device="cpu").max_frames == 4


def test_without_a_shipped_checkpoint_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "loading.py"))
    with pytest.raises(MissingError, match="--model CHECKPOINT"):
        load_model()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "foo"}, "device 'foo' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"dtype": "int8"}, "dtype 'int8'.*bfloat16"),
        ({"dtype": "nn"}, "dtype 'nn'.*bfloat16"),
    ],
)
def test_a_device_or_number_format_that_cannot_be_used_is_said_in_one_line(tiny_checkpoint, options, said):
    with pytest.raises(DataError, match=said):
        load_model(tiny_checkpoint, **{"device": "cpu", **options})


def test_a_question_in_bytes_that_are_no_text_is_said(model, scene):
    with pytest.raises(DataError, match=r"'.*caf\\udce9.*' is no text.*UTF-8"):
        model.answer(scene, b"What is in the caf\xe9?".decode("utf-8", "surrogateescape"))


def test_a_path_is_not_taken_for_a_scene(model, my_scan):
    with pytest.raises(DataError, match="use load_scene"):
        model.answer(str(my_scan), "How many?")


def test_prompts_are_those_of_the_benchmarks():
    find = "<image>Identify the object according to the following description.\nA lamp"
    several = "\nThere may be no corresponding object, or there may be one or more objects."
    asked = questions.text_question("Why?", 0, "s", prompts.ANSWER_PROMPT, ())
    assert asked.prompt == "<image> Why? Answer the question simply."
    assert prompts.CAPTION_PROMPT == "<image> Given an object located at <coord> , describe the object in detail."
    assert questions.ground_question("a Lamp", 0, "s", False).prompt == find
    assert questions.ground_question("a lamp", 0, "s", True).prompt == find + several
    text = questions.text_question("<image> Say {question}.", 0, "s", "Now {question}", ())
    assert text.prompt == "<image> Now <image> Say {question}."
    given = Question("t", "1", "s", "<image>x")
    assert questions.text_question(given, 0, "s", "", ()) is given


def test_nothing_there_is_an_empty_choice_and_scores_of_other_heads_stand_alone():
    boxes = np.array([[0, 0, 0, 1, 1, 1], [1, 0, 0, 1, 1, 1]], float)
    none = found.grounding_of("x", [0.1, 0.2, 0.9], boxes, 0.07, several=True)
    assert none.chosen == () and none.nothing > 0.9 and none.best.index == 1
    two = found.grounding_of("x", [0.7, 0.71, 0.1], boxes, 0.07, several=True)
    assert [box.index for box in two.chosen] == [1, 0]
    one = found.grounding_of("x", [0.1, 0.2, 0.9], boxes, 0.07)
    assert one.chosen == (one.best,)
    alone = found.grounding_of("x", [0.0, -2.0], boxes, None)
    assert alone.nothing is None and alone.best.confidence == 0.5
    assert alone.as_json(1)["boxes"] == [{"box": [0, 0, 0, 1, 1, 1], "score": 0.0, "confidence": 0.5, "index": 0}]


@pytest.mark.parametrize("module", [pipeline, found, readers], ids=lambda m: m.__name__.rsplit(".")[-1])
def test_examples_in_docstrings_run(module, tiny_checkpoint, room_root):
    names = {
        "load_model": load_model,
        "load_scene": load_scene,
        "checkpoint": tiny_checkpoint,
        "my_scan": room_root,
        "model": load_model(tiny_checkpoint, device="cpu"),
        "scene": load_scene(room_root),
    }
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0 and result.failed == 0


def test_a_scan_beyond_the_range_of_positions_is_said_and_a_centred_one_is_not(tiny_checkpoint, my_scan, tmp_path):
    folder = shutil.copytree(my_scan, tmp_path / "far")
    for path in folder.glob("[0-9]*.txt"):
        pose = np.loadtxt(path)
        pose[:3, 3] += [40, 0, 0]
        np.savetxt(path, pose)
    model = load_model(tiny_checkpoint, device="cpu")
    with pytest.warns(UserWarning, match=r"scene far: \d+% of what its frames show lies beyond the model's range"):
        model.encode_scene(load_scene(folder, align="none"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far, near = (model.answer(load_scene(path), "How many chairs?", max_new_tokens=8) for path in (folder, my_scan))
    assert far == near
