"""Pinhole cameras: which source pixel a cropped pixel is, and where in the world it lies.

Conventions (the one place that states them): pixel centres lie at integer coordinates, u to the right and v down;
the camera frame is x right, y down, z forward; depth is z, not distance along the ray. All lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class CropPlan:
    """How an image becomes the square that the vision tower sees: resized to (height, width), then cropped.

    All numbers are pixels. The short side of the image ends at `side`; the crop is centred on the long side.
    """

    source_height: int
    source_width: int
    resized_height: int
    resized_width: int
    top: int
    left: int
    side: int

    @property
    def rows(self) -> np.ndarray:
        """(side,) int64: the source row that each row of the crop takes under nearest-neighbour resizing."""
        index = nearest_source_index(self.source_height, self.resized_height)
        return index[self.top : self.top + self.side]

    @property
    def columns(self) -> np.ndarray:
        """(side,) int64: the source column that each column of the crop takes."""
        index = nearest_source_index(self.source_width, self.resized_width)
        return index[self.left : self.left + self.side]


def centre_crop_plan(height: int, width: int, side: int) -> CropPlan:
    """The plan for an image of `height` x `width` pixels and a crop of `side` pixels.

    Landscape and square images as in Video-3D LLM (LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/video_utils.py,
    strategy "center_crop"): height becomes `side`, width is truncated, the margin is halved rounding down.
    That program has no meaningful result for portrait images; here they are treated the same way, turned.
    """
    if min(height, width, side) < 1:
        raise ValueError(f"image {width}x{height} and crop {side} must be at least one pixel")
    if width >= height:
        resized_height, resized_width = side, int(width * (side / height))
    else:
        resized_height, resized_width = int(height * (side / width)), side
    # the truncation may lose the last pixel of a near-square image to rounding
    resized_height, resized_width = max(resized_height, side), max(resized_width, side)
    return CropPlan(
        source_height=height,
        source_width=width,
        resized_height=resized_height,
        resized_width=resized_width,
        top=(resized_height - side) // 2,
        left=(resized_width - side) // 2,
        side=side,
    )


def nearest_source_index(source: int, target: int) -> np.ndarray:
    """(target,) int64: source index of each target index, as OpenCV's INTER_NEAREST chooses: floor of i times the step.

    The step is the reciprocal of the scale in double precision, because OpenCV rounds in that order.
    """
    step = 1.0 / (target / source)
    return np.minimum(np.floor(np.arange(target) * step).astype(np.int64), source - 1)


def back_project(
    depth_m: torch.Tensor,  # (V, H, W) metres
    intrinsics: torch.Tensor,  # (V, 4, 4) pixels
    world_from_camera: torch.Tensor,  # (V, 4, 4) rigid
    rows: torch.Tensor | None = None,  # (H,) pixel row v of each row of depth_m
    columns: torch.Tensor | None = None,  # (W,) pixel column u of each column of depth_m
) -> torch.Tensor:
    """World points (V, H, W, 3) float32, metres, of depth images; depth 0 lands on the camera centre.

    `rows` and `columns` say which pixels of the full image the given depths are (all of them by default), so a
    resized and cropped depth image is back-projected without ever touching the pixels that the crop drops.
    Source: the pinhole model x = (u - cx) z / fx, evaluated in float32 in the order of Video-3D LLM's `unproject`
    (LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/video_utils.py).
    """
    frames, height, width = _shape_of_depth(depth_m)
    for name, matrix in (("intrinsics", intrinsics), ("world_from_camera", world_from_camera)):
        assert matrix.shape == (frames, 4, 4), f"{name} must be ({frames}, 4, 4), got {tuple(matrix.shape)}"
    device = depth_m.device
    v = _pixel_axis(rows, height, "rows", device)[None, :, None]
    u = _pixel_axis(columns, width, "columns", device)[None, None, :]
    z = depth_m.float()
    k = intrinsics.float()[:, :, :, None, None]
    camera = torch.empty(frames, 3, height, width, dtype=torch.float32, device=device)
    torch.div((u - k[:, 0, 2]) * z, k[:, 0, 0], out=camera[:, 0])
    torch.div((v - k[:, 1, 2]) * z, k[:, 1, 1], out=camera[:, 1])
    camera[:, 2] = z
    pose = world_from_camera.float()
    # one plane of the image an axis: what pooling reads; callers see it as (V, H, W, 3)
    planes = torch.baddbmm(pose[:, :3, 3:], pose[:, :3, :3], camera.flatten(2))
    return planes.view(frames, 3, height, width).permute(0, 2, 3, 1)


def _shape_of_depth(depth_m: torch.Tensor) -> tuple[int, int, int]:
    assert depth_m.ndim == 3, f"depth_m must be (V, H, W), got {tuple(depth_m.shape)}"
    return tuple(depth_m.shape)  # type: ignore[return-value]


def _pixel_axis(axis: torch.Tensor | None, size: int, name: str, device: torch.device) -> torch.Tensor:
    if axis is None:
        return torch.arange(size, dtype=torch.float32, device=device)
    axis = torch.as_tensor(axis, dtype=torch.float32, device=device)
    assert axis.shape == (size,), f"{name} must be ({size},), got {tuple(axis.shape)}"
    return axis
