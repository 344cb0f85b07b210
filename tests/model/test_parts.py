"""Small parts by hand: positions, discretisation, layout, head losses."""

from __future__ import annotations

import math

import pytest
import torch

from video3d_plugin.config import HeadSpec, LayoutSpec, PositionSpec
from video3d_plugin.model import grounding, position, vision


def test_discretisation_counts_voxels_from_the_low_corner_and_clamps():
    spec = PositionSpec("average", "sine", True)
    points = torch.tensor([[-15.0, 0.04, 5.0], [-99.0, 0.06, 99.0]])
    assert position.discretise(points, spec).tolist() == [[0, 150, 100], [0, 151, 100]]


def test_halves_round_to_even():
    spec = PositionSpec("average", "sine", True, voxel_size=1.0, low=(0, 0, 0), high=(9, 9, 9))
    assert position.discretise(torch.tensor([[0.5, 1.5, 2.5]]), spec).tolist() == [[0, 2, 2]]


def test_sines_by_hand():
    """Size 8, one point: 2 entries an axis (sin and cos at the same rate), then two zeros."""
    found = position.sine_position(torch.tensor([[1.0, 2.0, 3.0]]), 8)
    expected = [math.sin(1), math.cos(1), math.sin(2), math.cos(2), math.sin(3), math.cos(3), 0, 0]
    assert torch.allclose(found, torch.tensor(expected))


def test_an_odd_count_an_axis_ends_with_a_sine():
    found = position.sine_position(torch.tensor([[1.0, 0.0, 0.0]]), 9)
    assert torch.allclose(found[:3], torch.tensor([math.sin(1), math.cos(1), math.sin(10000 ** (-2 / 3))]))


def test_a_size_too_small_for_the_points_gives_zeros():
    assert position.sine_position(torch.ones(9, 3), 20).tolist() == [0.0] * 20


def test_coordinates_keep_float32_in_a_half_precision_model():
    module = position.MlpPosition(16, PositionSpec("average", "mlp", True))
    points = torch.tensor([[[7.03, -3.37, 1.0]]])
    exact = module(points)
    assert float((module.bfloat16()(points).float() - exact).abs().max()) < 0.02


@pytest.mark.parametrize(
    "newline, expected",
    [
        ("grid", [1, 2, 0, 3, 4, 0, 5, 6, 0, 7, 8, 0]),
        ("frame", [1, 2, 3, 4, 0, 5, 6, 7, 8, 0]),
        ("one_token", [1, 2, 3, 4, 5, 6, 7, 8, 0]),
        ("no_token", [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_layout_of_two_frames(newline, expected):
    layout = LayoutSpec("bilinear", 2, newline, True)
    grid = torch.arange(1.0, 9.0).view(2, 2, 2, 1)
    assert vision.flatten_with_newlines(grid, torch.zeros(1), layout)[:, 0].tolist() == expected


def test_a_proposal_without_patches_has_no_feature_and_no_nan():
    patches = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    inside = torch.tensor([[True, True], [False, False]])
    assert grounding.proposal_features(patches, inside).tolist() == [[2.0, 4.0], [0.0, 0.0]]
    assert grounding.proposal_features(patches, inside[:0]).shape == (0, 2)


def loop_over_proposals(patches, inside):
    return torch.stack([patches[own].mean(0) if own.any() else torch.zeros(patches.shape[1]) for own in inside])


@pytest.mark.parametrize("way", [grounding.proposal_features, grounding.pooled], ids=["sparse", "dense"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_proposal_features_are_a_loop_over_proposals(way, share):
    draw = torch.Generator().manual_seed(0)
    patches = torch.randn(300, 12, generator=draw).requires_grad_()
    inside = torch.rand(7, 300, generator=draw) < share
    inside[3] = False
    found, expected = way(patches, inside), loop_over_proposals(patches, inside)
    assert torch.allclose(found, expected, atol=1e-6)
    grad = torch.randn(7, 12, generator=draw)
    if share:
        one, other = (torch.autograd.grad(out, patches, grad)[0] for out in (found, expected))
        assert torch.allclose(one, other, atol=1e-6)
    half = way(patches.detach().bfloat16(), inside)
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), expected, atol=0.02)


def test_infonce_by_hand():
    spec, scores = HeadSpec("infonce", 0.5), torch.tensor([0.5, -0.5, 0.0])
    e = [math.exp(1), math.exp(-1), 1.0]
    for targets, share in (([0], e[0]), ([0, 1], e[0] + e[1]), ([], e[2]), ([0, 0], e[0])):
        found = grounding.ground_loss(scores, torch.tensor(targets).long(), spec)
        assert float(found) == pytest.approx(-math.log(share / sum(e)), rel=1e-6)


def test_infonce_stays_finite_where_an_exponential_would_not():
    loss = grounding.ground_loss(torch.tensor([1.0, -1.0]), torch.tensor([0]), HeadSpec("infonce", 0.001))
    assert float(loss) == 0.0


def test_weighted_cross_entropy_by_hand():
    """Four proposals, one target: its term weighs (4 - 1) / 1."""
    scores = torch.tensor([2.0, -1.0, 0.0, 1.0])
    minus = [math.log1p(math.exp(s)) for s in scores.tolist()]
    expected = (3 * math.log1p(math.exp(-2.0)) + sum(minus[1:])) / 4
    assert float(grounding.ground_loss(scores, torch.tensor([0]), HeadSpec("score"))) == pytest.approx(expected)
    none = grounding.ground_loss(scores, torch.tensor([]).long(), HeadSpec("score"))
    assert float(none) == pytest.approx(sum(minus) / 4)


def test_pixels_become_minus_one_to_one():
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 1, 3)
    found = vision.normalise_pixels(pixels, torch.float32, torch.device("cpu"))
    assert found.shape == (1, 3, 1, 1) and torch.allclose(found.flatten(), torch.tensor([-1.0, 1.0, -0.6]))


def test_the_pixels_that_no_patch_covers_change_nothing_in_the_tower():
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    tower = vision.VisionTower({**sizes, "image_size": 58, "patch_size": 8})
    crop = torch.randint(0, 256, (2, 58, 58, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tower(crop), tower(crop[:, :56, :56])) and tower(crop).shape == (2, 49, 16)
    assert not torch.equal(tower(crop), tower(crop[:, 2:, 2:]))


def test_projectors_by_name():
    names = [n for n, _ in vision.build_projector("mlp2x_res1x_gelu", 4, 6).named_parameters()]
    assert names[:4] == ["0.weight", "0.bias", "2.weight", "2.bias"] and "3.pre_norm.weight" in names
    assert [n for n, _ in vision.build_projector("linear", 4, 6).named_parameters()] == ["weight", "bias"]
    assert not list(vision.build_projector("identity", 4, 4).parameters())


def test_frames_in_a_batch_and_alone_give_the_same_features():
    tower = vision.VisionTower(
        {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
         "image_size": 28, "patch_size": 7}
    ).eval()  # fmt: skip
    pixels = torch.randint(0, 256, (5, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = tower(pixels)
        alone = torch.cat([tower(frame[None]) for frame in pixels])
    assert torch.allclose(together, alone, atol=1e-5)
