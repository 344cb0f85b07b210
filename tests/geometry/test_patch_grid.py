"""Token points. The readable twins below loop over cells and pixels; the package pools and indexes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from video3d_plugin.geometry.patch_grid import covered_pixels, token_points
from video3d_plugin.inputs_spec import InputsSpec

POOLINGS = ("bilinear", "average", "max")
POINTS = ("average", "centre", "five", "nine", "minmax")


def field(frames=2, side=384, seed=0):
    return torch.randn(frames, side, side, 3, generator=torch.Generator().manual_seed(seed))


def cell(spec):
    return covered_pixels(spec) // spec.grid_side


def twin(points, spec, valid=None):
    """Cell by cell, in float64."""
    size, grid = cell(spec), spec.grid_side
    third = [int((k + 0.5) * size / 3) for k in range(3)]
    nine = [(a, b) for a in third for b in third]
    chosen = {"nine": nine, "five": nine[::2], "centre": nine[4:5]}.get(spec.points)
    result = np.zeros((len(points), grid, grid, spec.points_per_token, 3))
    seen = np.ones((len(points), grid, grid), bool)
    for v, i, j in np.ndindex(seen.shape):
        window = np.s_[v, i * size : (i + 1) * size, j * size : (j + 1) * size]
        block = points[window].double().numpy()
        ok = np.ones(block.shape[:2], bool) if valid is None else valid[window].numpy()
        seen[v, i, j] = ok.any()
        if not ok.any():
            continue
        if spec.points == "average":
            result[v, i, j, 0] = block[ok].mean(0)
        elif spec.points == "minmax":
            result[v, i, j] = block[ok].min(0), block[ok].max(0)
        else:
            result[v, i, j] = [block[p] if ok[p] else block[ok].mean(0) for p in chosen]
    return result, seen


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_values_are_those_of_the_twin(points, pooling):
    spec = InputsSpec(points=points, pooling=pooling)
    got, valid = token_points(field(1), spec)
    expected, _ = twin(field(1), spec)
    assert got.shape == (1, spec.grid_side, spec.grid_side, spec.points_per_token, 3) and valid.all()
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("points", POINTS)
def test_points_are_those_that_torch_computes_in_the_number_format(points, dtype):
    spec, kind = InputsSpec(points=points, coordinate_dtype=dtype), getattr(torch, dtype)
    world = (field(1) * 5)[:, :378, :378].to(kind)  # as the reference crops and casts
    planes = world.permute(0, 3, 1, 2)
    if points == "average":
        if dtype == "float16" and torch.__version__.startswith("2.2."):
            pytest.skip("torch 2.2 has no average of float16 on a CPU")
        expected = F.avg_pool2d(planes, 27, 27).permute(0, 2, 3, 1)[..., None, :]
    elif points == "minmax":
        pair = -F.max_pool2d(-planes, 27, 27), F.max_pool2d(planes, 27, 27)
        expected = torch.stack([part.permute(0, 2, 3, 1) for part in pair], 3)
    else:
        nine = world.view(1, 14, 27, 14, 27, 3).permute(0, 1, 3, 2, 4, 5)[:, :, :, 4::9, 4::9].flatten(3, 4)
        expected = nine[..., {"nine": slice(None), "five": slice(0, None, 2), "centre": slice(4, 5)}[points], :]
    got, _ = token_points(field(1) * 5, spec)
    assert got.dtype == torch.float32 and torch.equal(got, expected.float())
    assert not torch.equal(got, token_points(field(1) * 5, InputsSpec(points=points))[0])


@pytest.mark.parametrize("points", POINTS)
def test_cells_of_unequal_size_stay_finite_where_nothing_is_valid(points):
    spec = InputsSpec(image_size=70, points=points)  # 5 patches, 3 cells: 70 does not divide by 3
    valid = torch.rand(2, 70, 70, generator=torch.Generator().manual_seed(1)) > 0.4
    valid[0, :28] = False  # more than the first row of tokens
    got, seen = token_points(field(2, 70), spec, valid)
    assert not seen[0, 0].any() and seen[0, 2].all() and seen[1].all()
    assert torch.isfinite(got).all() and (got[0, 0] == 0).all()


@pytest.mark.parametrize("points", POINTS)
def test_masked_values_on_whole_cells_are_those_of_the_twin(points):
    spec = InputsSpec(image_size=60, points=points)  # 4 patches, 2 cells of 28 pixels, 4 pixels unused
    world = field(2, 60)
    valid = torch.rand(2, 60, 60, generator=torch.Generator().manual_seed(1)) > 0.4
    valid[1, :28, 28:56] = False
    world[~valid] = float("nan")  # holes may hold anything
    got, seen = token_points(world, spec, valid)
    expected, expected_seen = twin(world, spec, valid)
    assert (seen.numpy() == expected_seen).all() and not seen[1, 0, 1]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("points", POINTS)
def test_a_mask_without_holes_changes_nothing(points):
    spec = InputsSpec(points=points)
    world = field(1)
    masked, _ = token_points(world, spec, torch.ones(world.shape[:3], dtype=torch.bool))
    assert torch.equal(masked, token_points(world, spec)[0])


def test_depth_zero_pixels_leave_the_masked_average_unchanged():
    spec = InputsSpec()
    world = torch.ones(1, 384, 384, 3)
    hole = torch.zeros(1, 384, 384, dtype=torch.bool)
    hole[:, 5:20, 5:20] = True
    world[hole] = 100.0
    assert token_points(world, spec)[0][0, 0, 0, 0, 0] > 1
    torch.testing.assert_close(token_points(world, spec, ~hole)[0], torch.ones(1, 14, 14, 1, 3))


def test_the_sizes_of_siglip_follow_from_the_specification():
    assert (covered_pixels(InputsSpec()), InputsSpec().grid_side, cell(InputsSpec())) == (378, 14, 27)
    pooled = InputsSpec(pooling="average")
    assert (covered_pixels(pooled), pooled.grid_side, cell(pooled)) == (364, 13, 28)


def test_pixels_beyond_the_patches_do_not_count():
    world = field(1)
    changed = world.clone()
    changed[:, 378:], changed[:, :, 378:] = 1e6, 1e6
    for points in POINTS:
        spec = InputsSpec(points=points)
        assert torch.equal(token_points(world, spec)[0], token_points(changed, spec)[0])


def test_no_frames_give_no_tokens():
    got, valid = token_points(torch.zeros(0, 384, 384, 3), InputsSpec(points="nine"))
    assert got.shape == (0, 14, 14, 9, 3) and valid.shape == (0, 14, 14)


def test_a_crop_of_another_size_is_named():
    with pytest.raises(AssertionError, match="384"):
        token_points(torch.zeros(1, 378, 378, 3), InputsSpec())
