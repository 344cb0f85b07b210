"""Frames whose depth is brought into the colour camera when it is decoded (see `geometry.registration`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from video3d_plugin.geometry.camera_checks import check_intrinsics, resized_intrinsics
from video3d_plugin.geometry.registration import registered_intrinsics
from video3d_plugin.scene import DepthCamera, Frame


def in_color_camera(
    frame: Frame, depth_camera: DepthCamera, color_intrinsics: np.ndarray, color_size: tuple[int, int]
) -> Frame:
    """Return the frame with its depth in the colour camera.

    Args:
        frame: A frame whose pose is the colour camera's. Its depth is not decoded here.
        depth_camera: The depth camera; its intrinsics are for an image of its `size`, which may differ from the file's.
        color_intrinsics: (4, 4) intrinsics of the colour image, pixels.
        color_size: (height, width) that they are given for.

    Raises:
        DataError: One of the intrinsics is not that of a pinhole camera.
    """
    stored = frame.depth_size
    intrinsics = resized_intrinsics(depth_camera.intrinsics, depth_camera.size, stored)
    color, size = registered_intrinsics(color_intrinsics, color_size, stored)
    return replace(
        frame,
        depth_intrinsics=check_intrinsics(color, "colour camera"),
        depth_size=size,
        depth_camera=DepthCamera(check_intrinsics(intrinsics, "depth camera"), stored, depth_camera.color_from_depth),
    )
