"""Surfels, up, the walls' direction and the floor, on rooms whose truth is known, and on what tells nothing."""

from __future__ import annotations

import numpy as np
import pytest
from posed_rooms import around, look, view, write_posed
from scipy.spatial.transform import Rotation

from video3d_plugin.data.levelling.alignment import Alignment, z_up
from video3d_plugin.data.levelling.level import level_surfels
from video3d_plugin.data.levelling.rotation import angle_deg
from video3d_plugin.data.levelling.surfels import (
    STEP,
    WINDOW,
    Windows,
    fit_windows,
    merge_by_voxel,
    merge_windows,
    read_windows,
)
from video3d_plugin.data.levelling.yaw import find_yaw
from video3d_plugin.data.readers import load_scene

Z = np.array([0, 0, 1.0])
GIVEN = Alignment(up=Z, source="that of gravity.txt")


def windows_of(views):
    return [Windows(*fit_windows(v.depth_m.astype(np.float32), v.intrinsics), v.pose) for v in views]


@pytest.fixture(scope="module")
def room():
    return windows_of([view(pose) for pose in around(16)])


def moved(windows, rotation, offset):
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, offset
    return [Windows(w.points, w.normals, move @ w.scan_from_camera) for w in windows]


def plain_windows(depth_m, camera):
    """An independent, slow twin of `fit_windows`: least squares by NumPy, one window at a time."""
    found = {}
    half = WINDOW // 2
    for row in range(half, depth_m.shape[0] - half, STEP):
        for column in range(half, depth_m.shape[1] - half, STEP):
            rows, columns = np.mgrid[row - half : row + half + 1, column - half : column + half + 1]
            z = depth_m[rows, columns]
            known = (z > 0.25) & (z < 6)
            if known.mean() < 0.6:
                continue
            x, y = (columns - camera[0, 2]) / camera[0, 0], (rows - camera[1, 2]) / camera[1, 1]
            a = np.stack([x[known], y[known], np.ones(known.sum())], 1)
            plane, *_ = np.linalg.lstsq(a, 1 / z[known], rcond=None)
            rms = np.sqrt(((a @ plane - 1 / z[known]) ** 2).mean())
            ray = np.array([(column - camera[0, 2]) / camera[0, 0], (row - camera[1, 2]) / camera[1, 1], 1])
            normal = -plane / np.linalg.norm(plane)
            sine = abs(normal @ ray) / np.linalg.norm(ray)
            if rms <= 0.02 * (1 / z[known]).mean() + 0.004 and sine > np.sin(np.radians(9)):
                found[row, column] = (ray / (plane @ ray), normal)
    return found


def test_windows_agree_with_least_squares_one_by_one():
    rng = np.random.default_rng(0)
    v = view(around(8)[1])
    depth = v.depth_m + rng.normal(size=v.depth_m.shape) * 0.002 * v.depth_m**2
    depth[rng.random(depth.shape) < 0.1] = 0
    depth[10:25, 30:50] = 0
    points, normals = fit_windows(depth.astype(np.float32), v.intrinsics)
    expected = plain_windows(depth.astype(np.float32).astype(np.float64), v.intrinsics)
    assert len(points) == len(expected) > 150
    np.testing.assert_allclose(points, [p for p, _ in expected.values()], rtol=1e-5)
    np.testing.assert_allclose(normals, [n for _, n in expected.values()], atol=1e-5)


def test_a_large_image_is_reduced_and_gives_the_same_planes():
    v = view(look([0, 0, 1.5], [0, 0.8, 0]), size=(480, 640), things=())
    points, normals = fit_windows(v.depth_m.astype(np.float32), v.intrinsics)
    world = normals @ v.pose[:3, :3].T
    height = (points @ v.pose[:3, :3].T + v.pose[:3, 3])[:, 2]
    floor = height < 0.02
    assert floor.sum() > 300
    off = np.abs(world[floor] - Z).max(1)
    assert (off < 2e-3).mean() > 0.95  # the others lie across the edge to the wall


@pytest.mark.parametrize("size", [(480, 640), (960, 1280), (1000, 1500)])
def test_a_very_large_image_is_thinned_and_gives_the_same_floor(tmp_path, size):
    write_posed(tmp_path / "scan", [view(look([0, 0, 1.5], [0, 2, 0]), size=size)])
    surfels = merge_windows(read_windows(load_scene(tmp_path / "scan", align="none").frames))
    floor = surfels.points[surfels.normals[:, 2] > 0.999]
    assert len(floor) > 400 and np.abs(floor[:, 2] + 1.5).max() < 0.005  # relative to the camera


@pytest.mark.parametrize("depth", [np.zeros((48, 64)), np.full((48, 64), 50.0), np.zeros((3, 2)), np.full((1, 1), 2.0)])
def test_images_without_a_usable_window_give_nothing(depth):
    points, normals = fit_windows(depth.astype(np.float32), np.diag([50.0, 50, 1, 1]))
    assert points.shape == normals.shape == (0, 3)


def test_voxels_average_and_drop_what_disagrees():
    points = np.array([[0.01, 0, 0], [0.03, 0, 0], [1.01, 0, 0], [1.02, 0, 0]])
    normals = np.array([Z, Z, Z, -Z])
    merged, unit = merge_by_voxel(points, normals)
    np.testing.assert_allclose(merged, [[0.02, 0, 0]])
    np.testing.assert_allclose(unit, [Z])


@pytest.mark.parametrize("seed", range(6))
def test_a_room_in_any_rotation_and_place_is_levelled(room, seed):
    rng = np.random.default_rng(seed)
    rotation, offset = Rotation.random(random_state=seed).as_matrix(), rng.uniform(-1000, 1000, 3)
    result = level_surfels(merge_windows(moved(room, rotation, offset)))
    assert result.up is not None and angle_deg(result.up, rotation @ Z) < 0.5
    assert result.yaw.found and result.floor.seen and "floor at z = 0" in result.note
    assert result.note.kind == "assumption"
    back = result.world_from_scan @ np.block([[rotation, offset[:, None]], [np.zeros(3), 1]])
    wall = back[:3, :3] @ [1, 0, 0]
    assert abs((np.degrees(np.arctan2(wall[1], wall[0])) + 45) % 90 - 45) < 0.5
    corners = (
        np.array([[x, y, z] for x in (-3, 3) for y in (-2.5, 2.5) for z in (0, 2.7)]) @ back[:3, :3].T + back[:3, 3]
    )
    assert abs(corners[:, 2].min()) < 0.02  # the floor
    assert np.abs(corners.mean(0)[:2]).max() < 0.1  # the middle


def test_noise_holes_and_drift_are_borne():
    rng, views = np.random.default_rng(1), []
    for number, pose in enumerate(around(16)):
        v = view(pose)
        depth = v.depth_m + rng.normal(size=v.depth_m.shape) * 0.0015 * v.depth_m**2
        depth[rng.random(depth.shape) < 0.05] = 0
        drift = np.eye(4)
        drift[:3, :3] = Rotation.from_rotvec(np.radians([0.6, -0.5, 0.6]) * number / 15).as_matrix()
        drift[:3, 3] = np.array([0.02, 0.01, 0.02]) * number / 15
        views.append(Windows(*fit_windows(depth.astype(np.float32), v.intrinsics), drift @ v.pose))
    rotation = Rotation.random(random_state=3).as_matrix()
    result = level_surfels(merge_windows(moved(views, rotation, np.zeros(3))))
    assert result.up is not None and angle_deg(result.up, rotation @ Z) < 2


def test_with_a_known_up_only_walls_and_floor_are_found(room):
    tilted = moved(room, Rotation.from_euler("xz", [10, 30], degrees=True).as_matrix(), np.zeros(3))
    result = level_surfels(merge_windows(tilted), GIVEN)
    np.testing.assert_array_equal(result.world_from_scan[:3, :3][2], Z)  # up is not touched
    assert result.note.startswith("levelled: up is that of gravity.txt") and result.note.kind == "information"
    guessed = level_surfels(merge_windows(tilted)).note
    assert guessed.kind == "assumption" and guessed.endswith("--align") and "--align" not in result.note
    straight = moved(room, Rotation.from_euler("z", 30, degrees=True).as_matrix(), np.zeros(3))
    result = level_surfels(merge_windows(straight), GIVEN)
    assert result.yaw.found and abs(result.yaw.angle_deg - 30) < 0.5


def test_a_known_up_that_the_frames_contradict_is_said(room):
    lying = moved(room, Rotation.from_euler("x", 90, degrees=True).as_matrix(), np.zeros(3))
    note = level_surfels(merge_windows(lying), GIVEN).note
    assert "the frames suggest another up, 90 degrees off" in note
    numbers = [float(word) for word in note.split("gravity.txt: ")[1].split()]
    np.testing.assert_allclose(numbers, [0, 1, 0], atol=0.02)  # down: -z turned by 90 degrees about x


def test_a_format_whose_convention_is_clearly_broken_is_not_believed(room):
    lying = moved(room, Rotation.from_euler("x", 90, degrees=True).as_matrix(), np.zeros(3))
    result = level_surfels(merge_windows(lying), z_up("ScanNet"))
    np.testing.assert_allclose(result.up, [0, -1, 0], atol=0.02)
    assert "not z in ScanNet, from which the frames differ by 90 degrees" in result.note
    tilted = moved(room, Rotation.from_euler("x", 20, degrees=True).as_matrix(), np.zeros(3))
    result = level_surfels(merge_windows(tilted), z_up("ScanNet"))
    np.testing.assert_array_equal(result.up, Z)
    assert "the frames suggest another up, 20 degrees off" in result.note


def junk():
    wall = np.array([[-50.0, -50, -50], [3, 50, 50]])
    facing = [look([0, y, 0], [3, y, 0.2]) for y in np.linspace(-1, 1, 8)]
    from_above = [look([0, y, 2], [3, y, -1]) for y in np.linspace(-1, 1, 8)]
    rng = np.random.default_rng(0)
    yield "one frame", windows_of([view(around(8)[0])])
    yield "one wall", windows_of([view(p, room=wall, things=()) for p in facing])
    yield "one wall from above", windows_of([view(p, room=wall, things=()) for p in from_above])
    yield "no frame", []
    yield (
        "no depth",
        windows_of([view(p) for p in facing])[:0] + [Windows(np.zeros((0, 3)), np.zeros((0, 3)), facing[0])] * 3,
    )
    poses = [
        np.block([[Rotation.random(random_state=rng).as_matrix(), np.zeros((3, 1))], [np.zeros(3), 1]])
        for _ in range(9)
    ]
    scattered = windows_of([view(p) for p in around(9)])
    yield "poses without meaning", [Windows(w.points, w.normals, p) for w, p in zip(scattered, poses, strict=True)]


@pytest.mark.parametrize("windows", [pytest.param(w, id=name) for name, w in junk()])
def test_what_does_not_tell_up_is_never_called_found(windows):
    for seed in range(5):
        rotation = Rotation.random(random_state=seed).as_matrix()
        result = level_surfels(merge_windows(moved(windows, rotation, np.zeros(3))))
        assert result.up is None and result.yaw is None and result.floor is None
        assert (result.world_from_scan[:3, :3] == np.eye(3)).all()
        assert result.note.startswith("not levelled: up is not known") and "gravity.txt" in result.note


def test_a_floor_that_no_frame_shows_is_not_made_up():
    level = [look([np.cos(a), np.sin(a), 1.5], [3 * np.cos(a), 3 * np.sin(a), 1.9]) for a in np.arange(0, 6.2, 0.5)]
    result = level_surfels(merge_windows(windows_of([view(p) for p in level])), GIVEN)
    assert result.floor is not None and not result.floor.seen and "floor not seen" in result.note


def test_round_walls_have_no_direction():
    angle = np.radians(np.random.default_rng(0).uniform(0, 360, 2000))
    yaw = find_yaw(np.stack([np.cos(angle), np.sin(angle), np.zeros(2000)], 1))
    assert not yaw.found and yaw.share < 0.2
    assert not find_yaw(np.tile(Z, (500, 1))).found


def test_surfels_do_not_depend_on_where_the_scan_lies(room):
    here, there = merge_windows(room), merge_windows(moved(room, np.eye(3), [500_000.0, 5_400_000, 120]))
    np.testing.assert_array_equal(here.points, there.points)
    np.testing.assert_array_equal(here.normals, there.normals)
