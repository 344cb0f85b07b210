"""Checks that edges of colour and depth lie at the same pixels, as they do if both images share one camera.

Depth edges are sampled in a map of colour edges, as they are and under small shifts and changes of scale. If another
place fits much better in most frames, the images are of different cameras, or of different times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video3d_plugin.data.frames import open_color, read_depth_m
from video3d_plugin.errors import DataError
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame, Scene

_FRAMES = 12  # that are looked at
_HEIGHT = 240  # of the images that are compared, pixels
_SCALES = (0.85, 0.88, 0.91, 0.94, 0.97, 1.0, 1.03, 1.06, 1.09, 1.12, 1.15)
_SHIFTS = tuple(range(-12, 13, 3))  # pixels of the compared images
_LEAST_EDGES = 200  # pixels of a frame that is compared
_LEAST_FRAMES = 4
_LEAST_GAIN = 1.3  # of the mean colour edge at depth edges
_LEAST_MOVE = 3.0  # pixels of the compared images, on average: a quarter of a patch
_DEPTH_STEP = 0.05  # relative step between neighbours that is a depth edge


def registration_note(scene: Scene) -> Note | None:
    """Return a note if edges of colour and depth disagree; None if they agree, or there are too few to tell.

    Frames whose depth is brought into the colour camera are compared as they are decoded.

    Args:
        scene: The scene. Up to 12 of its frames are decoded; broken ones are passed over.
    """
    pairs = _pairs(scene, _FRAMES)
    if len(pairs) < _LEAST_FRAMES:
        return None
    scores = _scores(pairs)
    still = scores[_SCALES.index(1.0), _SHIFTS.index(0), _SHIFTS.index(0)]
    scale, down, right = np.unravel_index(int(scores.argmax()), scores.shape)
    moved = _mean_move(pairs, _SCALES[scale], _SHIFTS[down], _SHIFTS[right])
    if scores.max() < _LEAST_GAIN * still or moved < _LEAST_MOVE:
        return None
    pixels = moved * scene.frames[0].depth_size[0] / _HEIGHT
    return Note(
        f"edges of colour and depth lie about {pixels:.0f} pixels apart: the images may be of two cameras "
        "(--color-intrinsics, --color-from-depth) or of different times",
        "check",
    )


def edge_agreement(scene: Scene, frames: int = _FRAMES) -> float | None:
    """Return the mean strength of colour edges, 0 to 1, at the edges of depth; None if there are too few to tell.

    Args:
        scene: The scene.
        frames: Frames that are looked at, evenly spread.
    """
    pairs = _pairs(scene, frames)
    at_edges = [strength[points[:, 1].astype(int), points[:, 0].astype(int)].mean() for strength, points in pairs]
    return float(np.mean(at_edges)) if len(pairs) >= _LEAST_FRAMES else None


def _pairs(scene: Scene, frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return `_edges` of evenly spread frames, of those that have any."""
    step = max(1, len(scene.frames) // frames)
    return [pair for frame in scene.frames[step // 2 :: step] if (pair := _edges(frame)) is not None]


def _edges(frame: Frame) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the map of colour edges (H, W) float32 in 0..1, and the depth edges (N, 2) as column and row."""
    import cv2

    try:
        color, depth = open_color(frame), read_depth_m(frame)
    except DataError:
        return None  # it is reported where all frames are checked
    size = max(1, round(_HEIGHT * depth.shape[1] / depth.shape[0])), _HEIGHT
    grey = cv2.GaussianBlur(np.asarray(color.convert("L").resize(size), np.float32), (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    strength = np.minimum(strength / max(1e-6, float(np.percentile(strength, 95))), 1)
    small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
    kernel = np.ones((3, 3), np.uint8)
    nearest = cv2.erode(np.where(small > 0, small, np.inf).astype(np.float32), kernel)
    farthest = cv2.dilate(small, kernel)
    # the near side of a step, away from pixels without depth, whose outline is the sensor's
    is_edge = (farthest - nearest > _DEPTH_STEP * nearest) & (small - nearest < 0.02 * nearest) & (small > 0)
    is_edge &= cv2.erode((small > 0).astype(np.uint8), kernel) > 0
    rows, columns = np.nonzero(is_edge)
    return (strength, np.stack([columns, rows], 1).astype(np.float32)) if len(rows) >= _LEAST_EDGES else None


def _scores(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return (scales, shifts down, shifts right): mean colour edge at the moved depth edges, frames alike."""
    import cv2

    shape = len(_SHIFTS), len(_SHIFTS)
    shifts = np.array(_SHIFTS, np.float32)[:, None]
    scores = np.zeros((len(_SCALES), *shape))
    for strength, points in pairs:
        height, width = strength.shape
        for k, scale in enumerate(_SCALES):
            x, y = _move(points, strength.shape, scale, 0, 0).T  # a shift changes one of them
            x, y = x + shifts, y + shifts
            all_x = np.broadcast_to(x[None], (*shape, len(points))).reshape(-1, len(points))
            all_y = np.broadcast_to(y[:, None], (*shape, len(points))).reshape(-1, len(points))
            sampled = cv2.remap(strength, all_x, all_y, cv2.INTER_LINEAR).reshape(*shape, -1)
            inside = ((y >= 0) & (y <= height - 1))[:, None] & ((x >= 0) & (x <= width - 1))
            scores[k] += (sampled * inside).sum(2, np.float64) / np.maximum(1, np.count_nonzero(inside, axis=2))
    return scores / len(pairs)


def _move(points: np.ndarray, size: tuple[int, int], scale: float, down: int, right: int) -> np.ndarray:
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2], np.float32)
    return (points - centre) * np.float32(scale) + centre + np.array([right, down], np.float32)


def _mean_move(pairs: Sequence[tuple[np.ndarray, np.ndarray]], scale: float, down: int, right: int) -> float:
    moves = [_move(points, strength.shape, scale, down, right) - points for strength, points in pairs]
    return float(np.mean([np.linalg.norm(move, axis=1).mean() for move in moves]))
