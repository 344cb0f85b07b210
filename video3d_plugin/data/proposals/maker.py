"""The type of a proposal maker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from video3d_plugin.scene import Scene


@dataclass(frozen=True)
class ProposalMaker:
    """A way to make class-agnostic proposals from a scene's frames.

    Attributes:
        make: Called with the scene and the largest number of boxes; returns (N, 6) boxes, best first, as centre and
            size in the world frame (z up), metres. N may be 0.
        note: What the scene's notes say about where the proposals come from. Contains the word "proposals".
    """

    make: Callable[[Scene, int], np.ndarray]
    note: str
