"""Brings depth of one camera into another: each depth pixel is projected, the nearest surface wins. NumPy only."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from video3d_plugin.geometry.camera_checks import resized_intrinsics

_SAMPLES_PER_PIXEL = 1.1  # of the target, so that slanted surfaces have few gaps
_MOST_UNITS = 65_535  # of 16 bits; also the farthest that a float may say
_MOST_SAMPLES = 4  # per axis
_ROWS_AT_ONCE = 32  # of the depth image: what is computed of them stays in the CPU's cache


def register_depth(
    depth: np.ndarray,
    unit_m: float,
    depth_intrinsics: np.ndarray,
    color_from_depth: np.ndarray,
    color_intrinsics: np.ndarray,
    color_size: tuple[int, int],
) -> np.ndarray:
    """Return what a depth image shows, as another camera sees it.

    Every depth pixel is divided into so many samples that they cover the target. Surfaces that only the
    depth camera sees are hidden by nearer ones; what only the colour camera sees has no depth.

    Args:
        depth: (H, W) uint16 or float32 in units of `unit_m`; 0 where nothing was measured.
        unit_m: Metres per unit.
        depth_intrinsics: (4, 4) intrinsics of `depth`, pixels.
        color_from_depth: (4, 4) rigid transform from the depth camera to the colour camera, metres.
        color_intrinsics: (4, 4) intrinsics of the result, pixels.
        color_size: (height, width) of the result, pixels.

    Returns:
        (height, width) of the same type and unit; 0 where nothing was measured.
    """
    columns = np.arange(depth.shape[1])
    nearest = np.full(color_size, np.inf, np.float32)  # metres
    project = color_intrinsics[:3, :3] @ color_from_depth[:3, :3] @ np.linalg.inv(depth_intrinsics[:3, :3])
    offset = color_intrinsics[:3, :3] @ color_from_depth[:3, 3]
    downs, rights = (_sample_offsets(color_intrinsics[axis, axis] / depth_intrinsics[axis, axis]) for axis in (1, 0))
    for start in range(0, len(depth), _ROWS_AT_ONCE):
        part = depth[start : start + _ROWS_AT_ONCE]
        z, rows = part.astype(np.float64) * unit_m, start + np.arange(len(part))[:, None]
        for down, right in product(downs, rights):
            uz, vz, seen_z = (
                (a * (columns + right) + (b * (rows + down) + c)) * z + shift
                for (a, b, c), shift in zip(project, offset, strict=True)
            )
            _keep_nearest(nearest, uz, vz, seen_z, part > 0)
    units = nearest / np.float32(unit_m)
    if depth.dtype == np.uint16:
        units = np.rint(units)
    return np.where(units <= _MOST_UNITS, units, 0).astype(depth.dtype)


def registered_size(color_size: tuple[int, int], depth_size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) for depth in the colour camera: the depth's height, the colour image's field of view."""
    return depth_size[0], max(1, round(depth_size[0] * color_size[1] / color_size[0]))


def registered_intrinsics(
    intrinsics: np.ndarray, color_size: tuple[int, int], depth_size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the intrinsics and (height, width) of depth in the colour camera.

    Args:
        intrinsics: (4, 4) intrinsics of the colour image, pixels.
        color_size: (height, width) of the colour image, pixels.
        depth_size: (height, width) of the stored depth image, pixels.
    """
    size = registered_size(color_size, depth_size)
    return resized_intrinsics(intrinsics, color_size, size), size


def _sample_offsets(scale: float) -> np.ndarray:
    """Return where the samples of a pixel lie along an axis, relative to its centre; `scale`: target pixels a pixel."""
    count = min(_MOST_SAMPLES, max(1, math.ceil(scale * _SAMPLES_PER_PIXEL)))
    return (np.arange(count) + 0.5) / count - 0.5


def _keep_nearest(nearest: np.ndarray, uz: np.ndarray, vz: np.ndarray, z: np.ndarray, measured: np.ndarray) -> None:
    """Write samples to `nearest` (height, width) metres where they are nearer.

    Args:
        nearest: The target; changed.
        uz: (H, W) column in the target times `z`.
        vz: (H, W) row in the target times `z`.
        z: (H, W) depth in the target's camera, metres.
        measured: (H, W) bool, the samples that count.
    """
    height, width = nearest.shape
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u, v = np.rint(uz / z), np.rint(vz / z)
        inside = measured & (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    at = v[inside].astype(np.int64) * width + u[inside].astype(np.int64)
    np.minimum.at(nearest.reshape(-1), at, z[inside].astype(np.float32))
