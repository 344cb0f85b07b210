"""The faults of a real capture: depth noise and holes, exposure, inexact poses."""

from __future__ import annotations

import numpy as np

MAX_DEPTH_M = 6.0  # structured-light sensors see no further


def noisy_depth(depth_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise that grows with the square of the distance, and holes (0) at depth edges, in patches, at random and far
    away.

    Args:
        depth_m: (H, W) metres.
        rng: Draws the noise.
    """
    noise = rng.standard_normal(depth_m.shape, dtype=np.float32) * (0.001 + 0.0015 * depth_m**2)
    out = depth_m + noise
    jump = 0.06 * depth_m
    edge = np.zeros(depth_m.shape, bool)
    edge[:, 1:] |= np.abs(np.diff(depth_m, axis=1)) > jump[:, 1:]
    edge[1:] |= np.abs(np.diff(depth_m, axis=0)) > jump[1:]
    hole = edge & (rng.random(depth_m.shape, dtype=np.float32) < 0.7)
    hole |= rng.random(depth_m.shape, dtype=np.float32) < 0.01
    height, width = depth_m.shape
    rows, columns = np.ogrid[:height, :width]
    for _ in range(int(rng.integers(1, 5))):
        y, x = rng.integers(height), rng.integers(width)
        a, b = rng.uniform(0.02, 0.08) * height, rng.uniform(0.02, 0.08) * width
        hole |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
    out[hole | (depth_m > MAX_DEPTH_M)] = 0
    return np.maximum(out, 0)


def noisy_color(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the exposure and add vignetting and sensor noise.

    Args:
        rgb: (H, W, 3) uint8.
        rng: Draws the noise.
    """
    height, width = rgb.shape[:2]
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    falloff = 1 - 0.12 * (rows**2 + columns**2) / 2
    gain = rng.uniform(0.82, 1.12) * rng.uniform(0.96, 1.04, 3)
    noise = rng.standard_normal(rgb.shape, dtype=np.float32) * 4
    return np.clip(np.rint(rgb * falloff[..., None] * gain + noise), 0, 255).astype(np.uint8)


def noisy_pose(world_from_camera: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Perturb a pose by about a centimetre and half a degree, as tracking does.

    Args:
        world_from_camera: (4, 4) metres.
        rng: Draws the noise.
    """
    vector = np.radians(rng.normal(0, 0.4, 3))
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / max(angle, 1e-12)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    pose = world_from_camera.copy()
    pose[:3, :3] = rotation @ pose[:3, :3]
    pose[:3, 3] += rng.normal(0, 0.008, 3)
    return pose
