"""Every bad input is a ValueError (or an OSError, for files) that says which item and what to do."""

from __future__ import annotations

import pytest
import torch
from model_cases import alone, question, random_scene


@pytest.fixture
def batch(pair, scenes):
    _, processor = pair
    return alone(processor, question("scan2cap", "a"), scenes, with_labels=True)


def fails(model, batch, message):
    with pytest.raises(ValueError, match=message) as caught:
        model(**batch)
    assert "(" in str(caught.value) and "\n" not in str(caught.value)  # with a remedy, on one line


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_coordinates_that_are_not_finite(pair, batch, value):
    scene = dict(batch["scenes"][0])
    scene["token_points"] = scene["token_points"].clone()
    scene["token_points"][0, 0, 0, 0, 1] = value
    fails(pair[0], {**batch, "scenes": [scene]}, r"item 0 of the batch \(scene 0\): token_points are not all finite")
    fails(
        pair[0], {**batch, "coords": torch.full((1, 3), value)}, "item 0 of the batch has a <coord> that is not finite"
    )


def test_the_item_with_the_broken_point_is_named(pair, scenes):
    model, processor = pair
    batch = processor([question("scan2cap", "a"), question("two_coords", "b")], scenes, with_labels=True)
    batch["coords"][2, 1] = float("nan")
    fails(model, batch, "item 1 of the batch has a <coord> that is not finite")
    scene = {**batch["scenes"][1], "proposals": batch["scenes"][1]["proposals"] * float("inf")}
    batch = processor([question("scanqa", "a"), question("scanrefer", "b")], scenes, with_labels=True)
    fails(model, {**batch, "scenes": [batch["scenes"][0], scene]}, r"item 1 .*: proposals are not all finite")


def test_no_frames(pair, batch):
    scene = {**batch["scenes"][0], "pixels": batch["scenes"][0]["pixels"][:0]}
    fails(pair[0], {**batch, "scenes": [scene]}, r"item 0 .*: no frames")


def test_no_proposals(pair):
    model, processor = pair
    scene = random_scene(model.config.inputs_spec, "a", 1, 0)
    fails(model, alone(processor, question("scanrefer", "a", ()), [scene], with_labels=True), "item 0 .* proposals")


def test_proposals_are_not_needed_by_text_items(pair):
    model, processor = pair
    scene = random_scene(model.config.inputs_spec, "a", 1, 0)
    assert torch.isfinite(model(**alone(processor, question("scanqa", "a"), [scene], with_labels=True)).loss)


def test_coord_tokens_and_points_that_differ_in_number(pair, batch):
    fails(pair[0], {**batch, "coords": torch.zeros(2, 3)}, r"1 <coord> tokens \(by item: 1\) and 2 points")
    fails(pair[0], {**batch, "coords": None}, "1 <coord> tokens .* and 0 points")


def test_no_image_in_the_prompt(pair, batch):
    ids = batch["input_ids"].clone()
    ids[ids == -200] = 5
    fails(pair[0], {**batch, "input_ids": ids}, "item 0 .* 0 <image>")


def test_an_image_and_no_scene(pair, batch):
    fails(pair[0], {"input_ids": batch["input_ids"]}, "no scene")
    with pytest.raises(ValueError, match="no scene"):
        pair[0].generate(input_ids=batch["input_ids"])


def test_a_sequence_beyond_the_models_length(pair, batch, monkeypatch):
    monkeypatch.setattr(pair[0].config, "tokenizer_model_max_length", 50, raising=False)
    fails(pair[0], batch, "item 0 .* positions, the model was made for 50")


def test_pixels_of_the_wrong_size(pair, batch):
    scene = {**batch["scenes"][0], "pixels": batch["scenes"][0]["pixels"][:, :40]}
    fails(pair[0], {**batch, "scenes": [scene]}, r"item 0 .*: pixels are \(2, 40, 56, 3\), expected \(2, 56, 56, 3\)")


def test_points_of_another_specification(pair, batch):
    scene = {**batch["scenes"][0]}
    scene["token_points"] = scene["token_points"].expand(-1, -1, -1, 5, -1)
    fails(pair[0], {**batch, "scenes": [scene]}, "item 0 .* token_points .* expected")


def test_targets_beyond_the_proposals(pair, scenes):
    model, processor = pair
    batch = alone(processor, question("scanrefer", "a"), scenes, with_labels=True)
    fails(model, {**batch, "targets": [torch.tensor([9])]}, r"item 0 .* targets \[9\], the scene has 4")
    fails(model, {**batch, "targets": None}, "item 0 .* no targets")


def test_a_scene_index_beyond_the_scenes(pair, batch):
    fails(pair[0], {**batch, "scene_index": torch.tensor([3])}, r"scene_index \[3\]")


def test_two_ground_tokens(pair, scenes):
    model, processor = pair
    batch = alone(processor, question("scanrefer", "a"), scenes, with_labels=True)
    batch["input_ids"][0, -1] = model.config.ground_token_id
    fails(model, batch, "item 0 .* 2 <ground>")


def test_the_item_that_is_too_long_is_named(pair, monkeypatch):
    model, processor = pair
    spec = model.config.inputs_spec
    scenes = [random_scene(spec, "a", 1, 1), random_scene(spec, "b", 8, 1)]
    batch = processor([question("scanqa", "a"), question("scanqa", "b")], scenes, with_labels=True)
    monkeypatch.setattr(model.config, "tokenizer_model_max_length", 120, raising=False)
    fails(model, batch, "item 1 ")
