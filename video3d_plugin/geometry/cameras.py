"""Pinhole cameras: resizing and cropping images, and back-projecting depth to world points.

Conventions: pixel centres lie at integer coordinates, u to the right and v down. The camera frame has x right, y down,
z forward. Depth is z, not the distance along the ray. All lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class CropPlan:
    """How an image becomes the tower's square input: resized, then cropped at the centre.

    Attributes:
        source_height: Height of the image, pixels.
        source_width: Width of the image, pixels.
        resized_height: Height after resizing; the shorter side becomes `side`.
        resized_width: Width after resizing.
        top: First row of the crop in the resized image.
        left: First column of the crop.
        side: Height and width of the crop.
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
        """(side,) int64 source row of each row of the crop, under nearest-neighbour resizing."""
        index = nearest_source_index(self.source_height, self.resized_height)
        return index[self.top : self.top + self.side]

    @property
    def columns(self) -> np.ndarray:
        """(side,) int64 source column of each column of the crop, under nearest-neighbour resizing."""
        index = nearest_source_index(self.source_width, self.resized_width)
        return index[self.left : self.left + self.side]


def centre_crop_plan(height: int, width: int, side: int) -> CropPlan:
    """Plan the centre crop of an image.

    Landscape and square images are treated as in LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/video_utils.py, strategy
    "center_crop": the height becomes `side`, the width is truncated, and half the margin is rounded down. The reference
    has no meaningful result for portrait images; here height and width change roles.

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        side: Side of the crop, pixels.

    Raises:
        ValueError: A number is below 1.
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


def resize_plan(height: int, width: int, side: int) -> CropPlan:
    """Plan to resize a whole image to a square, whatever its shape.

    As in Visual-AI/3DRS at 0401f54, llava/video_utils.py, strategy "resize".

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        side: Side of the square, pixels.

    Raises:
        ValueError: A number is below 1.
    """
    if min(height, width, side) < 1:
        raise ValueError(f"image {width}x{height} and square {side} must be at least one pixel")
    return CropPlan(height, width, side, side, 0, 0, side)


def nearest_source_index(source: int, target: int) -> np.ndarray:
    """Return the source index of each target index under OpenCV's INTER_NEAREST: the floor of i times the step.

    The step is the reciprocal of the scale in double precision, because OpenCV rounds in that order.

    Args:
        source: Pixels along the axis before resizing.
        target: Pixels after resizing.

    Returns:
        (target,) int64.
    """
    step = 1.0 / (target / source)
    return np.minimum(np.floor(np.arange(target) * step).astype(np.int64), source - 1)


def back_project(
    depth_m: torch.Tensor,
    intrinsics: torch.Tensor,
    world_from_camera: torch.Tensor,
    rows: torch.Tensor | None = None,
    columns: torch.Tensor | None = None,
) -> torch.Tensor:
    """Back-project depth images to world points. Depth 0 becomes the camera's centre.

    The pinhole model x = (u - cx) z / fx is evaluated in float32, in the order of `unproject` in LaVi-Lab/Video-3D-LLM
    at 3ff70e8, llava/video_utils.py.

    Args:
        depth_m: (V, H, W) depth along z, metres.
        intrinsics: (V, 4, 4) of the full depth image, pixels.
        world_from_camera: (V, 4, 4) rigid transforms, metres.
        rows: (H,) row v of the full image for each row of `depth_m`, for resized and cropped images; by default all.
        columns: (W,) column u of the full image for each column of `depth_m`.

    Returns:
        (V, H, W, 3) float32, world frame, metres.
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
