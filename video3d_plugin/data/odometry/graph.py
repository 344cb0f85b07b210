"""A graph of keyframes whose edges are measured motions: its poses, and how uncertain they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.data.odometry.motion import Motion, exponential, logarithm

_NOISE = 0.02  # metres and radians of a motion on which _USUAL features agree
_USUAL, _MOST = 50, 150
_STEPS = 12
_SETTLED = 1e-6
_CONTRADICTED = 0.3  # weight (Cauchy) below which an edge is contradicted by the others


@dataclass(frozen=True)
class Edge:
    """A motion between the keyframes of these numbers."""

    first: int
    second: int
    motion: Motion


@dataclass(frozen=True)
class GraphPoses:
    """Poses that fit the edges of a graph best.

    Attributes:
        poses: (N, 4, 4) float64 first keyframe from keyframe, metres.
        deviation_m: Largest standard deviation of a keyframe's position from the first.
        deviation_deg: Largest standard deviation of its direction, degrees.
        contradicted: Share of the edges that the others contradict.
    """

    poses: np.ndarray
    deviation_m: float
    deviation_deg: float
    contradicted: float


def fit_poses(poses: np.ndarray, edges: list[Edge]) -> GraphPoses:
    """Fit the poses of keyframes to the motions between them; edges that the others contradict count little.

    Args:
        poses: (N, 4, 4) poses to begin with, N of at least 2; the first stays.
        edges: The motions, among them one between each keyframe and the next.
    """
    poses = poses.copy()
    size = 6 * (len(poses) - 1)
    for _ in range(_STEPS):
        system, right, weights, squares = _equations(poses, edges)
        system = system[6:, 6:] + 1e-9 * np.eye(size)
        change = -np.linalg.solve(system, right[6:]).reshape(-1, 6)
        poses[1:] = [pose @ exponential(step) for pose, step in zip(poses[1:], change, strict=True)]
        if np.abs(change).max() < _SETTLED:
            break
    free = max(6 * len(edges) - size, 1)
    scale = max(1.0, float(np.sum(squares)) / free)  # the motions may be worse than they are taken for
    variances = scale * np.diag(np.linalg.inv(system)).reshape(-1, 2, 3).sum(2)
    turn, move = np.sqrt(variances.max(0))
    return GraphPoses(poses, float(move), float(np.degrees(turn)), float(np.mean(weights < _CONTRADICTED)))


def _equations(poses: np.ndarray, edges: list[Edge]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the normal equations of all poses, and of each edge the robust weight and the weighted squares."""
    system, right = np.zeros((6 * len(poses), 6 * len(poses))), np.zeros(6 * len(poses))
    weights, squares = np.ones(len(edges)), np.zeros(len(edges))
    for number, edge in enumerate(edges):
        between = np.linalg.inv(poses[edge.first]) @ poses[edge.second]
        residual = logarithm(np.linalg.inv(edge.motion.to_first) @ between)
        weights[number] = 1 / (1 + (residual @ residual) / _NOISE**2)
        weight = weights[number] * min(edge.motion.agreeing, _MOST) / _USUAL / _NOISE**2
        squares[number] = weight * (residual @ residual)
        slope = -_adjoint(np.linalg.inv(between))
        a, b = (slice(6 * place, 6 * place + 6) for place in (edge.first, edge.second))
        right[a] += weight * slope.T @ residual
        right[b] += weight * residual
        system[a, a] += weight * slope.T @ slope
        system[b, b] += weight * np.eye(6)
        system[a, b] += weight * slope.T
        system[b, a] += weight * slope
    return system, right, weights, squares


def _adjoint(motion: np.ndarray) -> np.ndarray:
    """Return the (6, 6) matrix that brings small motions from one frame of reference into another."""
    x, y, z = motion[:3, 3]
    turn = motion[:3, :3]
    result = np.zeros((6, 6))
    result[:3, :3] = result[3:, 3:] = turn
    result[3:, :3] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ turn
    return result
