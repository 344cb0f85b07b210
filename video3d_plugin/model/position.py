"""3D position embeddings: points in the world frame, metres, become vectors that are added to visual tokens.

Source: Video-3D LLM, arXiv 2412.00493, section 3.2; LaVi-Lab/Video-3D-LLM at 3ff70e8,
llava/model/position_encoding.py and `discrete_coords` in llava_arch.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from video3d_plugin.config import PositionSpec

_TEMPERATURE = 10000.0
_MLP_WIDTH = 512  # the reference's inner width; its checkpoints have parameters of this size


def discretise(points: torch.Tensor, spec: PositionSpec) -> torch.Tensor:
    """Clamp points to the range of `spec` and round them to voxels.

    Args:
        points: (..., 3) world frame, metres.
        spec: Range and voxel size, metres.

    Returns:
        (..., 3) whole numbers: voxels counted from the range's low corner; halves round to even. They are computed in,
        and have, the number format of the points.
    """
    low, high = _bounds(points, spec)
    return ((points.clamp(low, high) - low) / spec.voxel_size).round()


def _bounds(points: torch.Tensor, spec: PositionSpec) -> tuple[torch.Tensor, ...]:
    """Return the low and high corner (3,) of the range, in format and on device of the points."""
    return tuple(torch.tensor(corner, dtype=points.dtype).to(points.device) for corner in (spec.low, spec.high))


def share_beyond(points: torch.Tensor, spec: PositionSpec) -> float:
    """Return the share of points (..., 3), world frame, metres, that `discretise` clamps to the range of `spec`."""
    low, high = _bounds(points, spec)
    return float(((points < low) | (points > high)).any(-1).float().mean())


def in_its_format(points: torch.Tensor, spec: PositionSpec) -> torch.Tensor:
    """Return points (..., 3), metres, or their voxels where `spec` discretises, in the number format of the reference.

    That of the points is `spec.coordinate_dtype`. Voxels have it too where the range is written in whole numbers: torch
    then computes them in the format of the points, otherwise in float32.
    """
    points = points.to(getattr(torch, spec.coordinate_dtype))
    if not spec.discretised:
        return points
    return discretise(points if spec.whole_range else points.float(), spec)


def sine_position(points: torch.Tensor, size: int) -> torch.Tensor:
    """Embed points by sines and cosines of their coordinates.

    Each of the 3 P coordinates gets n = size // (3 P) entries: entry i is the sine (even i) or the cosine (odd i) of
    coordinate / 10000^(2 (i // 2) / n). Zeros fill the rest.

    Args:
        points: (..., P, 3) metres or voxels.
        size: Length of the embedding.

    Returns:
        (..., size) float32.
    """
    count = size // (3 * points.shape[-2])
    index = torch.arange(count, dtype=torch.float32, device=points.device)
    angle = points.float()[..., None] / _TEMPERATURE ** (2 * (index // 2) / max(count, 1))
    waves = torch.where(index % 2 == 0, angle.sin(), angle.cos()).flatten(-3)
    return F.pad(waves, (0, size - waves.shape[-1]))


class _Float32Linear(nn.Linear):
    """A linear layer on coordinates, computed in float32 whatever the format of its weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight.float(), bias).to(self.weight.dtype)


class SinePosition(nn.Module):
    """Sine embedding of points (..., P, 3), metres -> (..., H) float32, rounded to the points' format; no parameters.

    Args:
        size: Hidden size H.
        spec: Which points, and whether they are rounded to voxels.
    """

    def __init__(self, size: int, spec: PositionSpec):
        super().__init__()
        self.size, self.spec = size, spec

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        points = in_its_format(points, self.spec)
        return sine_position(points, self.size).to(points.dtype).float()


class MlpPosition(nn.Module):
    """Two-layer perceptron on each point (..., P, 3), metres -> (..., H), averaged over the P points of a token.

    The reference implementation fails for more than one point (an undefined name). Its layers take a single point, so
    the embeddings of several are averaged.

    Args:
        size: Hidden size H.
        spec: Which points, and whether they are rounded to voxels.
    """

    def __init__(self, size: int, spec: PositionSpec):
        super().__init__()
        self.spec = spec
        self.mlp = nn.Sequential(
            _Float32Linear(3, _MLP_WIDTH), nn.LayerNorm(_MLP_WIDTH), nn.ReLU(), nn.Linear(_MLP_WIDTH, size)
        )

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.mlp(in_its_format(points, self.spec)).mean(-2)


class NoPosition(nn.Module):
    """Zeros (..., H) for points (..., P, 3), where the rotary embedding alone has the points."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return points.new_zeros(*points.shape[:-2], self.size)


def build_position(size: int, spec: PositionSpec) -> nn.Module:
    """Build the module that checkpoints name `world_position_embedding`.

    Args:
        size: Hidden size of the language model.
        spec: The parsed option `world_position_embedding_type` with range and voxel size.
    """
    if spec.encoding == "none":
        return NoPosition(size)
    return SinePosition(size, spec) if spec.encoding == "sine" else MlpPosition(size, spec)
