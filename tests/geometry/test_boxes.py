"""Which patches lie in which box, against a twin that tests every pixel; boxes and their overlap by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from video3d_plugin.geometry.boxes import box_of_points, pack_patches, proposal_patches, unpack_patches
from video3d_plugin.inputs_spec import InputsSpec


def twin(points, boxes, spec, valid=None):
    """(N, V, n, n): count the pixels inside, patch by patch, as the reference program's definition says."""
    patch14 = spec.object_patch == "patch14"
    n = spec.object_grid_side
    if patch14:
        size, needed = spec.patch_size, int(spec.patch_size**2 * 0.5)
    else:
        used = spec.patches_per_side * spec.patch_size
        size = used // n if spec.pooling == "bilinear" else spec.pool_stride * spec.patch_size
        needed = int(size * size * 0.25)
    result = torch.zeros(len(boxes), len(points), n, n, dtype=torch.bool)
    for index, box in enumerate(boxes):
        inside = ((box[:3] - box[3:] / 2 <= points) & (points <= box[:3] + box[3:] / 2)).all(-1)
        if valid is not None:
            inside &= valid
        for i in range(n):
            for j in range(n):
                block = inside[:, i * size : (i + 1) * size, j * size : (j + 1) * size]
                result[index, :, i, j] = block.sum((1, 2)) >= needed
    return result


def smooth(frames, side, seed=0):
    """A surface without jumps, so that boxes cut through patches as they do in scans."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(frames, 3, 6, 6, generator=g) * 2
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear").permute(0, 2, 3, 1).contiguous()


def some_boxes(count, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randn(count, 3, generator=g), torch.rand(count, 3, generator=g) * 3], 1)


@pytest.mark.parametrize("patch", ["patch14", "patch27"])
@pytest.mark.parametrize("pooling", ["bilinear", "average"])
def test_membership_is_that_of_the_twin(patch, pooling):
    spec = InputsSpec(image_size=118, object_patch=patch, pooling=pooling)  # 8 patches, 4 cells of 28 pixels
    points, boxes = smooth(3, 118), some_boxes(12)
    expected = twin(points, boxes, spec)
    assert expected.any() and not expected.all()
    assert torch.equal(proposal_patches(points, boxes, spec), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("patch", ["patch14", "patch27"])
def test_membership_in_another_number_format_is_that_of_the_twin_in_it(patch, dtype):
    spec, kind = InputsSpec(image_size=118, object_patch=patch, coordinate_dtype=dtype), getattr(torch, dtype)
    points, boxes = smooth(3, 118), some_boxes(30)
    expected = twin(points.to(kind), boxes.to(kind), spec)  # compared and halved in this format
    assert torch.equal(proposal_patches(points, boxes, spec), expected)
    exact = proposal_patches(points, boxes, InputsSpec(image_size=118, object_patch=patch))
    assert dtype == "float16" or not torch.equal(exact, expected)


def test_membership_of_the_full_crop_with_holes_is_that_of_the_twin():
    points, boxes = smooth(2, 384), some_boxes(6)
    boxes[0] = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])  # holds the camera
    hole = torch.rand(2, 384, 384, generator=torch.Generator().manual_seed(3)) < 0.45
    points[hole] = torch.tensor([0.1, 0.2, 0.3])  # where depth 0 lands: the camera centre
    assert torch.equal(proposal_patches(points, boxes, InputsSpec()), twin(points, boxes, InputsSpec()))
    masked = proposal_patches(points, boxes, InputsSpec(), ~hole)
    assert torch.equal(masked, twin(points, boxes, InputsSpec(), ~hole))
    assert not torch.equal(masked, proposal_patches(points, boxes, InputsSpec()))


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from(["patch14", "patch27"]), st.floats(0, 4, width=32))
def test_membership_is_that_of_the_twin_for_any_surface(seed, patch, scale):
    spec = InputsSpec(image_size=56, object_patch=patch)
    points, boxes = smooth(1, 56, seed), some_boxes(5, seed + 1)
    boxes[:, 3:] *= scale
    assert torch.equal(proposal_patches(points, boxes, spec), twin(points, boxes, spec))


def test_bounds_belong_to_the_box_and_half_a_patch_is_enough():
    spec = InputsSpec(image_size=14)
    points = torch.full((1, 14, 14, 3), 5.0)
    points[0, :7] = torch.tensor([1.0, 0.0, -1.0])  # 98 of 196 pixels, on the box's faces and its middle
    box = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0, 2.0]])
    assert proposal_patches(points, box, spec).tolist() == [[[[True]]]]
    points[0, 0, 0] = 5.0  # 97 pixels
    assert proposal_patches(points, box, spec).tolist() == [[[[False]]]]


def test_a_box_of_negative_size_holds_nothing():
    points = torch.zeros(1, 14, 14, 3)
    assert not proposal_patches(points, torch.tensor([[0.0, 0, 0, -1, 1, 1]]), InputsSpec(image_size=14)).any()


def test_no_boxes_give_no_membership():
    assert proposal_patches(smooth(2, 384), torch.zeros(0, 6), InputsSpec()).shape == (0, 2, 27, 27)


def test_points_that_are_not_finite_are_in_no_box():
    points = torch.full((1, 14, 14, 3), float("nan"))
    assert not proposal_patches(points, torch.tensor([[0.0, 0, 0, 9, 9, 9]]), InputsSpec(image_size=14)).any()


def test_cells_that_are_not_whole_pixels_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match="patch14"):
        proposal_patches(smooth(1, 70), some_boxes(1), InputsSpec(image_size=70, object_patch="patch27"))


def test_box_of_points_by_hand():
    points = np.array([[0, 0, 0], [2, 1, -4]], np.float32)
    assert box_of_points(points).tolist() == [1, 0.5, -2, 2, 1, 4]


def test_holes_do_not_send_every_patch_to_the_pixel_test(monkeypatch):
    """What makes it fast: with holes at the camera in every patch, few patches are undecided."""
    from video3d_plugin.geometry import boxes as module

    points = smooth(2, 384)
    points[torch.rand(2, 384, 384, generator=torch.Generator().manual_seed(3)) < 0.1] = torch.tensor([0.1, 0.2, 0.3])
    looked_at = []
    original = module.decide_by_rank

    def counted(*arguments):
        no, yes = original(*arguments)
        looked_at.append(int((~(no | yes)).sum()))
        assert not (no & yes).any()
        return no, yes

    monkeypatch.setattr(module, "decide_by_rank", counted)
    result = proposal_patches(points, some_boxes(20), InputsSpec())
    assert result.any() and looked_at[0] < 0.05 * result.numel()


@pytest.mark.parametrize("side", [1, 2, 4, 7, 27])
def test_packed_patches_come_back_and_are_eight_to_a_byte(side):
    inside = torch.rand(5, 3, side, side, generator=torch.Generator().manual_seed(side)) < 0.4
    bits = pack_patches(inside)
    assert bits.shape == (5, 3, -(-side * side // 8)) and bits.dtype == torch.uint8
    assert torch.equal(unpack_patches(bits, side), inside)
    numpys = np.packbits(inside.flatten(2).numpy(), axis=2, bitorder="little")
    assert np.array_equal(bits.numpy(), numpys)


def test_packed_patches_by_hand_and_of_no_box():
    inside = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    inside[0, 0, 0, 1] = inside[0, 0, 2, 2] = True  # the second and the ninth
    assert pack_patches(inside).tolist() == [[[2, 1]]]
    assert unpack_patches(pack_patches(torch.zeros(0, 2, 3, 3, dtype=torch.bool)), 3).shape == (0, 2, 3, 3)
