"""Turns frames of a camera that was held on its side or upside down, by quarter turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from video3d_plugin.data.turning import turned
from video3d_plugin.scene import Frame

_LEAST_TILT = 0.35  # length of up's projection on the image; a camera that looks straight down has no roll
_LEAST_KNOWN = 0.25  # share of the frames; where fewer have a roll, none is turned
_SLACK_DEG = 60.0  # a frame this close to the scan's usual roll is turned like the others


def turn_upright(frames: Sequence[Frame], up: np.ndarray) -> tuple[Frame, ...]:
    """Return frames whose images have up at their upper side.

    Args:
        frames: Frames, not turned yet.
        up: (3,) unit vector, scan frame.
    """
    return tuple(turned(frame, turns) for frame, turns in zip(frames, quarter_turns(frames, up), strict=True))


def quarter_turns(frames: Sequence[Frame], up: np.ndarray) -> list[int]:
    """Return for each frame the counter-clockwise quarter turns, 0 to 3, that bring up to the image's upper side.

    A frame that looks steeply up or down, or is held between two quarter turns, is turned as most others are. Where
    nearly all frames look up or down, none is turned.

    Args:
        frames: The frames.
        up: (3,) unit vector, scan frame.
    """
    in_camera = np.array([frame.scan_from_camera[:3, :3].T @ up for frame in frames]).reshape(-1, 3)
    roll_deg = np.degrees(np.arctan2(in_camera[:, 0], -in_camera[:, 1]))  # 90 where the image's right side is up
    known = np.hypot(in_camera[:, 0], in_camera[:, 1]) >= _LEAST_TILT
    if known.mean() < _LEAST_KNOWN:
        return [0] * len(frames)
    nearest = np.rint(roll_deg / 90).astype(int) % 4
    usual = int(np.bincount(nearest[known], minlength=4).argmax())
    off_deg = np.abs((roll_deg - 90 * usual + 180) % 360 - 180)
    return np.where(~known | (off_deg <= _SLACK_DEG), usual, nearest).tolist()
