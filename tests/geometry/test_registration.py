"""Depth of one camera as another sees it: worked by hand, empty, hidden surfaces, and against ray casting."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.geometry.registration import register_depth, registered_intrinsics

UNIT_M = 0.001


def camera(focal, u=15.5, v=11.5):
    matrix = np.eye(4)
    matrix[[0, 1, 0, 1], [0, 1, 2, 2]] = focal, focal, u, v
    return matrix


def shift(x=0.0, y=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def test_the_same_camera_changes_nothing():
    depth = np.random.default_rng(0).integers(0, 5000, (24, 32)).astype(np.uint16)
    got = register_depth(depth, UNIT_M, camera(30), np.eye(4), camera(30), (24, 32))
    np.testing.assert_array_equal(got, depth)


def test_a_wall_moves_by_focal_length_times_baseline_over_distance():
    depth = np.full((24, 32), 2000, np.uint16)
    depth[10, 20] = 1000  # a pixel that stands out
    got = register_depth(depth, UNIT_M, camera(40), shift(x=-0.1), camera(40), (24, 32))
    assert got[10, 16] == 1000  # 40 * 0.1 / 1 = 4 pixels to the left
    assert got[10, 18] == 0  # 40 * 0.1 / 2 = 2: where the wall's pixel (10, 20) would have been
    assert (got[:, 30:] == 0).all() and (got[0, :30] == 2000).all()


def test_the_nearest_surface_hides_the_others():
    depth = np.full((24, 32), 4000, np.uint16)
    depth[:, 16:] = 1000
    got = register_depth(depth, UNIT_M, camera(40), shift(x=-0.2), camera(40), (24, 32))
    assert (got[:, 8:24] == 1000).all()  # shifted by 8 over the wall, which is shifted by 2
    assert (got[:, :8] == 4000).all()


def test_a_finer_target_has_no_gaps():
    depth = np.full((24, 32), 2000, np.uint16)
    got = register_depth(depth, UNIT_M, camera(40), shift(z=0.5), camera(80, 31.5, 23.5), (48, 64))
    assert (got[6:-6, 8:-8] == 2500).all()


def test_a_slanted_plane_is_where_a_ray_meets_it():
    """z = 2 + 0.5 x in the depth camera; the colour camera is turned by 5 degrees and 4 cm aside."""
    depth_camera, color_camera = camera(60, 31.5, 23.5), camera(50, 31.5, 23.5)
    v, u = np.mgrid[:48, :64].astype(np.float64)
    plane = 2 / (1 - 0.5 * (u - 31.5) / 60)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.087), 0, np.sin(0.087)], [0, 1, 0], [-np.sin(0.087), 0, np.cos(0.087)]]
    color_from_depth = shift(x=-0.04) @ turn
    got = register_depth(
        np.rint(plane * 1000).astype(np.uint16), UNIT_M, depth_camera, color_from_depth, color_camera, (48, 64)
    )
    normal, origin = turn[:3, :3] @ [-0.5, 0, 1], color_from_depth[:3, 3]
    rays = np.stack([(u - 31.5) / 50, (v - 23.5) / 50, np.ones_like(u)])
    expected = (2 + normal @ origin) / np.tensordot(normal, rays, 1)
    seen = got > 0
    assert seen[8:-8, 16:-16].mean() > 0.99
    assert np.abs(got[seen] / 1000 - expected[seen]).max() < 0.06  # half a pixel of the slope


@pytest.mark.parametrize("unit_m, dtype", [(0.001, np.uint16), (1.0, np.float32)])
def test_units_and_types_are_kept(unit_m, dtype):
    depth = np.full((24, 32), 2 / unit_m, dtype)
    got = register_depth(depth, unit_m, camera(40), shift(z=0.25), camera(40), (24, 32))
    assert got.dtype == dtype and got[12, 16] * unit_m == pytest.approx(2.25, abs=1e-6)


def test_nothing_measured_is_nothing_registered():
    nothing = np.zeros((4, 5), np.uint16)
    got = register_depth(nothing, UNIT_M, camera(40), shift(z=0.05), camera(40), (24, 32))
    assert got.shape == (24, 32) and not got.any()


def test_what_lies_behind_the_colour_camera_is_not_seen():
    depth = np.full((4, 5), 500, np.uint16)
    assert not register_depth(depth, UNIT_M, camera(40), shift(z=-0.5), camera(40), (4, 5)).any()


def test_the_result_has_the_field_of_view_of_the_colour_image():
    matrix, size = registered_intrinsics(camera(1000, 959.5, 539.5), (1080, 1920), (480, 640))
    assert size == (480, 853)
    assert matrix[0, 0] == pytest.approx(1000 * 853 / 1920) and matrix[1, 1] == pytest.approx(1000 * 480 / 1080)
