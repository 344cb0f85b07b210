"""The motion between two frames: from matched image features, then fitted to the depth of both.

On the red kitchen of 7-Scenes, OpenCV's cv2.Odometry is off by more than 30 cm between one frame in ten
and its keyframe, and does not say so. Features alone are off by 7 cm in one of a hundred, and say how many agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.odometry.views import View

_RATIO = 0.8  # of the distances to the best and the second best match (Lowe, 2004)
_PIXELS = 2.0  # of reprojection, for a match to agree
_LEAST_MATCHES, _LEAST_AGREEING, _LEAST_SHARE = 12, 25, 0.35
_MOST_APART = 0.12, np.radians(4)  # of the poses from either frame's depth: metres, radians
_STEPS = 8
_FAR_M, _NEAR_M = 0.15, 0.07  # between points of the two surfaces that are fitted: first, and after three steps
_DEPTH_NOISE = 0.005, 0.003  # metres, and metres per square metre of distance
_FEATURE_NOISE = 8.0  # pixels: the features only decide what the depth leaves open
_MOST_FEATURES, _MOST_POINTS = 60, 300  # that count as independent
_SETTLED = 2e-4  # metres and radians


@dataclass(frozen=True)
class Motion:
    """A motion between two frames.

    Attributes:
        to_first: (4, 4) float64 first camera from second camera, metres.
        agreeing: Number of matched features that agree with it.
    """

    to_first: np.ndarray
    agreeing: int


def find_motion(first: View, second: View) -> Motion | None:
    """Return the motion between two frames; None if too few features agree on one. Takes about 25 ms.

    The pose of the second frame is computed twice: from the points of either frame in the image of the other. Both have
    to agree. Their mean is then fitted to the surfaces (point to plane).
    """
    matches = _matches(first, second)
    if len(matches) < _LEAST_MATCHES:
        return None
    to_second, count = _seen(first.points[matches[:, 0]], second.pixels[matches[:, 1]], second.camera)
    to_first, other_count = _seen(second.points[matches[:, 1]], first.pixels[matches[:, 0]], first.camera)
    agreeing = min(count, other_count)
    if to_first is None or to_second is None or agreeing < _LEAST_AGREEING:
        return None
    apart = logarithm(np.linalg.inv(to_first) @ np.linalg.inv(to_second))
    if np.linalg.norm(apart[3:]) > _MOST_APART[0] or np.linalg.norm(apart[:3]) > _MOST_APART[1]:
        return None
    points, pixels = second.points[matches[:, 1]].astype(np.float64), first.pixels[matches[:, 0]]
    fitted = _fit(first, second.samples, to_first @ exponential(apart / 2), points, pixels)
    return None if fitted is None else Motion(fitted, agreeing)


def logarithm(motion: np.ndarray) -> np.ndarray:
    """Return the rotation vector and the translation of a (4, 4) motion, (6,) radians and metres."""
    from scipy.spatial.transform import Rotation

    return np.concatenate([Rotation.from_matrix(motion[:3, :3]).as_rotvec(), motion[:3, 3]])


def exponential(values: np.ndarray) -> np.ndarray:
    """Return the (4, 4) motion of a rotation vector and a translation, (6,) radians and metres."""
    from scipy.spatial.transform import Rotation

    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_rotvec(values[:3]).as_matrix(), values[3:]
    return motion


def _matches(first: View, second: View) -> np.ndarray:
    """Return the indices of matched features in both frames, (N, 2)."""
    import cv2

    if min(len(first.descriptors), len(second.descriptors)) < _LEAST_MATCHES:
        return np.zeros((0, 2), int)
    pairs = cv2.BFMatcher().knnMatch(second.descriptors, first.descriptors, k=2)
    good = [(best.trainIdx, best.queryIdx) for best, other in pairs if best.distance < _RATIO * other.distance]
    return np.array(good, int).reshape(-1, 2)


def _seen(points: np.ndarray, pixels: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Return the (4, 4) camera from points of which these pixels are the image, and how many agree with it."""
    import cv2

    has = points[:, 2] > 0
    points, pixels = points[has], pixels[has]
    if len(points) < _LEAST_MATCHES:
        return None, 0
    found, turn, move, inliers = cv2.solvePnPRansac(
        points, pixels, camera, None, iterationsCount=100, reprojectionError=_PIXELS, flags=cv2.SOLVEPNP_EPNP
    )
    if not found or inliers is None or len(inliers) < max(_LEAST_MATCHES, _LEAST_SHARE * len(points)):
        return None, 0
    agree = inliers.ravel()
    turn, move = cv2.solvePnPRefineLM(points[agree], pixels[agree], camera, None, turn, move)
    values = np.concatenate([np.ravel(turn), np.ravel(move)])
    return (exponential(values), len(agree)) if np.isfinite(values).all() else (None, 0)


def _fit(
    first: View, samples: np.ndarray, motion: np.ndarray, points: np.ndarray, pixels: np.ndarray
) -> np.ndarray | None:
    """Return the motion that brings the samples onto the first frame's surface; features hold what that leaves open.

    Args:
        first: The first frame.
        samples: (M, 3) points of the second frame.
        motion: (4, 4) first from second, to begin with.
        points: (N, 3) features of the second frame, metres; 0 without depth.
        pixels: (N, 2) where the first frame sees them.
    """
    has = points[:, 2] > 0
    points, pixels = points[has], pixels[has]
    off = np.linalg.norm(_project(_moved(points, motion), first.camera) - pixels, axis=1)
    points, pixels = points[off < 2 * _PIXELS], pixels[off < 2 * _PIXELS]
    for step in range(_STEPS):
        weights, right = _of_surface(first, _moved(samples, motion), _FAR_M if step < 3 else _NEAR_M)
        more, more_right = _of_features(_moved(points, motion), pixels, first.camera)
        change = np.linalg.solve(weights + more + 1e-6 * np.eye(6), right + more_right)
        if not np.isfinite(change).all():
            return None
        motion = exponential(change) @ motion
        if np.abs(change).max() < _SETTLED:
            break
    return motion


def _moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return points @ motion[:3, :3].T + motion[:3, 3]


def _project(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    z = np.where(points[:, 2:] > 0.1, points[:, 2:], np.inf)
    return points[:, :2] / z * camera[[0, 1], [0, 1]] + camera[:2, 2]


def _of_surface(first: View, points: np.ndarray, within_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the normal equations, (6, 6) and (6,), of the points' distances to the first frame's surface."""
    column, row = np.rint(_project(points, first.camera)).astype(int).T
    height, width = first.is_smooth.shape
    seen = np.flatnonzero((points[:, 2] > 0.2) & (column >= 0) & (column < width) & (row >= 0) & (row < height))
    seen = seen[first.is_smooth[row[seen], column[seen]]]
    target, points = first.surface[row[seen], column[seen]], points[seen]
    near = np.abs(target[:, 2] - points[:, 2]) < within_m
    normal, target, points = first.normals[row[seen], column[seen]][near], target[near], points[near]
    distance = ((target - points) * normal).sum(1)
    noise = _DEPTH_NOISE[0] + _DEPTH_NOISE[1] * points[:, 2] ** 2
    weight = min(1.0, _MOST_POINTS / max(len(points), 1)) / (noise**2 * (1 + (distance / noise / 2) ** 2))
    slope = np.concatenate([np.cross(points, normal), normal], 1)
    return (slope * weight[:, None]).T @ slope, (slope * weight[:, None]).T @ distance


def _of_features(points: np.ndarray, pixels: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the normal equations of the features' distances in the first image."""
    weights, right = np.zeros((6, 6)), np.zeros(6)
    off = pixels - _project(points, camera)
    share = min(1.0, _MOST_FEATURES / max(len(points), 1))
    for axis in (0, 1):
        change = np.zeros_like(points)
        change[:, axis] = camera[axis, axis] / points[:, 2]
        change[:, 2] = -camera[axis, axis] * points[:, axis] / points[:, 2] ** 2
        slope = np.concatenate([np.cross(points, change), change], 1)
        weight = share / (_FEATURE_NOISE**2 * (1 + (off[:, axis] / _FEATURE_NOISE) ** 2))
        weights += (slope * weight[:, None]).T @ slope
        right += (slope * weight[:, None]).T @ off[:, axis]
    return weights, right
