"""3D position embeddings: world points in metres -> vectors that are added to tokens.

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
    """(..., 3) metres, clamped to the range, as whole voxels counted from its low corner; halves round to even."""
    low, high = points.new_tensor(spec.low), points.new_tensor(spec.high)
    return ((points.clamp(low, high) - low) / spec.voxel_size).round()


def sine_position(points: torch.Tensor, size: int) -> torch.Tensor:
    """(..., P, 3) -> (..., size): for each point and axis n = size // (3 P) sines and cosines in turn, then zeros.

    Entry i of an axis is sin (even i) or cos (odd i) of coordinate / 10000^(2 (i // 2) / n).
    """
    count = size // (3 * points.shape[-2])
    index = torch.arange(count, dtype=torch.float32, device=points.device)
    angle = points.float()[..., None] / _TEMPERATURE ** (2 * (index // 2) / max(count, 1))
    waves = torch.where(index % 2 == 0, angle.sin(), angle.cos()).flatten(-3)
    return F.pad(waves, (0, size - waves.shape[-1]))


class _Float32Linear(nn.Linear):
    """A linear layer on coordinates: its product is taken in float32 whatever its weights are kept in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight.float(), bias).to(self.weight.dtype)


class SinePosition(nn.Module):
    """`sine_position` of (discretised) points; no parameters."""

    def __init__(self, size: int, spec: PositionSpec):
        super().__init__()
        self.size, self.spec = size, spec

    def forward(self, points: torch.Tensor) -> torch.Tensor:  # (..., P, 3) metres -> (..., H) float32
        return sine_position(discretise(points.float(), self.spec) if self.spec.discretised else points, self.size)


class MlpPosition(nn.Module):
    """A two-layer perceptron on each (discretised) point; several points of a token are averaged afterwards.

    The reference fails for more than one point (an undefined name). Its layers take one point each, so the average of
    the points' embeddings is what its parameters can express.
    """

    def __init__(self, size: int, spec: PositionSpec):
        super().__init__()
        self.spec = spec
        self.mlp = nn.Sequential(
            _Float32Linear(3, _MLP_WIDTH), nn.LayerNorm(_MLP_WIDTH), nn.ReLU(), nn.Linear(_MLP_WIDTH, size)
        )

    def forward(self, points: torch.Tensor) -> torch.Tensor:  # (..., P, 3) metres -> (..., H)
        points = points.float()
        return self.mlp(discretise(points, self.spec) if self.spec.discretised else points).mean(-2)


def build_position(size: int, spec: PositionSpec) -> nn.Module:
    """The module that LLaVA-NeXT's names call `world_position_embedding`."""
    return SinePosition(size, spec) if spec.encoding == "sine" else MlpPosition(size, spec)
