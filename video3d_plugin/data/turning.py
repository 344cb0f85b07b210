"""Frames whose images are turned by quarter turns when they are decoded; the camera of a turned frame is turned now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from video3d_plugin.scene import Frame

# axes of the camera after a counter-clockwise quarter turn: its x is the former y, its y the former -x
_TURN = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def turned(frame: Frame, quarter_turns: int) -> Frame:
    """Turn a frame: images on decoding, size, intrinsics and pose now.

    Args:
        frame: The frame.
        quarter_turns: Counter-clockwise quarter turns.
    """
    for _ in range(quarter_turns % 4):
        height, width = frame.depth_size
        (fx, fy), (cx, cy) = frame.depth_intrinsics[[0, 1], [0, 1]], frame.depth_intrinsics[[0, 1], [2, 2]]
        camera = np.eye(4)
        camera[[0, 1, 0, 1], [0, 1, 2, 2]] = fy, fx, cy, width - 1 - cx
        frame = replace(
            frame,
            scan_from_camera=frame.scan_from_camera @ _TURN.T,
            depth_intrinsics=camera,
            depth_size=(width, height),
            quarter_turns=(frame.quarter_turns + 1) % 4,
            decoded_depth=None,
        )
    return frame


def unturned(frame: Frame) -> Frame:
    """Return the frame as it is stored."""
    return turned(frame, -frame.quarter_turns)
