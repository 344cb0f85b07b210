"""A frame as visual odometry sees it: image features with their points, and a surface with normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.frames import open_color, read_depth_m
from video3d_plugin.geometry.camera_checks import resized_intrinsics
from video3d_plugin.scene import Frame

_SIDE = 320  # pixels along the longer side
_DEPTHS_M = 0.3, 4.5  # of the depth in use: farther away, sensors are too coarse
_FEATURES = 600
_CONTRAST = 0.02  # of SIFT: half of the usual, for blurred frames
_REACH = 3  # pixels to each side that a normal is computed from
_STRIDE = 5  # of the points that are fitted to another frame
_STEEPEST = 0.06, 0.06  # metres, and share of the depth, across a normal's neighbourhood: more is an edge


@dataclass(frozen=True)
class View:
    """A decoded frame of at most 320 pixels. Points are in its camera's frame, metres.

    Attributes:
        name: Name of the frame.
        camera: (3, 3) float64 intrinsics.
        pixels: (N, 2) float32 column and row of its features.
        descriptors: (N, 128) float32.
        points: (N, 3) float32; 0 for features without depth.
        surface: (H, W, 3) float32 point of each pixel.
        normals: (H, W, 3) float32.
        is_smooth: (H, W) bool: pixels that have a normal.
        samples: (M, 3) float64: some of the points that have one.
    """

    name: str
    camera: np.ndarray
    pixels: np.ndarray
    descriptors: np.ndarray
    points: np.ndarray
    surface: np.ndarray
    normals: np.ndarray
    is_smooth: np.ndarray
    samples: np.ndarray


def read_view(frame: Frame) -> View:
    """Decode a frame for odometry; takes about 40 ms for one of 640x480.

    Raises:
        DataError: An image cannot be decoded.
    """
    import cv2

    depth_m = read_depth_m(frame)
    scale = min(1.0, _SIDE / max(depth_m.shape))
    height, width = (max(16, round(side * scale)) for side in depth_m.shape)
    rows = ((np.arange(height) + 0.5) * depth_m.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * depth_m.shape[1] / width).astype(int)
    small = depth_m[rows[:, None], columns]
    small = np.where((small > _DEPTHS_M[0]) & (small < _DEPTHS_M[1]), small, np.float32(0))
    camera = resized_intrinsics(frame.depth_intrinsics, frame.depth_size, (height, width))[:3, :3]
    color = np.asarray(open_color(frame).convert("L"))
    grey = cv2.resize(color, (width, height), interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create(_FEATURES, contrastThreshold=_CONTRAST)  # type: ignore[attr-defined]
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    pixels = np.array([keypoint.pt for keypoint in keypoints], np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    # square roots of normed histograms match better (Arandjelovic and Zisserman, 2012)
    descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
    nearest = np.rint(pixels).astype(int).clip(0, [width - 1, height - 1])
    points = _back_projected(pixels, small[nearest[:, 1], nearest[:, 0]], camera)
    surface, normals, is_smooth = _surface(cv2.medianBlur(small, 5), camera)
    some = slice(None, None, _STRIDE)
    samples = surface[some, some][is_smooth[some, some]].astype(np.float64)
    return View(frame.name, camera, pixels, descriptors, points, surface, normals, is_smooth, samples)


def _back_projected(pixels: np.ndarray, depth_m: np.ndarray, camera: np.ndarray) -> np.ndarray:
    rays = (pixels - camera[:2, 2]) / camera[[0, 1], [0, 1]]
    return np.concatenate([rays * depth_m[..., None], depth_m[..., None]], -1).astype(np.float32)


def _surface(depth_m: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the point and the normal of each pixel, and which pixels have one."""
    height, width = depth_m.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    surface = _back_projected(np.stack([columns, rows], -1), depth_m, camera)
    across, down = np.zeros_like(surface), np.zeros_like(surface)
    is_smooth = np.zeros(depth_m.shape, bool)
    r = _REACH
    across[:, r:-r] = surface[:, 2 * r :] - surface[:, : -2 * r]
    down[r:-r] = surface[2 * r :] - surface[: -2 * r]
    has = depth_m > 0
    is_smooth[r:-r, r:-r] = has[r:-r, r:-r] & has[r:-r, 2 * r :] & has[r:-r, : -2 * r] & has[2 * r :, r:-r]
    is_smooth[r:-r, r:-r] &= has[: -2 * r, r:-r]
    steepest = _STEEPEST[0] + _STEEPEST[1] * depth_m
    is_smooth &= (np.abs(across[..., 2]) < steepest) & (np.abs(down[..., 2]) < steepest)
    normals = np.cross(across, down)
    length = np.linalg.norm(normals, axis=2)
    is_smooth &= length > 0
    return surface, normals / np.maximum(length, 1e-12)[..., None], is_smooth
