"""What is known of a scan's world frame before its frames are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Alignment:
    """A given alignment: a whole one, or the direction up alone. Neither: up has to be estimated.

    Attributes:
        matrix: (4, 4) float64 world from scan, metres.
        up: (3,) float64 unit vector, scan frame.
        by_convention: Whether `up` is what the scan's format prescribes, not what was measured. Then frames that
            clearly show another axis up are believed instead.
        source: Where it comes from, as notes name it.
        fixed: Whether the scan keeps its frames and its world frame as they are: scans with an axis alignment, a mesh
            or boxes of their own, and all scans with `--align none`.
    """

    matrix: np.ndarray | None = None
    up: np.ndarray | None = None
    by_convention: bool = False
    source: str = ""
    fixed: bool = False


UNKNOWN = Alignment()


def z_up(format_name: str) -> Alignment:
    """Return what is known of a scan whose format prescribes that z points up."""
    return Alignment(up=np.array([0.0, 0.0, 1.0]), by_convention=True, source=f"z in {format_name}")
