"""Rotations between the scan frame and the level frame."""

from __future__ import annotations

import numpy as np


def shortest_rotation(up: np.ndarray) -> np.ndarray:
    """Return the (3, 3) float64 rotation that turns the unit vector `up` (3,) to z by the shortest way."""
    z = np.array([0.0, 0.0, 1.0])
    axis, cosine = np.cross(up, z), float(up @ z)
    if cosine < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    x, y, w = axis
    skew = np.array([[0, -w, y], [w, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def about_z(angle_deg: float) -> np.ndarray:
    """Return the (3, 3) float64 rotation about z by an angle in degrees."""
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Return the angle between two unit vectors (3,), degrees."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))
