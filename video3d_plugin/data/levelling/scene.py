"""Applies an alignment to a scene: given, or found by levelling; turns images upright."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from video3d_plugin.data.levelling.alignment import Alignment
from video3d_plugin.data.levelling.level import level_frames
from video3d_plugin.data.levelling.portrait import turn_upright
from video3d_plugin.scene import Frame, Scene


def level_scene(scene: Scene, alignment: Alignment) -> Scene:
    """Return the scene in its level world frame, with upright images. Decodes the depth of at most 60 frames.

    A scan whose images lie on their side is levelled again by the turned images, so that the result is that of the
    same recording made upright.

    Args:
        scene: A scan without boxes, as a reader gives it.
        alignment: What is known; a `fixed` one leaves the scene as it is.

    Returns:
        The scene. A note says what was done, or why nothing was.
    """
    if alignment.fixed:
        return scene
    if alignment.matrix is not None:
        frames = turn_upright(scene.frames, alignment.matrix[2, :3])
        notes = (*scene.notes, f"aligned by {alignment.source}", *_turn_notes(frames))
        return replace(scene, frames=frames, world_from_scan=alignment.matrix, notes=notes)
    result, frames = level_frames(scene.frames, alignment), scene.frames
    if result.up is not None:
        frames = turn_upright(frames, result.up)
        if any(frame.quarter_turns for frame in frames):
            again = level_frames(frames, alignment)
            result = again if again.up is not None else result
    notes = (*scene.notes, result.note, *_turn_notes(frames))
    return replace(scene, frames=frames, world_from_scan=result.world_from_scan, notes=notes)


def _turn_notes(frames: tuple[Frame, ...]) -> list[str]:
    count = Counter(frame.quarter_turns for frame in frames)
    count.pop(0, None)
    names = {1: "90 degrees to the left", 2: "180 degrees", 3: "90 degrees to the right"}
    return [f"{number} frames are turned upright, by {names[turns]}" for turns, number in sorted(count.items())]


def provisional_alignment(frames: tuple[Frame, ...]) -> np.ndarray:
    """Return the (4, 4) float64 translation that moves the cameras' median position to the origin."""
    matrix = np.eye(4)
    if frames:
        matrix[:3, 3] = -np.median([frame.scan_from_camera[:3, 3] for frame in frames], axis=0)
    return matrix
