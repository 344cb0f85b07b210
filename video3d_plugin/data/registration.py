"""Frames whose depth is brought into the colour camera when it is decoded (see `geometry.registration`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.frames import color_size
from video3d_plugin.errors import DataError
from video3d_plugin.geometry.camera_checks import check_intrinsics, pinhole_matrix, resized_intrinsics
from video3d_plugin.geometry.registration import registered_intrinsics
from video3d_plugin.scene import DepthCamera, Frame

_SAME_TRANSFORM = 1e-3  # metres, or radians
_SAME_INTRINSICS = 0.01  # of the longer side of the depth image: 6 of 640 pixels


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


def with_color_camera(frames: tuple[Frame, ...], options: CameraOptions) -> tuple[Frame, ...]:
    """Return the frames with their depth brought into a colour camera that the user describes.

    The points that the depth shows stay where they are: the recorded pose is taken as that of the camera whose
    intrinsics the depth has.

    Args:
        frames: Frames as they are stored, not turned; at least one.
        options: `color_intrinsics`, needed unless the frames have a colour camera of their own; `color_from_depth`, by
            default that of the frames, or the identity.

    Raises:
        DataError: The frames have no colour intrinsics and none are given.
    """
    where = frames[0].color.path
    if options.color_intrinsics is None and any(frame.depth_camera is None for frame in frames):
        what, remedy = "the recording does not have the colour camera's intrinsics", "--color-intrinsics FX FY CX CY"
        raise DataError(what, where=where, remedy=remedy)
    transform = None if options.color_from_depth is None else np.reshape(options.color_from_depth, (4, 4))
    matrix = None if options.color_intrinsics is None else pinhole_matrix(*options.color_intrinsics)
    size = next((size for frame in frames if (size := _color_size(frame))), None)
    if size is None:
        return frames  # no colour image can be opened, which the check of all frames reports
    return tuple(in_other_camera(frame, matrix, size, transform) for frame in frames)


def cameras_differ(
    depth: np.ndarray,
    depth_size: tuple[int, int],
    color: np.ndarray,
    color_size: tuple[int, int],
    color_from_depth: np.ndarray,
) -> bool:
    """Return whether a colour camera is so different from the depth camera that depth has to be brought into it.

    Args:
        depth: (4, 4) intrinsics of the depth image, pixels.
        depth_size: (height, width) of the depth image.
        color: (4, 4) intrinsics of the colour image, pixels.
        color_size: (height, width) of the colour image.
        color_from_depth: (4, 4) rigid transform from the depth camera to the colour camera, metres.
    """
    if np.abs(color_from_depth - np.eye(4)).max() > _SAME_TRANSFORM:
        return True
    scaled = resized_intrinsics(color, color_size, depth_size)
    return bool(np.abs(scaled - depth)[:2, :3].max() > _SAME_INTRINSICS * max(depth_size))


def in_other_camera(
    frame: Frame, matrix: np.ndarray | None, color_size: tuple[int, int], color_from_depth: np.ndarray | None
) -> Frame:
    """Return a frame with its depth in a colour camera; the points of its depth stay where they are.

    Args:
        frame: The frame, with the pose of the depth camera, or with a depth camera of its own.
        matrix: (4, 4) intrinsics of the colour image, pixels; None: those that the frame has.
        color_size: (height, width) that they are given for.
        color_from_depth: (4, 4) rigid transform from the depth camera to the colour camera, metres; None: that of the
            frame, else the identity.
    """
    known = frame.depth_camera or DepthCamera(frame.depth_intrinsics, frame.depth_size, np.eye(4))
    scan_from_depth = frame.scan_from_camera @ known.color_from_depth
    camera = replace(known, color_from_depth=known.color_from_depth if color_from_depth is None else color_from_depth)
    stored = replace(
        frame,
        depth_size=known.size,
        scan_from_camera=scan_from_depth @ np.linalg.inv(camera.color_from_depth),
    )
    if matrix is None:
        return in_color_camera(stored, camera, frame.depth_intrinsics, frame.depth_size)
    return in_color_camera(stored, camera, matrix, color_size)


def _color_size(frame: Frame) -> tuple[int, int] | None:
    try:
        return color_size(frame)
    except DataError:
        return None  # reported when all frames are checked
