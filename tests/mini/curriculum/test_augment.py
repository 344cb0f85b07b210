"""Turned and shifted scenes: what moves, and what stays."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from video3d_plugin.geometry.patch_grid import token_points
from video3d_plugin.mini.curriculum.augment import turn_and_shift
from video3d_plugin.scene import Question
from video3d_plugin.training.dataset import GroupCollator, SceneGroups


def test_a_quarter_turn_worked_by_hand(rooms, build):
    spec = build()[0].config.inputs_spec
    inputs = rooms.inputs(rooms.scene_ids[0], spec, max_frames=2, proposals="gt")
    question = Question("scan2cap", "q", inputs.scene_id, "<image> <coord>", "x", coords=((1.0, 2.0, 3.0),))
    seen = set()
    for seed in range(12):
        there, (asked,) = turn_and_shift(inputs, [question], random.Random(seed), "elsewhere", shift_m=0.0)
        seen.add(asked.coords[0])
        assert there.scene_id == asked.scene_id == "elsewhere"
        assert torch.equal(there.pixels, inputs.pixels) and torch.equal(there.proposal_bits, inputs.proposal_bits)
    assert seen == {(1.0, 2.0, 3.0), (-2.0, 1.0, 3.0), (-1.0, -2.0, 3.0), (2.0, -1.0, 3.0)}


def test_points_boxes_and_coords_move_together_and_keep_their_distances(rooms, build):
    spec = build()[0].config.inputs_spec
    inputs = rooms.inputs(rooms.scene_ids[0], spec, max_frames=2, proposals="gt")
    centre = tuple(inputs.proposals[0, :3].double().tolist())
    question = Question("scan2cap", "q", inputs.scene_id, "<image> <coord>", "x", coords=(centre,))
    there, (asked,) = turn_and_shift(inputs, [question], random.Random(3), "b")
    assert torch.allclose(there.proposals[0, :3].double(), torch.tensor(asked.coords[0]).double(), atol=1e-5)

    def spread(part):
        return torch.cdist(part.token_points.flatten(0, 3)[None], part.proposals[:, :3][None])

    assert torch.allclose(spread(there), spread(inputs), atol=1e-3)
    assert not torch.allclose(there.token_points, inputs.token_points)
    # a token inside a box (by each axis) is inside the moved box
    inside = [
        ((p.token_points.reshape(-1, 1, 3) - p.proposals[:, :3]).abs() <= p.proposals[:, 3:] / 2 + 1e-4).all(-1)
        for p in (inputs, there)
    ]
    assert torch.equal(*inside) and inside[0].any()


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_least_and_greatest_points_are_those_of_the_turned_scene(rooms, build, seed):
    spec = replace(build()[0].config.inputs_spec, points="minmax")
    inputs = rooms.inputs(rooms.scene_ids[0], spec, max_frames=2, proposals="gt")
    pixels = torch.rand(2, spec.image_size, spec.image_size, 3, generator=torch.Generator().manual_seed(0))
    made = replace(inputs, token_points=token_points(pixels, spec)[0])
    turned = replace(inputs, spec=replace(spec, points="average"), token_points=pixels)  # each pixel by itself
    there, alone = (turn_and_shift(scene, [], random.Random(seed), "b")[0] for scene in (made, turned))
    torch.testing.assert_close(there.token_points, token_points(alone.token_points, spec)[0])


def test_viewpoints_move_with_the_scene(rooms, build):
    inputs = rooms.inputs(rooms.scene_ids[0], build()[0].config.inputs_spec, max_frames=2, proposals="gt")
    stands = [[1.0, 2.0, 0.0], [1.0, 3.0, 0.0]]
    asked = Question("sqa3d", "q", inputs.scene_id, "<image> x", "y", metadata={"situation": "x", "viewpoint": stands})
    as_coords = Question("scan2cap", "q", inputs.scene_id, "<image>", "y", coords=tuple(map(tuple, stands)))
    _, (asked, as_coords) = turn_and_shift(inputs, [asked, as_coords], random.Random(5), "b")
    assert asked.metadata == {"situation": "x", "viewpoint": as_coords.coords} and as_coords.coords[0] != (
        1.0,
        2.0,
        0.0,
    )
    _, (nowhere,) = turn_and_shift(
        inputs, [Question("a", "q", "s", "<image>", "y", metadata={"viewpoint": []})], random.Random(5), "b"
    )
    assert nowhere.metadata == {"viewpoint": []}


def test_a_batch_may_hold_one_scene_at_two_places(rooms, build, questions):
    model, processor = build()
    dataset = SceneGroups(
        rooms, questions, model.config.inputs_spec, questions_per_scene=4, max_frames=2, augment=turn_and_shift
    )
    same = [i for i in range(len(dataset)) if dataset[i][0].scene_id.startswith(rooms.scene_ids[0])][:2]
    pair = [dataset[i] for i in same]
    batch = GroupCollator(processor)(pair)
    assert len(batch["scenes"]) == 2 and not torch.equal(*(s["token_points"] for s in batch["scenes"]))
    assert torch.equal(dataset[same[0]][0].token_points, pair[0][0].token_points), "repeats within an epoch"
    dataset.set_epoch(1)
    assert not torch.equal(dataset[same[0]][0].token_points, pair[0][0].token_points)
