"""The space that a scan shows, and points outside of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from video3d_plugin.data.inputs import frame_points
from video3d_plugin.errors import DataError
from video3d_plugin.scene import Scene

_FRAMES = 32
_STRIDE = 8
_MARGIN_M = 0.5
MARGIN_OF_INPUTS_M = 3.0  # a model's inputs do not hold the cameras, which stand that near to what they show


def extent(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest corner of what up to 32 of the scene's frames show, with their cameras.

    Returns:
        (3,) and (3,) float64, world frame, metres.

    Raises:
        DataError: The depth of a frame cannot be decoded.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for index in np.unique(np.linspace(0, len(scene.frames) - 1, _FRAMES).astype(int)):
        place = (scene.world_from_scan @ scene.frames[index].scan_from_camera)[:3, 3]
        points = np.concatenate([frame_points(scene, int(index), _STRIDE), place[None]])
        low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))
    return low, high


def check_inside(
    points: Iterable[Sequence[float]], low: np.ndarray, high: np.ndarray, scene_id: str, margin_m: float = _MARGIN_M
) -> None:
    """Raise DataError for a point outside of a scan's extent.

    Args:
        points: x, y, z each, in metres, world frame.
        low: (3,) lowest corner, as `extent` returns it; NaN where unknown, which no point is outside of.
        high: (3,) highest corner.
        scene_id: The scene, for the message.
        margin_m: Metres outside of the extent up to which a point counts as inside.
    """
    for point in points:
        place = np.asarray(point, float)
        if (place < low - margin_m).any() or (place > high + margin_m).any():
            spans = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
            where = " ".join(f"{value:g}" for value in place)
            raise DataError(
                f"the point {where} lies outside of the scan", where=scene_id, remedy=f"it spans {spans} metres"
            )
