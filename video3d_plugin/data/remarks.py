"""What a user should be told of a scan that was read: the one wording for all commands."""

from __future__ import annotations

from video3d_plugin.notes import kind_of
from video3d_plugin.scene import Scene

_OF_BOXES = ("annotations", "proposals")  # what an own scan never has; `prepare` and the page say it


def assumptions(scene: Scene) -> tuple[str, ...]:
    """Return the notes that say what is assumed of a scan, such as its camera, its scale or the direction up.

    Args:
        scene: The scan, as it was read.
    """
    return tuple(note for note in dict.fromkeys(scene.notes) if kind_of(note) == "assumption")


def remarks(scene: Scene) -> list[str]:
    """Return lines for the terminal: what is assumed or seems wrong, and what was left out.

    Args:
        scene: The scan, as it was read.
    """
    notes = (note for note in dict.fromkeys(scene.notes) if kind_of(note) not in _OF_BOXES)
    lines = [f"{scene.scene_id}: note: {note}" for note in notes]
    if scene.omissions:
        first = scene.omissions[0]
        left_out = f"{len(scene.omissions)} left out, the first: {first.what}: {first.reason}"
        lines.append(f"{scene.scene_id}: {left_out}")
    return lines
