"""The first stage: vision tower and projector learn labels and attributes; features are balanced."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from video3d_plugin.errors import DataError
from video3d_plugin.mini.curriculum.object_questions import (
    names_in_folder,
)
from video3d_plugin.mini.curriculum.vision_pretraining import (
    VisionPretraining,
    balance,
    patch_labels,
    sample_scenes,
    vision_stage,
)
from video3d_plugin.mini.curriculum.vocabulary import NONE, Vocabulary
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.training.stage import run_stage


def train_tower(model, processor, rooms, names, output, settings):
    return run_stage(vision_stage(model, processor, rooms, names, settings), output, settings)


def test_the_tower_learns_labels_and_attributes(rooms, build, questions, tmp_path):
    model, processor = build()
    before = {name: p.clone() for name, p in model.named_parameters()}
    named = names_in_folder(rooms, questions)
    settings = MiniSettings(max_frames=4)
    first = train_tower(model, processor, rooms, named, tmp_path, replace(settings, tower_steps=2))
    last = train_tower(model, processor, rooms, named, tmp_path, replace(settings, tower_steps=60))
    assert last < 0.7 * first
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    words = {"model.embed_tokens.weight"}
    assert changed - words and all("vision_tower" in name or "mm_projector" in name for name in changed - words)
    other = torch.arange(len(before[min(words)])) != processor.config.coord_token_id
    assert torch.equal(dict(model.named_parameters())[min(words)][other], before[min(words)][other]), "but <coord>"


def test_a_frozen_tower_is_trained_in_its_stage_and_frozen_again(rooms, build, questions, tmp_path):
    model, processor = build()
    tower = model.get_model().get_vision_tower()
    tower.requires_grad_(False)
    before = [p.clone() for p in tower.parameters()]
    named = names_in_folder(rooms, questions)
    train_tower(model, processor, rooms, named, tmp_path, MiniSettings(max_frames=2, tower_steps=2))
    assert any(not torch.equal(p, old) for p, old in zip(tower.parameters(), before, strict=True))
    assert not any(p.requires_grad for p in tower.parameters())


@pytest.mark.parametrize("move", [False, True])
def test_features_are_balanced_with_the_position_encoding(rooms, build, questions, tmp_path, move):
    model, processor = build()
    settings = MiniSettings(max_frames=4, tower_steps=2, move_scenes=move)
    inner, at = model.get_model(), model.config.coord_token_id
    word = inner.embed_tokens.weight[at].detach().clone()
    train_tower(model, processor, rooms, names_in_folder(rooms, questions), tmp_path, settings)
    scenes = sample_scenes(rooms, rooms.scene_ids, model.config.inputs_spec, settings)
    with torch.no_grad():
        features = torch.cat([inner.mm_projector(inner.vision_tower(own.pixels)).flatten(0, 1) for own in scenes])
        places = torch.cat([inner.world_position_embedding(own.token_points).flatten(0, 2) for own in scenes])
    rms = places.std(0).square().mean().sqrt()
    torch.testing.assert_close(features.std(0).square().mean().sqrt(), rms, rtol=0.01, atol=0.0)
    torch.testing.assert_close(
        features.mean(0) + places.mean(0), torch.zeros_like(rms).expand(inner.config.hidden_size)
    )
    torch.testing.assert_close(inner.embed_tokens.weight[at].detach(), word - places.mean(0))


def test_without_positions_features_have_a_fixed_spread(rooms, build):
    model, _ = build(world_position_embedding_type=None)
    scenes = sample_scenes(rooms, rooms.scene_ids, model.config.inputs_spec, MiniSettings(max_frames=2))
    balance(model, scenes)
    inner = model.get_model()
    with torch.no_grad():
        features = torch.cat([inner.mm_projector(inner.vision_tower(own.pixels)).flatten(0, 1) for own in scenes])
    assert abs(float(features.std(0).square().mean().sqrt()) - 0.4) < 0.01 and features.mean(0).abs().max() < 1e-4


def test_a_patch_has_the_labels_of_the_smallest_box():
    inside = torch.tensor([[True, True, False], [False, True, False]])
    boxes = torch.tensor([[0.0, 0, 0, 2, 2, 2], [0, 0, 0, 1, 1, 1]])
    numbers = patch_labels(inside, boxes, torch.tensor([[4, 0], [5, 1]]))
    assert numbers.tolist() == [[4, 0], [5, 1], [NONE, NONE]]
    assert patch_labels(inside[:0], boxes[:0], torch.zeros(0, 2).long()).tolist() == [[NONE, NONE]] * 3


def test_objects_that_no_frame_shows_have_no_loss(build):
    model, processor = build()
    supervision = VisionPretraining(model, Vocabulary.of([{1: ("red", "chair")}], processor.tokenizer))
    side = model.config.inputs_spec.object_grid_side
    scene = {
        "pixels": torch.zeros(1, 112, 112, 3, dtype=torch.uint8),
        "proposals": torch.ones(1, 6),
        "proposal_bits": torch.zeros(1, 1, -(-(side**2) // 8)).byte(),
    }
    loss = supervision([scene], torch.full((1, 2), NONE))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0


def test_no_annotated_objects_are_an_error(rooms, build, tmp_path):
    with pytest.raises(DataError, match="no annotated objects"):
        train_tower(*build(), rooms, {"scene": {}}, tmp_path, MiniSettings(tower_steps=1))
