"""Rotary embedding of three-axis positions: a visual token is placed at its voxel x, y, z, a text token at its index.

Source: LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/model/language_model/qwen2/modeling_qwen2.py (`mrope_section`) and
llava_arch.py. Of the d / 2 frequencies of a head, highest first, half rotate by x, a quarter by y and a quarter by z.
The reference has these numbers for heads of 128 (32, 16 and 16).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding


class Qwen2AxesRotaryEmbedding(Qwen2RotaryEmbedding):
    """Qwen2's rotary embedding, with three-axis positions for the sequences within `at`; no parameters."""

    _axes: torch.Tensor | None = None

    @contextmanager
    def at(self, axes: torch.Tensor | None) -> Iterator[None]:
        """Place the tokens of sequences of a length within a context.

        They do not travel as position ids, from which attention kernels and masks would read packed sequences.

        Args:
            axes: (R, L, 3) positions; None for those of the caller. Sequences of another length, as the single tokens
                of generation, keep the caller's.
        """
        self._axes = axes
        try:
            yield
        finally:
            self._axes = None

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines (R, L, d) for inputs (R, L, H) at `position_ids` (R, L) or the axes of `at`."""
        axes = self._axes
        if axes is None or x.shape[1] != axes.shape[1]:
            return super().forward(x, position_ids)
        axes = axes.to(x.device).repeat_interleave(len(x) // len(axes), 0)  # beams are copies of their row
        parts = [super(Qwen2AxesRotaryEmbedding, self).forward(x, axes[..., axis]) for axis in range(3)]
        cos, sin = (join_axes([part[index] for part in parts]) for index in range(2))
        return cos, sin


def join_axes(parts: list[torch.Tensor]) -> torch.Tensor:
    """Return (R, L, d) with each frequency's entries from the part (R, L, d) of its axis: x, y or z."""
    half = parts[0].shape[-1] // 2
    quarter = half // 4
    sizes = [half - 2 * quarter, quarter, quarter] * 2  # both halves of a head have all frequencies
    sections = zip(*(part.split(sizes, -1) for part in parts), strict=True)
    return torch.cat([section[index % 3] for index, section in enumerate(sections)], -1)
