"""The token grid: the pixels that a visual token covers, and the 3D points that represent them.

With patch size p and n un-pooled patches along a side, n * p pixels are used; the remainder at the right and bottom is
not. Bilinear pooling spreads g = ceil(n / stride) cells over all used pixels (SigLIP-384: 14 cells of 27 pixels).
Average and max pooling have g = floor(n / stride) cells of stride * p pixels (13 cells of 28).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from video3d_plugin.inputs_spec import InputsSpec

# Of the nine points of a 3 x 3 grid, row by row, the five are the corners and the centre; the one is the centre.
_OF_NINE = {"nine": tuple(range(9)), "five": (0, 2, 4, 6, 8), "centre": (4,)}


def as_coordinates(values: torch.Tensor, spec: InputsSpec) -> torch.Tensor:
    """Round coordinates or sizes to `spec.coordinate_dtype`.

    Args:
        values: Any shape, metres.
        spec: Names the number format.

    Returns:
        The rounded values as float32.
    """
    if spec.coordinate_dtype == "float32":
        return values.float()
    return values.to(getattr(torch, spec.coordinate_dtype)).float()


def covered_pixels(spec: InputsSpec) -> int:
    """Return the pixels along a side that the pooled grid covers (378 of 384 for SigLIP-384 with bilinear pooling)."""
    if spec.pooling == "bilinear":
        return spec.used_side
    return spec.grid_side * spec.pool_stride * spec.patch_size


def token_points(
    world_points: torch.Tensor,
    spec: InputsSpec,
    valid: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the P points of each token.

    Without `valid`, depth holes count as points at the camera's centre, as in the published weights' training. With it,
    averages and extremes are taken over valid pixels, a sampled pixel that is a hole is replaced by the average of its
    cell, and a cell without valid pixels gets the origin.

    Source: LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/model/llava_arch.py (average_coordinate_in_patch,
    minmax_coordinate_in_patch, sample_n_points), with sizes derived from the specification.

    Args:
        world_points: (V, S, S, 3) points of all pixels, world frame, metres; S = spec.image_size.
        spec: Sizes, pooling and which points.
        valid: (V, S, S) bool, False where depth is missing.

    Returns:
        (V, g, g, P, 3) float32 points, rounded to `spec.coordinate_dtype`, world frame, metres; (V, g, g) bool, False
        where a cell has no valid pixel.
    """
    side = spec.image_size
    assert world_points.ndim == 4 and world_points.shape[1:] == (side, side, 3), (
        f"world_points must be (V, {side}, {side}, 3), got {tuple(world_points.shape)}"
    )
    if valid is not None:
        assert valid.shape == world_points.shape[:3] and valid.dtype == torch.bool, (
            f"valid must be {tuple(world_points.shape[:3])} bool, got {tuple(valid.shape)} {valid.dtype}"
        )
    used = covered_pixels(spec)
    cropped = as_coordinates(world_points[:, :used, :used], spec)
    if valid is None:
        points = as_coordinates(_unmasked(cropped, spec), spec)
        return points, torch.ones(points.shape[:3], dtype=torch.bool, device=points.device)
    points, token_valid = _masked(cropped, valid[:, :used, :used], spec)
    return as_coordinates(points, spec), token_valid


def _unmasked(points: torch.Tensor, spec: InputsSpec) -> torch.Tensor:
    if spec.points in _OF_NINE:
        return _sampled(points, spec)
    planes = points.permute(0, 3, 1, 2)
    if spec.points == "average":
        return _average(planes, spec.grid_side).permute(0, 2, 3, 1)[..., None, :]
    low, high = -_maximum(-planes, spec.grid_side), _maximum(planes, spec.grid_side)
    return torch.stack([low, high], dim=1).permute(0, 3, 4, 1, 2)


def _masked(points: torch.Tensor, valid: torch.Tensor, spec: InputsSpec) -> tuple[torch.Tensor, torch.Tensor]:
    # holes may hold anything, also NaN: they are overwritten, not multiplied by 0
    planes = points.masked_fill(~valid[..., None], 0.0).permute(0, 3, 1, 2)
    share = _average(valid[:, None].float(), spec.grid_side)  # (V, 1, g, g) fraction of valid pixels
    token_valid = share[:, 0] > 0
    mean = (_average(planes, spec.grid_side) / share.clamp_min(1e-12)).permute(0, 2, 3, 1)[..., None, :]
    if spec.points == "average":
        result = mean
    elif spec.points == "minmax":
        hole, lowest = ~valid[:, None], float("-inf")
        low = -_maximum((-planes).masked_fill(hole, lowest), spec.grid_side)
        high = _maximum(planes.masked_fill(hole, lowest), spec.grid_side)
        result = torch.stack([low, high], dim=1).permute(0, 3, 4, 1, 2)
    else:
        seen = _sampled(valid[..., None], spec)
        result = torch.where(seen, _sampled(points, spec), mean)
    return torch.where(token_valid[..., None, None], result, torch.zeros_like(result)), token_valid


def _average(planes: torch.Tensor, grid: int) -> torch.Tensor:
    """(V, C, S, S) -> (V, C, g, g). If g does not divide S, neighbouring cells overlap by a pixel."""
    cell, rest = divmod(planes.shape[-1], grid)
    if rest:
        return F.adaptive_avg_pool2d(planes, grid)
    return F.avg_pool2d(planes, cell)


def _maximum(planes: torch.Tensor, grid: int) -> torch.Tensor:
    cell, rest = divmod(planes.shape[-1], grid)
    if rest:
        return F.adaptive_max_pool2d(planes, grid)
    return F.max_pool2d(planes, cell)


def _sampled(pixels: torch.Tensor, spec: InputsSpec) -> torch.Tensor:
    """(V, S, S, C) -> (V, g, g, P, C): the middle pixels of the thirds of each cell, row by row."""
    grid, used = spec.grid_side, pixels.shape[1]
    third = torch.arange(3 * grid, device=pixels.device)
    index = ((2 * third + 1) * used) // (6 * grid)  # floor((third + 1/2) * cell / 3) in integers
    nine = pixels[:, index][:, :, index].unflatten(2, (grid, 3)).unflatten(1, (grid, 3))
    nine = nine.transpose(2, 3).flatten(3, 4)
    return nine[:, :, :, list(_OF_NINE[spec.points])]
