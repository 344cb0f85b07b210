"""Colour and depth images without poses: color/ and depth/ with the same names, or <frame>.color.jpg and .depth.png.

Recorders of RealSense and Kinect cameras, Open3D and Redwood write the former, tsdf-fusion and 7-Scenes the latter.
Poses that such a folder has are ignored. Only read on demand (`--poses estimate`), because all images are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.odometry.track import estimate_poses
from video3d_plugin.data.readers import seven_scenes, split_folders
from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry
from video3d_plugin.scene import Frame


def _matches(folder: Path) -> bool:
    return seven_scenes.has_images(folder) or split_folders.has_images(folder)


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    capture = seven_scenes.FORMAT if seven_scenes.has_images(folder) else split_folders.FORMAT
    for entry in capture.list_frames(folder, notes):
        yield replace(entry, pose=np.eye(4))


def with_estimated_poses(frames: tuple[Frame, ...], folder: Path, notes: list[str]) -> tuple[Frame, ...]:
    """Return the frames with estimated poses, and append to `notes` how far they may drift.

    Raises:
        DataError: The poses cannot be estimated well enough, or an image cannot be decoded.
    """
    if not frames:
        return frames
    estimated = estimate_poses(frames, folder)
    notes.append(estimated.note)
    return tuple(replace(frame, scan_from_camera=pose) for frame, pose in zip(frames, estimated.poses, strict=True))


FORMAT = CaptureFormat("colour and depth without poses", _matches, _list_frames, z_up=False)
