"""Frames at equal steps of the capture order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from video3d_plugin.sampling.coverage import Coverage
    from video3d_plugin.scene import Scene


def uniform(scene: Scene, max_frames: int, coverage: Coverage | None = None) -> list[int]:
    """`max_frames` indices from the first to the last frame; a scan with fewer frames repeats some.

    np.linspace truncated to integers, as LLaVA-NeXT and Video-3D LLM sample (LaVi-Lab/Video-3D-LLM at 3ff70e8,
    llava/video_utils.py, sample_frame_files with force_sample).
    """
    return np.linspace(0, len(scene.frames) - 1, max_frames, dtype=int).tolist()
