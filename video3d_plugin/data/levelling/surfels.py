"""Surfels: small planar pieces of the surface, each with a normal, from the depth images of a scan.

A window of a depth image sees a plane where 1/z = a x + b y + c holds for its normalised pixels x, y; then (a, b, c) is
the plane's normal. The noise of depth cameras is about even in 1/z, so a least-squares fit is adequate at all
distances. All windows are fitted at once by box filters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from video3d_plugin.data.frames import read_depth_m
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.geometry.camera_checks import resized_intrinsics
from video3d_plugin.scene import Frame

NEAREST_M, FARTHEST_M = 0.25, 6.0  # depth outside of this range is not used
LARGEST = 640  # pixels of the longer side of an image; of a larger one, every n-th row and column is used
WIDTH = 160  # pixels of the longer side of an image when windows are fitted
WINDOW, STEP = 7, 3  # side of a window and distance between windows, pixels
VOXEL_M = 0.1
_LEAST_MEASURED = 0.6  # share of a window's pixels
_RELATIVE_RMS, _ABSOLUTE_RMS = 0.02, 0.004  # largest residual: share of 1/z, and 1/metres
_FLATTEST_RAY = np.sin(np.radians(9))  # sine of the angle between a ray and its surface
_LEAST_AGREEMENT = 0.85  # length of the mean of a voxel's unit normals
_POSE_STEP_M = 2.0**-20  # camera positions are rounded to it, so that a moved scan gives the same surfels


@dataclass(frozen=True)
class Surfels:
    """Surfels of a scan, one for each voxel of 10 cm, so that their number measures area.

    Attributes:
        points: (S, 3) float64 positions, metres, in the scan frame moved to `origin`.
        normals: (S, 3) float64 unit normals, scan frame; they point to the side that the cameras are on.
        cameras: (V, 4, 4) float64 poses of the frames that were used, in the same frame.
        origin: (3,) float64 position in the scan frame that `points` and `cameras` are relative to, metres.
    """

    points: np.ndarray
    normals: np.ndarray
    cameras: np.ndarray
    origin: np.ndarray


@dataclass(frozen=True)
class Windows:
    """The planes that one frame's windows see.

    Attributes:
        points: (M, 3) float64, camera frame, metres.
        normals: (M, 3) float64 unit normals that face the camera, camera frame.
        scan_from_camera: (4, 4) float64 pose, metres.
    """

    points: np.ndarray
    normals: np.ndarray
    scan_from_camera: np.ndarray


def read_windows(frames: Sequence[Frame]) -> list[Windows]:
    """Decode the depth of frames and fit planes in windows of it.

    Args:
        frames: The frames. Those whose depth cannot be decoded are passed over: who decodes them later reports it.
    """

    def read(frame: Frame) -> Windows | None:
        step = -(-max(frame.depth_size) // LARGEST)
        first = (step - 1) // 2
        rows, columns = (np.arange(first, size, step) for size in frame.depth_size)
        camera = frame.depth_intrinsics.copy()
        camera[:2, :2] /= step
        camera[:2, 2] = (camera[:2, 2] - first) / step
        try:
            depth_m = read_depth_m(frame, rows, columns)
        except (DataError, MissingError):
            return None
        return Windows(*fit_windows(depth_m, camera), frame.scan_from_camera)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return [windows for windows in pool.map(read, frames) if windows is not None]


def merge_windows(frames: Sequence[Windows]) -> Surfels:
    """Merge the windows of frames to surfels.

    Args:
        frames: The windows of each frame; there may be none.

    Returns:
        The surfels, relative to the first camera; there may be none.
    """
    if not frames:
        return Surfels(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 4, 4)), np.zeros(3))
    origin = frames[0].scan_from_camera[:3, 3].copy()
    poses = np.stack([windows.scan_from_camera for windows in frames])
    poses[:, :3, 3] = np.rint((poses[:, :3, 3] - origin) / _POSE_STEP_M) * _POSE_STEP_M
    turned = [(windows, pose[:3, :3].T, pose[:3, 3]) for windows, pose in zip(frames, poses, strict=True)]
    points = np.concatenate([windows.points @ turn + offset for windows, turn, offset in turned])
    normals = np.concatenate([windows.normals @ turn for windows, turn, _ in turned])
    return Surfels(*merge_by_voxel(points, normals), poses, origin)


def fit_windows(depth_m: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a plane in windows of 7 x 7 pixels of a depth image that is reduced to 160 pixels.

    Args:
        depth_m: (H, W) depth along z, metres; 0 where it was not measured.
        intrinsics: (4, 4) pixels.

    Returns:
        (M, 3) points and (M, 3) unit normals that face the camera, float64, camera frame, metres. Windows with too few
        measured pixels, a bad fit, or a surface seen at a flat angle are left out.
    """
    inverse, measured, camera = _reduced(depth_m, intrinsics)
    height, width = inverse.shape
    x = np.broadcast_to((np.arange(width) - camera[0, 2]) / camera[0, 0], inverse.shape)
    y = np.broadcast_to(((np.arange(height) - camera[1, 2]) / camera[1, 1])[:, None], inverse.shape)
    half = WINDOW // 2
    centres = np.s_[half : height - half : STEP, half : width - half : STEP]

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, cv2.CV_64F, (WINDOW, WINDOW), borderType=cv2.BORDER_CONSTANT)[centres]

    share = mean(measured)
    weight = 1 / np.maximum(share, 1e-9)
    mx, my, mw = (mean(values * measured) * weight for values in (x, y, inverse))
    xx, yy = mean(x * x * measured) * weight - mx**2, mean(y * y * measured) * weight - my**2
    xy = mean(x * y * measured) * weight - mx * my
    xw, yw = mean(x * inverse * measured) * weight - mx * mw, mean(y * inverse * measured) * weight - my * mw
    ww = mean(inverse * inverse * measured) * weight - mw**2
    determinant = np.maximum(xx * yy - xy**2, 1e-18)
    a, b = (xw * yy - yw * xy) / determinant, (yw * xx - xw * xy) / determinant
    plane = np.stack([a, b, mw - a * mx - b * my], -1)
    rms = np.sqrt(np.maximum(ww - a * xw - b * yw, 0))
    rays = np.stack([x[centres], y[centres], np.ones_like(a)], -1)
    at_centre = (plane * rays).sum(-1)  # 1/z of the plane at the window's centre
    length = np.linalg.norm(plane, axis=-1)
    usable = (share >= _LEAST_MEASURED) & (rms <= _RELATIVE_RMS * mw + _ABSOLUTE_RMS)
    usable &= (at_centre > 1 / FARTHEST_M) & (at_centre < 1 / NEAREST_M)
    usable &= at_centre > _FLATTEST_RAY * length * np.linalg.norm(rays, axis=-1)
    return rays[usable] / at_centre[usable, None], -plane[usable] / length[usable, None]


def _reduced(depth_m: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 1/z (h, w), 1 or 0 where it is measured, and the intrinsics (4, 4) of the reduced image, float64."""
    measured: np.ndarray = ((depth_m > NEAREST_M) & (depth_m < FARTHEST_M)).astype(np.float32)
    inverse: np.ndarray = measured / np.where(measured > 0, depth_m, 1).astype(np.float32)
    height, width = depth_m.shape
    factor = max(1.0, max(height, width) / WIDTH)
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    if size != depth_m.shape:
        inverse = np.asarray(cv2.resize(inverse, size[::-1], interpolation=cv2.INTER_AREA))
        measured = np.asarray(cv2.resize(measured, size[::-1], interpolation=cv2.INTER_AREA))
    covered = measured >= 0.5
    reduced = np.where(covered, inverse / np.maximum(measured, 1e-6), 0).astype(np.float64)
    return reduced, covered.astype(np.float64), resized_intrinsics(intrinsics, depth_m.shape, size)


def merge_by_voxel(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the surfels of each voxel of 10 cm; voxels whose normals disagree are dropped.

    Args:
        points: (M, 3) metres.
        normals: (M, 3) unit vectors.

    Returns:
        (S, 3) mean points and (S, 3) unit normals, in lexicographic order of the voxels.
    """
    if not len(points):
        return points, normals
    cells = np.floor(points / VOXEL_M).astype(np.int64)
    cells -= cells.min(0)
    spans = cells.max(0) + 1
    codes = (cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2]
    _, voxel, count = np.unique(codes, return_inverse=True, return_counts=True)
    voxel = voxel.reshape(-1)  # numpy 2.0 keeps a dimension

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(voxel, column, len(count)) for column in values.T], 1) / count[:, None]

    mean_normals = mean(normals)
    length = np.linalg.norm(mean_normals, axis=1)
    agree = length >= _LEAST_AGREEMENT
    return mean(points)[agree], mean_normals[agree] / length[agree, None]
