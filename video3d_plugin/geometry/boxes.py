"""Axis-aligned boxes (centre xyz, size xyz; world frame, metres) and which patches lie in them.

Their overlap is in `video3d_plugin.metrics.boxes`, beside the conventions that define it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from video3d_plugin.geometry.patch_grid import covered_pixels

if TYPE_CHECKING:
    from video3d_plugin.scene import InputsSpec

_PAIRS_AT_ONCE = 4096  # patches tested pixel by pixel together: about 10 MB of coordinates


def box_of_points(points: np.ndarray) -> np.ndarray:
    """(6,) float64 centre and size of the points (K, 3), K >= 1, in their frame."""
    assert points.ndim == 2 and points.shape[1] == 3 and len(points), f"need (K, 3) points, got {points.shape}"
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low])


def proposal_patches(
    world_points: torch.Tensor,  # (V, S, S, 3) metres
    boxes: torch.Tensor,  # (N, 6) centre, size, metres
    spec: InputsSpec,
    valid: torch.Tensor | None = None,  # (V, S, S) bool; pixels that are False are in no box
) -> torch.Tensor:
    """(N, V, n, n) bool: patches of which enough pixels lie inside the box, bounds included.

    `patch14`: un-pooled patches of p x p pixels with at least int(p * p * 0.5) inside. `patch27`: pooled tokens'
    cells of c x c pixels with at least int(c * c * 0.25) inside. Bounds are centre -/+ size / 2 in float32.
    Source: Video-3D LLM, LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/model/llava_arch.py, `object_patch`. That program
    tests every pixel against every box; here patches wholly inside or outside are decided by their extent, and only
    patches that a face of the box cuts are looked at pixel by pixel.
    """
    side = spec.image_size
    assert world_points.ndim == 4 and world_points.shape[1:] == (side, side, 3), (
        f"world_points must be (V, {side}, {side}, 3), got {tuple(world_points.shape)}"
    )
    assert boxes.ndim == 2 and boxes.shape[1] == 6, f"boxes must be (N, 6), got {tuple(boxes.shape)}"
    patches = _as_patches(world_points.float(), valid, spec)  # (M, k, 3), M = V * n * n
    share = 0.5 if spec.object_patch == "patch14" else 0.25
    needed = int(patches.shape[1] * share)
    boxes = boxes.float()
    low, high = boxes[:, :3] - boxes[:, 3:] / 2, boxes[:, :3] + boxes[:, 3:] / 2
    patch_low, patch_high = patches.amin(1), patches.amax(1)  # NaN propagates: such patches are tested by pixel
    outside, inside = _decide_by_extent(patch_low, patch_high, low, high)
    result = inside
    if needed == 0:
        result = torch.ones_like(inside)
    else:
        box_index, patch_index = torch.nonzero(~(outside | inside), as_tuple=True)
        for start in range(0, len(box_index), _PAIRS_AT_ONCE):
            b, m = box_index[start : start + _PAIRS_AT_ONCE], patch_index[start : start + _PAIRS_AT_ONCE]
            pixels = patches[m]
            hit = ((low[b, None] <= pixels) & (pixels <= high[b, None])).all(-1).sum(1) >= needed
            result[b[hit], m[hit]] = True
    grid = spec.object_grid_side
    return result.view(len(boxes), len(world_points), grid, grid)


def _decide_by_extent(
    patch_low: torch.Tensor, patch_high: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, M) bool each: no pixel of the patch can be inside the box; every pixel is. One axis at a time."""
    outside = torch.zeros(len(low), len(patch_low), dtype=torch.bool, device=low.device)
    inside = torch.ones_like(outside)
    for axis in range(3):
        a, b = patch_low[None, :, axis], patch_high[None, :, axis]
        c, d = low[:, None, axis], high[:, None, axis]
        outside |= (b < c) | (d < a)
        inside &= (c <= a) & (b <= d)
    return outside, inside


def _as_patches(points: torch.Tensor, valid: torch.Tensor | None, spec: InputsSpec) -> torch.Tensor:
    """(V, S, S, 3) -> (V * n * n, pixels of a patch, 3), NaN where not valid (NaN is inside no box)."""
    if valid is not None:
        points = points.masked_fill(~valid[..., None], float("nan"))
    grid = spec.object_grid_side
    used = spec.patches_per_side * spec.patch_size if spec.object_patch == "patch14" else covered_pixels(spec)
    cell = used // grid
    if cell * grid != used:
        raise ValueError(
            f"object_patch={spec.object_patch!r} needs cells of whole pixels, but {used} pixels do not divide by {grid}"
            " (use object_patch='patch14')"
        )
    points = points[:, :used, :used].unflatten(2, (grid, cell)).unflatten(1, (grid, cell))
    return points.transpose(2, 3).flatten(3, 4).flatten(0, 2)
