"""The direction up of a scan, from its surfels and cameras.

Candidates are directions that many surface normals share, and a few that the cameras suggest. Each is refined and
scored with both signs. A score is a sum of cues in log odds; its weights are rounded from a logistic fit on real and
synthetic scans, hard ones among them. The margin between the best candidate and the best other one is the confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.levelling.floor import lowest_plane
from video3d_plugin.data.levelling.surfels import Surfels

LEAST_MARGIN = 2.5
LEAST_AREA = 0.05  # share of surfels that are horizontal
MOST_ONE_WAY = 0.95  # share of surfels along the direction: a single flat surface may be a floor or a wall
LEAST_LEVEL = 0.3  # the cue "level": 0.46 and more in parts of a real kitchen, up to 0.27 by chance
LEAST_SURFELS = 200
LEAST_FRAMES = 2

_DIRECTIONS, _PEAKS = 2000, 8
_VOTES_OF, _AT_ONCE = 4000, 100  # surfels that vote; directions that are counted at once
_KERNEL_DEG, _APART_DEG = 8.0, 15.0
_CONES_DEG = (10.0, 10.0, 8.0, 6.0, 5.0, 4.0, 4.0, 4.0)
_SQUARE_WEIGHT = -0.1
_STAY_WEIGHT = 0.01  # of the direction itself, as a share of all surfels: it stays where normals do not tell
_ONE_WAY_DEG = 15.0
_OTHER_DEG = 10.0  # a candidate this far away is another direction
_LEVEL_DEG, _ROLL_DEG = 12.0, 20.0  # where the cues fall to 0
_FULL_AREA = 0.3
_CLEAR_M = 0.1
_WEIGHTS = {"level": 8.0, "area": 4.0, "roll": 4.0, "image": 7.0, "upper": 2.5, "pitch": 2.5, "tops": 3.5}
# directions in the image: its upper, lower, right and left side, camera frame
_SIDES = np.array([[0.0, -1, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0]])


@dataclass(frozen=True)
class Up:
    """The direction up.

    Attributes:
        direction: (3,) unit vector, scan frame: the best candidate.
        margin: Its score minus that of the best candidate more than 10 degrees away, log odds.
        area: Share of surfels that are horizontal, 0 to 1; those that are off by a few degrees count partly.
        one_way: Share of surfels within 15 degrees of horizontal.
        level: Share of surfels that are horizontal or vertical, counted as for `area`.
        found: Whether the evidence suffices to turn the scan by it.
    """

    direction: np.ndarray
    margin: float
    area: float
    one_way: float
    level: float
    found: bool


def find_up(surfels: Surfels) -> Up:
    """Estimate the direction up.

    Args:
        surfels: Surfels of the scan, and the cameras that saw them.

    Returns:
        The estimate. It is not `found` for a single frame, for too few surfels, where hardly anything is horizontal, or
        where another direction scores nearly as high.
    """
    if len(surfels.cameras) < LEAST_FRAMES or len(surfels.points) < LEAST_SURFELS:
        return Up(np.array([0.0, 0.0, 1.0]), 0.0, 0.0, 0.0, 0.0, found=False)
    directions = [refined(c, surfels.normals) for c in candidates(surfels)]
    signed = np.array([sign * direction for direction in directions for sign in (1, -1)])
    cues = [cues_of(direction, surfels) for direction in signed]
    scores = np.array([sum(_WEIGHTS[name] * value for name, value in cue.items()) for cue in cues])
    best = int(np.argmax(scores))
    others = scores[signed @ signed[best] < np.cos(np.radians(_OTHER_DEG))]
    margin = float(scores[best] - others.max())
    deg = _from_axis_deg(signed[best], surfels.normals)
    area, one_way = float(np.maximum(0, 1 - deg / _LEVEL_DEG).mean()), float((deg < _ONE_WAY_DEG).mean())
    level = cues[best]["level"]
    found = margin >= LEAST_MARGIN and area >= LEAST_AREA and one_way <= MOST_ONE_WAY and level >= LEAST_LEVEL
    return Up(signed[best], margin, area, one_way, level, found)


def candidates(surfels: Surfels) -> np.ndarray:
    """Return (N, 3) unit vectors, sign free: peaks of the normals, and directions that the cameras suggest."""
    voters = surfels.normals[:: max(1, -(-len(surfels.normals) // _VOTES_OF))].astype(np.float32)
    sphere = half_sphere(_DIRECTIONS)
    cosine = np.float32(np.cos(np.radians(_KERNEL_DEG)))
    votes = np.empty(_DIRECTIONS, np.float32)
    for start in range(0, _DIRECTIONS, _AT_ONCE):  # as many as fit in the CPU's cache
        closeness = np.abs(sphere[start : start + _AT_ONCE].astype(np.float32) @ voters.T)
        closeness -= cosine
        votes[start : start + _AT_ONCE] = np.maximum(closeness, 0, out=closeness).sum(1)
    found: list[np.ndarray] = []
    for index in np.argsort(-votes, kind="stable"):
        if len(found) == _PEAKS or votes[index] <= 0:
            break
        if all(abs(sphere[index] @ other) < np.cos(np.radians(_APART_DEG)) for other in found):
            found.append(sphere[index])
    for axis in (0, 1):
        axes = surfels.cameras[:, :3, axis]
        found.append(np.linalg.eigh(axes.T @ axes)[1][:, 0])
        mean = axes.mean(0)
        if np.linalg.norm(mean) > 1e-6:
            found.append(mean / np.linalg.norm(mean))
    return np.array(found)


def half_sphere(count: int) -> np.ndarray:
    """Return (count, 3) unit vectors spread evenly over a half sphere (a Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    z, angle = index / count, np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)


def refined(direction: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Move a direction to the middle of the normals along it, away from those square to it (mean shift).

    Args:
        direction: (3,) unit vector.
        normals: (S, 3) unit normals.

    Returns:
        (3,) unit vector on the same side.
    """
    for cone_deg in _CONES_DEG:
        cosine = np.abs(normals @ direction)
        along, square = cosine > np.cos(np.radians(cone_deg)), cosine < np.sin(np.radians(cone_deg))
        weight = along + _SQUARE_WEIGHT * square
        stay = _STAY_WEIGHT * len(normals) * np.outer(direction, direction)
        moved = np.linalg.eigh((normals * weight[:, None]).T @ normals + stay)[1][:, -1]
        if abs(moved @ direction) < np.cos(np.radians(2 * _CONES_DEG[0])):
            break  # hardly anything lies along the direction: the eigenvector is another one
        direction = moved * np.sign(moved @ direction)
    return direction


def cues_of(up: np.ndarray, surfels: Surfels) -> dict[str, float]:
    """Compute the cues for a direction.

    Args:
        up: (3,) unit vector, scan frame.
        surfels: Surfels and cameras.

    Returns:
        By name, each about -1 to 1: "level", surfels along or square to it; "area", horizontal surfels, full at 30 %;
        "roll", cameras held level or turned by 90 degrees; "image", how far the uppermost image side points up;
        "upper", whether it is the images' own upper side; "pitch", cameras look down; "tops", more of what stands in
        the room is seen from above than from below.
    """
    vertical_deg = _from_axis_deg(up, surfels.normals)
    horizontal = np.maximum(0, 1 - vertical_deg / _LEVEL_DEG)
    square = np.maximum(0, 1 - (90 - vertical_deg) / _LEVEL_DEG)
    rotations = surfels.cameras[:, :3, :3]
    axes = rotations[:, :, :2].transpose(0, 2, 1) @ up  # (V, 2) cosines of the images' x and y axes
    off_deg = np.degrees(np.arcsin(np.clip(np.abs(axes), 0, 1))).min(1)
    sides = np.stack([rotations @ side for side in _SIDES], 1) @ up  # (V, 4)
    uppermost = int(np.bincount(sides.argmax(1), minlength=4).argmax())
    forward = rotations[:, :, 2] @ up
    return {
        "level": float((horizontal + square).mean()),
        "area": min(1.0, float(horizontal.mean()) / _FULL_AREA),
        "roll": float(np.maximum(0, 1 - off_deg / _ROLL_DEG).mean()),
        "image": float(sides[:, uppermost].mean()),
        "upper": float(uppermost == 0),
        "pitch": float(np.clip(-2 * forward.mean(), -1, 1)),
        "tops": _tops(up, surfels),
    }


def _from_axis_deg(up: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return (S,) angles between normals and the axis of `up`, sign free, 0 to 90 degrees."""
    return np.degrees(np.arccos(np.clip(np.abs(normals @ up), 0, 1)))


def _tops(up: np.ndarray, surfels: Surfels) -> float:
    """Return (a - b) / (a + b + 1 %).

    a is the share of surfels that face up above the floor, b of those that face down below the ceiling.
    """
    above, below = (_clear_of_shell(sign * up, surfels) for sign in (1, -1))
    return (above - below) / (above + below + 0.01)


def _clear_of_shell(up: np.ndarray, surfels: Surfels) -> float:
    """Return the share of surfels that face `up` and lie above the lowest plane that does."""
    heights, cosine = surfels.points @ up, surfels.normals @ up
    facing = cosine > np.cos(np.radians(_LEVEL_DEG))
    plane = lowest_plane(heights, facing)
    floor = float(np.percentile(heights, 1)) if plane is None else plane[0]
    return float((facing & (heights > floor + _CLEAR_M)).mean())
