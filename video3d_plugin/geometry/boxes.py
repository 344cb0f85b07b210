"""Axis-aligned boxes (centre xyz, size xyz; world frame, metres), and the patches that lie in them.

Their overlap is computed in `video3d_plugin.metrics.iou`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from video3d_plugin.geometry.patch_grid import as_coordinates, covered_pixels
from video3d_plugin.inputs_spec import InputsSpec

_SHARES = {"patch14": 0.5, "patch27": 0.25}
_TOKEN_SHARE = 0.125
_PAIRS_AT_ONCE = 4096  # patches tested pixel by pixel together: about 10 MB of coordinates


def box_of_points(points: np.ndarray) -> np.ndarray:
    """Return the bounding box of points.

    Args:
        points: (K, 3), K >= 1, in any frame.

    Returns:
        (6,) float64 centre and size, in the points' frame and unit.
    """
    assert points.ndim == 2 and points.shape[1] == 3 and len(points), f"need (K, 3) points, got {points.shape}"
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low])


def proposal_patches(
    world_points: torch.Tensor,
    boxes: torch.Tensor,
    spec: InputsSpec,
    valid: torch.Tensor | None = None,
    share: float | None = None,
) -> torch.Tensor:
    """Find the patches that lie in each box.

    "patch14": un-pooled patches of p x p pixels with at least int(p * p * 0.5) inside. "patch27": cells of pooled
    tokens, c x c pixels, with at least int(c * c * 0.25) inside. The bounds centre -/+ size / 2 belong to the box;
    points, boxes and bounds are rounded to `spec.coordinate_dtype`. Source: LaVi-Lab/Video-3D-LLM at 3ff70e8,
    llava/model/llava_arch.py, `object_patch`, which tests each pixel against every box. Here the sorted coordinates of
    a patch decide almost every case (`decide_by_rank`), and only the rest is tested pixel by pixel. The result is
    exactly the same.

    Args:
        world_points: (V, S, S, 3) points of all pixels, world frame, metres; S = spec.image_size.
        boxes: (N, 6) centre and size, world frame, metres.
        spec: Sizes, and the kind of patches.
        valid: (V, S, S) bool; pixels that are False lie in no box.
        share: Share of a patch's pixels that must be inside; by default that of its kind.

    Returns:
        (N, V, n, n) bool, n = spec.object_grid_side.

    Raises:
        ValueError: The cells of "patch27" are not whole pixels.
    """
    side = spec.image_size
    assert world_points.ndim == 4 and world_points.shape[1:] == (side, side, 3), (
        f"world_points must be (V, {side}, {side}, 3), got {tuple(world_points.shape)}"
    )
    assert boxes.ndim == 2 and boxes.shape[1] == 6, f"boxes must be (N, 6), got {tuple(boxes.shape)}"
    planes = _as_patches(as_coordinates(world_points, spec), valid, spec)  # (3, M, k), M = V * n * n
    needed = int(planes.shape[2] * (share or _SHARES[spec.object_patch]))
    grid, boxes = spec.object_grid_side, as_coordinates(boxes, spec)
    shape = (len(boxes), len(world_points), grid, grid)
    if needed == 0:
        return torch.ones(shape, dtype=torch.bool, device=boxes.device)
    half = as_coordinates(boxes[:, 3:] / 2, spec)
    low, high = as_coordinates(boxes[:, :3] - half, spec).T, as_coordinates(boxes[:, :3] + half, spec).T  # (3, N)
    no, yes = decide_by_rank(planes, low, high, needed)
    box_index, patch_index = torch.nonzero(~(no | yes), as_tuple=True)
    for start in range(0, len(box_index), _PAIRS_AT_ONCE):
        b, m = box_index[start : start + _PAIRS_AT_ONCE], patch_index[start : start + _PAIRS_AT_ONCE]
        pixels = planes[:, m]
        hit = ((low[:, b, None] <= pixels) & (pixels <= high[:, b, None])).all(0).sum(1) >= needed
        yes[b[hit], m[hit]] = True
    return yes.view(shape)


def proposal_bits(
    world_points: torch.Tensor, boxes: torch.Tensor, spec: InputsSpec, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Find the patches, and with `spec.token_boxes` the tokens, that lie in each box, packed to bits.

    A token counts with an eighth of its pixels. Source: Visual-AI/3DRS at 0401f54,
    llava/model/language_model/llava_qwen.py, `extract_object_feature`.

    Args:
        world_points: As in `proposal_patches`, like the others.
        boxes: (N, 6).
        spec: Sizes and kinds.
        valid: (V, S, S) bool.

    Returns:
        (N, V, spec.proposal_bytes) uint8: the patches, then the tokens, each as by `pack_patches`.
    """
    bits = pack_patches(proposal_patches(world_points, boxes, spec, valid))
    if not spec.token_boxes:
        return bits
    cells = proposal_patches(world_points, boxes, replace(spec, object_patch="patch27"), valid, _TOKEN_SHARE)
    return torch.cat([bits, pack_patches(cells)], dim=2)


def pack_patches(inside: torch.Tensor) -> torch.Tensor:
    """Pack booleans to bits.

    Args:
        inside: (N, V, n, n) bool.

    Returns:
        (N, V, ceil(n * n / 8)) uint8: the patches of a frame row by row, the first in the lowest bit.
    """
    flat = inside.flatten(2).to(torch.uint8)
    bits = torch.nn.functional.pad(flat, (0, -flat.shape[2] % 8)).unflatten(2, (-1, 8))
    return (bits << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(3, dtype=torch.uint8)


def unpack_patches(bits: torch.Tensor, side: int) -> torch.Tensor:
    """Invert `pack_patches`.

    Args:
        bits: (N, V, ceil(side * side / 8)) uint8.
        side: Patches along a side.

    Returns:
        (N, V, side, side) bool.
    """
    single = (bits[..., None] >> torch.arange(8, dtype=torch.uint8, device=bits.device)) & 1
    return single.flatten(2)[:, :, : side * side].unflatten(2, (side, side)).bool()


def decide_by_rank(
    planes: torch.Tensor, low: torch.Tensor, high: torch.Tensor, needed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decide by sorted coordinates whether at least `needed` pixels of a patch are inside a box.

    If, along an axis, the needed-th smallest coordinate is above the box, fewer than `needed` pixels are inside. If on
    each axis at most a sixth of the spare pixels lies below the box and at most a sixth above, enough are inside. Ranks
    are robust to the few pixels that depth holes project to the camera's centre; minima and maxima are not. NaN sorts
    last and compares false, so it counts as outside.

    Args:
        planes: (3, M, k) coordinates of the k pixels of M patches.
        low: (3, N) lower bounds of the boxes.
        high: (3, N) upper bounds.
        needed: Pixels that must be inside.

    Returns:
        (N, M) bool, True where there are certainly fewer; (N, M) bool, True where there are certainly enough.
    """
    pixels = planes.shape[2]
    spare = (pixels - needed) // 6
    no = torch.zeros(low.shape[1], planes.shape[1], dtype=torch.bool, device=planes.device)
    yes = torch.ones_like(no)
    for plane, bottom, top in zip(planes, low, high, strict=True):
        ranks = _sorted(plane)[:, [needed - 1, pixels - needed, spare, pixels - 1 - spare]].T[:, None]
        no |= (ranks[0] > top[:, None]) | (ranks[1] < bottom[:, None])
        yes &= (ranks[2] >= bottom[:, None]) & (ranks[3] <= top[:, None])
    return no, yes


def _sorted(rows: torch.Tensor) -> torch.Tensor:
    """Sort each row. NumPy's sort is vectorised and 20 times as fast as torch's on a CPU."""
    return torch.from_numpy(np.sort(rows.numpy(), axis=1)) if rows.device.type == "cpu" else rows.sort(dim=1).values


def _as_patches(points: torch.Tensor, valid: torch.Tensor | None, spec: InputsSpec) -> torch.Tensor:
    """(V, S, S, 3) -> (3, V * n * n, pixels of a patch), NaN where not valid (NaN is inside no box)."""
    if valid is not None:
        points = points.masked_fill(~valid[..., None], float("nan"))
    grid = spec.object_grid_side
    used = spec.used_side if spec.object_patch == "patch14" else covered_pixels(spec)
    cell = used // grid
    if cell * grid != used:
        raise ValueError(
            f"object_patch={spec.object_patch!r} needs cells of whole pixels, but {used} pixels do not divide by {grid}"
            " (use object_patch='patch14')"
        )
    planes = points.permute(3, 0, 1, 2)[:, :, :used, :used]
    planes = planes.unflatten(3, (grid, cell)).unflatten(2, (grid, cell)).transpose(3, 4)
    return planes.reshape(3, len(points) * grid * grid, cell * cell)
