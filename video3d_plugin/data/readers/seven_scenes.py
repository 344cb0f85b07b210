"""7-Scenes and its relatives: <frame>.{color.png,depth.png,pose.txt}.

3RScan, 12-Scenes, BundleFusion, tsdf-fusion and ScanNet's SensReader in C++ write the same names, with .color.jpg, some
with .depth.pgm, and the cameras in an _info.txt or info.txt. In 12-Scenes the frames lie in data/, beside info.txt.

Depth is in millimetres unless the info file tells, 65535 where nothing was measured. No intrinsics are published with
7-Scenes itself, whose colour images are PNG; those of the Kinect's data sheet are used (depth 585, colour 525, centre
320, 240 for 640x480), as is usual for this data set. Its colour and depth are not registered: the cameras lie 25.5 mm
apart, and their rotation is the one at which edges of colour and depth agree best in 40 frames of the red kitchen. On
other frames of it, the mean strength of colour edges at depth edges is 0.60; it is 0.47 with the calibration of another
Kinect that is common for this data set (LIRIS), and 0.32 if both images are taken as of one camera
(benchmarks/registration.py). The scan frame has no known up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers.camera_files import read_info
from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry
from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import is_regular
from video3d_plugin.files.text import natural_order, read_matrix
from video3d_plugin.scene import DepthCamera

_COLORS = (".color.png", ".color.jpg", ".color.jpeg")
_DEPTHS = (".depth.png", ".depth.pgm", ".depth.PNG", ".depth.npy")
_KINECT_SIZE = (480, 640)
KINECT_COLOR = (525.0, 525.0, 320.0, 240.0)
KINECT_DEPTH = DepthCamera(
    np.array([[585.0, 0, 320, 0], [0, 585, 240, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    _KINECT_SIZE,
    # 25.5 mm apart; turned by 4.2, 0.8 and 8.4 mrad
    np.array(
        [
            [0.9999644003, -0.0083981956, 0.0008176280, -0.0255],
            [0.0084015556, 0.9999559003, -0.0041965778, 0.0],
            [-0.0007823483, 0.0042032978, 0.9999908600, 0.0],
            [0, 0, 0, 1],
        ]
    ),
)
_KINECT_NOTE = (
    "the Kinect's nominal cameras are used (depth 585, colour 525), and depth is brought into the colour camera; "
    "depth_intrinsic.txt or --intrinsics gives another camera, for both"
)
_VOID = 0xFFFF


def _matches(folder: Path) -> bool:
    return any(is_regular(folder / f"{stem}.pose.txt") for stem in _images(folder))


def has_images(folder: Path) -> bool:
    """Return whether a folder holds colour images with these names."""
    return bool(_images(folder))


def _images(folder: Path) -> dict[str, Path]:
    """Return the colour images by the names of their frames."""
    paths = [path for path in folder.glob("*.color.*") if path.name.lower().endswith(_COLORS)]
    return {path.stem[: -len(".color")]: path for path in paths if len(path.stem) > len(".color")}


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    images = _images(folder)
    camera, size, unit_m, note, depth_camera = None, None, 0.001, "", None
    outer = folder.parent / "info.txt"
    info = read_info(outer) if folder.name == "data" and is_regular(outer) else None
    if info is not None:
        fx, fy, cx, cy = (float(info.matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        camera, size, unit_m = (fx, fy, cx, cy), info.size, info.depth_unit_m or unit_m
    elif all(path.suffix.lower() == ".png" for path in images.values()):
        camera, size, note, depth_camera = KINECT_COLOR, _KINECT_SIZE, _KINECT_NOTE, KINECT_DEPTH
    for stem in sorted(images, key=natural_order):
        depth = next((path for suffix in _DEPTHS if is_regular(path := folder / f"{stem}{suffix}")), None)
        pose = _read_pose(folder / f"{stem}.pose.txt")
        if depth_camera is not None and not isinstance(pose, str):
            pose = pose @ np.linalg.inv(depth_camera.color_from_depth)  # KinectFusion tracked the depth camera
        name = stem.removeprefix("frame-")
        yield FrameEntry(
            name,
            images[stem],
            depth,
            pose,
            camera,
            size,
            unit_m,
            _VOID,
            camera_note=note,
            depth_camera=depth_camera,
        )


def _read_pose(path: Path) -> np.ndarray | str:
    """Return the (4, 4) pose, or the reason why there is none."""
    try:
        matrix = read_matrix(path)
    except (DataError, FileNotFoundError) as error:
        return error.what if isinstance(error, DataError) else "no pose"
    return matrix if np.isfinite(matrix).all() else "pose is not finite (tracking was lost)"


FORMAT = CaptureFormat("7-Scenes", _matches, _list_frames, z_up=False)
