"""Uniform sampling: frames at equal steps of the capture order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from video3d_plugin.sampling.coverage import Coverage
    from video3d_plugin.scene import Scene


def uniform(scene: Scene, max_frames: int, coverage: Coverage | None = None) -> list[int]:
    """Sample `max_frames` frames from the first to the last.

    The indices are np.linspace truncated to integers, as in LLaVA-NeXT and Video-3D LLM (LaVi-Lab/Video-3D-LLM at
    3ff70e8, llava/video_utils.py, sample_frame_files with force_sample).

    Args:
        scene: The scene.
        max_frames: Number of frames.
        coverage: Not used.

    Returns:
        `max_frames` indices in capture order. A scan with fewer frames has some of them repeated.
    """
    return np.linspace(0, len(scene.frames) - 1, max_frames, dtype=int).tolist()
