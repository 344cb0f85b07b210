"""Levels the frames of a scan: z up, walls along x and y, the floor at z = 0, the middle of the scan at x = y = 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.levelling.alignment import UNKNOWN, Alignment
from video3d_plugin.data.levelling.floor import Floor, find_floor
from video3d_plugin.data.levelling.rotation import about_z, angle_deg, shortest_rotation
from video3d_plugin.data.levelling.surfels import Surfels, merge_windows, read_windows
from video3d_plugin.data.levelling.up import (
    LEAST_AREA,
    LEAST_FRAMES,
    LEAST_LEVEL,
    LEAST_SURFELS,
    MOST_ONE_WAY,
    Up,
    find_up,
)
from video3d_plugin.data.levelling.yaw import Yaw, find_yaw
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame

MAX_FRAMES = 60  # evenly spaced; 20 give nearly the same
_EXTENT = (1.0, 99.0)  # percentiles of positions between which the middle of the scan lies
_DISAGREE_DEG = 15.0
_OTHER_AXIS_DEG, _CLEAR_MARGIN = 45.0, 5.0  # from there on a format's convention is taken to be broken
REMEDY = "gravity.txt (three numbers: the direction down) or --align FILE gives it"
_IF_TILTED = "if the room does not stand upright, say how it stands with --align"


@dataclass(frozen=True)
class Levelling:
    """How a scan was levelled.

    Attributes:
        world_from_scan: (4, 4) float64, metres. Its rotation is the identity where up is not known.
        up: (3,) unit vector, scan frame; None: not known.
        estimate: What the frames say about up, with its margin; also where up was given.
        yaw: Direction of the walls; None where up is not known.
        floor: The floor; None where up is not known or no surface was seen.
        note: One sentence for the user.
    """

    world_from_scan: np.ndarray
    up: np.ndarray | None
    estimate: Up
    yaw: Yaw | None
    floor: Floor | None
    note: Note


def level_frames(frames: Sequence[Frame], known: Alignment = UNKNOWN) -> Levelling:
    """Level a scan. Decodes the depth of at most 60 of its frames.

    Args:
        frames: Frames of the scan, at least one.
        known: The direction up and where it comes from; without one, up is estimated.
    """
    picked = np.unique(np.linspace(0, len(frames) - 1, min(MAX_FRAMES, len(frames))).round().astype(int))
    return level_surfels(merge_windows(read_windows([frames[i] for i in picked])), known)


def level_surfels(surfels: Surfels, known: Alignment = UNKNOWN) -> Levelling:
    """Level a scan by its surfels; see `level_frames`."""
    estimate, up = find_up(surfels), known.up
    off_deg = angle_deg(up, estimate.direction) if up is not None and estimate.found else 0.0
    broken = known.by_convention and off_deg > _OTHER_AXIS_DEG and estimate.margin >= _CLEAR_MARGIN
    if broken:
        up = None
    if up is None and not estimate.found:
        why = _why_not(surfels, estimate)
        note = Note(f"not levelled: {why}; the scan's axes are kept, its middle is the origin; {REMEDY}", "assumption")
        return Levelling(_moved(np.eye(3), _middle(surfels), surfels), None, estimate, None, None, note)
    text = f"levelled: up {f'is {known.source}' if up is not None else f'estimated (margin {estimate.margin:.1f})'}"
    if broken:
        text += f", not {known.source}, from which the frames differ by {off_deg:.0f} degrees"
    direction = estimate.direction if up is None else up
    rotation = shortest_rotation(direction)
    if not len(surfels.points):
        note = Note(f"{text}; no surface was seen, so walls and floor are not known")
        return Levelling(_moved(rotation, rotation @ _middle(surfels), surfels), direction, estimate, None, None, note)
    yaw, floor = find_yaw(surfels.normals @ rotation.T), find_floor(surfels, direction)
    if yaw.found:
        rotation = about_z(-yaw.angle_deg) @ rotation
    middle = np.percentile(surfels.points @ rotation.T, _EXTENT, axis=0).mean(0)
    middle[2] = floor.height_m
    floor_text = "floor at z = 0" if floor.seen else "floor not seen, the lowest points taken as z = 0"
    text += f"{_turn_text(direction)}, walls {_walls_text(yaw)}, {floor_text}"
    is_certain = up is not None and floor.seen
    if up is not None and off_deg > _DISAGREE_DEG:
        down = " ".join(f"{value:.2f}" for value in -estimate.direction + 0.0)
        text += (
            f"; the frames suggest another up, {off_deg:.0f} degrees off; if it looks tilted, try gravity.txt: {down}"
        )
    elif not is_certain:
        text += f"; {_IF_TILTED}"
    note = Note(text, "information" if is_certain else "assumption")
    return Levelling(_moved(rotation, middle, surfels), direction, estimate, yaw, floor, note)


def _middle(surfels: Surfels) -> np.ndarray:
    """Return the middle (3,) of a scan, relative to its surfels' origin: of its surface, else of its cameras."""
    positions = surfels.points if len(surfels.points) else surfels.cameras[:, :3, 3]
    return np.percentile(positions, _EXTENT, axis=0).mean(0) if len(positions) else np.zeros(3)


def _moved(rotation: np.ndarray, middle: np.ndarray, surfels: Surfels) -> np.ndarray:
    """Return (4, 4) world from scan: the rotation, then `middle` (3,), relative to the surfels' origin, moved to 0."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -(rotation @ surfels.origin) - middle
    return matrix


def _why_not(surfels: Surfels, estimate: Up) -> str:
    """Return why up was not found."""
    if len(surfels.cameras) < LEAST_FRAMES:
        return "up is not known, and a single frame does not tell it"
    if len(surfels.points) < LEAST_SURFELS:
        return "up is not known, and the frames show too little surface to tell it"
    if estimate.one_way > MOST_ONE_WAY:
        return "up is not known, and the frames show a single flat surface"
    if estimate.area < LEAST_AREA:
        return "up is not known, and the frames show hardly any horizontal surface"
    if estimate.level < LEAST_LEVEL:
        return "up is not known, and the surfaces that the frames show have no common direction"
    return f"up is not known, and the frames leave it open (margin {estimate.margin:.1f})"


def _turn_text(up: np.ndarray) -> str:
    off = angle_deg(up, np.array([0.0, 0.0, 1.0]))
    return f", turned by {off:.0f} degrees" if off >= 0.5 else ""


def _walls_text(yaw: Yaw) -> str:
    if not yaw.found:
        return "not found"
    return "along x and y" if abs(yaw.angle_deg) < 0.5 else f"turned by {abs(yaw.angle_deg):.0f} degrees to x and y"
