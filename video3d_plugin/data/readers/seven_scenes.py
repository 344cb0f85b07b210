"""7-Scenes: frame-000000.{color.png,depth.png,pose.txt}.

Depth is in millimetres, 65535 where nothing was measured. No intrinsics are published with it; those of the Kinect's
data sheet are used (585, 585, 320, 240 for 640x480), as is usual for this data set. The scan frame has no known up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry
from video3d_plugin.errors import DataError
from video3d_plugin.files.text import read_matrix

_CAMERA = (585.0, 585.0, 320.0, 240.0)
_CAMERA_SIZE = (480, 640)
_VOID = 0xFFFF


def _matches(folder: Path) -> bool:
    return next(folder.glob("frame-*.color.png"), None) is not None


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    notes.append("the Kinect's nominal intrinsics are used")
    for color in sorted(folder.glob("frame-*.color.png")):
        stem = color.name.removesuffix(".color.png")
        pose = _read_pose(folder / f"{stem}.pose.txt")
        depth = folder / f"{stem}.depth.png"
        yield FrameEntry(stem.removeprefix("frame-"), color, depth, pose, _CAMERA, _CAMERA_SIZE, void=_VOID)


def _read_pose(path: Path) -> np.ndarray | str:
    """Return the (4, 4) pose, or the reason why there is none."""
    try:
        matrix = read_matrix(path)
    except (DataError, FileNotFoundError) as error:
        return error.what if isinstance(error, DataError) else "no pose"
    return matrix if np.isfinite(matrix).all() else "pose is not finite (tracking was lost)"


FORMAT = CaptureFormat("7-Scenes", _matches, _list_frames, z_up=False)
