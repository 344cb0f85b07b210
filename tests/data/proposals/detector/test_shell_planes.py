"""Floor, ceiling and walls of a room, as planes."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.data.proposals.detector.shell_planes import find_shell


def sides(low, high, step=0.04):
    """Points on the six sides of a box."""
    low, high = np.array(low, float), np.array(high, float)
    parts = []
    for axis in range(3):
        u, v = (i for i in range(3) if i != axis)
        grid = np.meshgrid(np.arange(low[u], high[u], step), np.arange(low[v], high[v], step))
        for value in (low[axis], high[axis]):
            part = np.full((grid[0].size, 3), value)
            part[:, u], part[:, v] = grid[0].ravel(), grid[1].ravel()
            parts.append(part)
    return np.concatenate(parts)


@pytest.mark.parametrize("yaw", [0, 30])
@pytest.mark.parametrize("noise_m", [0, 0.015])
def test_the_shell_of_a_room_is_found_and_its_furniture_is_not(yaw, noise_m):
    room, table = sides([-2, -1.5, 0], [2, 1.5, 2.5]), sides([-0.5, -0.4, 0.1], [0.6, 0.4, 0.75])
    points = np.concatenate([room, table]) + np.random.RandomState(0).normal(0, noise_m, (len(room) + len(table), 3))
    turn = np.eye(3)
    angle = np.radians(yaw)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    shell = find_shell(points @ turn.T)
    on = shell.contains(points @ turn.T)
    assert on[: len(room)].mean() > 0.97 and on[len(room) :].mean() < 0.05


def test_the_order_of_points_does_not_matter():
    points = sides([-2, -1.5, 0], [2, 1.5, 2.5])
    shuffled = points[np.random.RandomState(1).permutation(len(points))]
    one, other = find_shell(points), find_shell(shuffled)
    assert np.array_equal(one.normals, other.normals) and np.allclose(one.offsets, other.offsets)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((5, 3)), sides([0, 0, 0], [0.5, 0.5, 0.5])])
def test_what_is_too_small_has_no_shell(points):
    shell = find_shell(points)
    assert len(shell.offsets) == 0 and not shell.contains(points).any()
