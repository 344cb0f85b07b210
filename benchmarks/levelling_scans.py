"""Scans with known up for the benchmark of levelling: made-up rooms, with noise, and in ways that make it hard."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from video3d_plugin.data.levelling.surfels import Windows, fit_windows
from video3d_plugin.mini.rooms.furnishing import make_room
from video3d_plugin.mini.rooms.paths import camera_path, look_at
from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics
from video3d_plugin.mini.rooms.rooms import Room

SIZE = (120, 160)  # of depth images, pixels; larger ones are reduced to it anyway
_CAMERA = intrinsics(*SIZE)


@dataclass(frozen=True)
class Case:
    """A scan and what is true of it.

    Attributes:
        windows: What its frames show, in its own frame.
        up: (3,) unit vector; None: not known.
        wall: (3,) unit normal of a wall; None: not known, or the walls are not square.
        floor_m: Height of the floor along up in metres; None: not known, or not seen.
    """

    windows: list[Windows]
    up: np.ndarray | None
    wall: np.ndarray | None = None
    floor_m: float | None = None


def moved(case: Case, rotation: np.ndarray, offset_m: np.ndarray) -> Case:
    """The same scan in a world that is turned by (3, 3) and moved by (3,) metres."""
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, offset_m
    windows = [replace(w, scan_from_camera=move @ w.scan_from_camera) for w in case.windows]
    up, wall = (None if v is None else rotation @ v for v in (case.up, case.wall))
    floor = None if case.floor_m is None or up is None else case.floor_m + float(offset_m @ up)
    return Case(windows, up, wall, floor)


def room(index: int) -> Room:
    return make_room(f"scene{index:04d}_00", (5, "levelling", index))


def walk(of: Room, frames: int) -> list[np.ndarray]:
    """World-from-camera poses (4, 4) of the room's usual walk."""
    return camera_path(of, frames)[0]


def shown(
    of: Room | None,
    poses: list[np.ndarray],
    rng: np.random.Generator,
    noise: bool = False,
    walls: np.ndarray | None = None,
) -> Case:
    """Cast the frames of a room with z up and its floor at z = lo.

    Args:
        of: The room; None: walls alone.
        poses: (4, 4) world from camera.
        rng: Draws the noise.
        noise: Depth noise that grows with its square (1 cm at 2.6 m), 5 % holes, and poses that drift by up to 3 cm and
            1 degree.
        walls: (N, 4) outward unit normals of walls (x, y, z) and their offsets in metres, instead of the room's own.
    """
    boxes = None if of is None else RoomBoxes.of(of)
    if walls is not None and boxes is not None:
        wide = np.array([40, 40, 0], np.float32)
        boxes = replace(boxes, room_lo=boxes.room_lo - wide, room_hi=boxes.room_hi + wide)
    axis = rng.normal(size=3)
    axis, drift = axis / np.linalg.norm(axis), rng.normal(size=3)
    drift /= np.linalg.norm(drift)
    windows = []
    for number, pose in enumerate(poses):
        depth = np.full(SIZE, np.inf)
        if boxes is not None:
            depth = cast(boxes, pose, _CAMERA, *SIZE)[0].astype(np.float64)
        if walls is not None:
            depth = np.minimum(depth, _walls_depth(pose, walls))
        seen = pose
        if noise:
            depth = depth + rng.normal(size=depth.shape) * 0.0015 * depth**2
            depth[rng.random(depth.shape) < 0.05] = 0
            share = number / max(1, len(poses) - 1)
            seen = pose.copy()
            seen[:3, :3] = Rotation.from_rotvec(np.radians(share) * axis).as_matrix() @ pose[:3, :3]
            seen[:3, 3] += 0.03 * share * drift
        windows.append(Windows(*fit_windows(np.maximum(depth, 0).astype(np.float32), _CAMERA), seen))
    wall = np.array([1.0, 0, 0]) if walls is None else None
    return Case(windows, np.array([0.0, 0, 1]), wall, None if of is None else float(of.lo[2]))


def _walls_depth(pose: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """(H, W) depth along z of the nearest wall, metres."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([(u - _CAMERA[0, 2]) / _CAMERA[0, 0], (v - _CAMERA[1, 2]) / _CAMERA[1, 1], np.ones(SIZE)], -1)
    across = rays @ pose[:3, :3].T @ walls[:, :3].T
    with np.errstate(divide="ignore"):
        depth = (walls[:, 3] - walls[:, :3] @ pose[:3, 3]) / across
    return np.where(across > 1e-9, depth, np.inf).min(-1)


def hard_cases(number: int, rng: np.random.Generator) -> dict[str, Case]:
    """One draw of each kind of hard case, from room `number`."""
    of = room(number)
    poses = walk(of, 40)
    up = np.array([0.0, 0, 1])
    quarter, roll = int(rng.integers(1, 4)), rng.uniform(-30, 30)
    few = sorted(rng.choice(len(poses), int(rng.integers(2, 9)), replace=False))
    middle, half = (of.lo + of.hi) / 2, (of.hi - of.lo) / 2
    steep, level = [], []
    for pose in poses:
        eye = pose[:3, 3]
        tilt = np.radians(rng.uniform(50, 75))
        ahead = pose[:2, 2] / np.linalg.norm(pose[:2, 2])
        steep.append(look_at(eye, eye + [*(np.cos(tilt) * ahead), -np.sin(tilt)]))
        level.append(look_at(eye, eye + [*ahead, rng.uniform(-0.05, 0.05)]))
    bent = []
    for angle in np.cumsum([0, *(rng.uniform(70, 110) for _ in range(3))]):
        normal = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0])
        bent.append([*normal, normal @ middle + np.abs(normal) @ half])
    return {
        "steep down": shown(of, steep, rng),
        "held on its side or upside down": shown(of, _rolled(poses, [90.0 * quarter] * 40), rng),
        "rolled by up to 30 degrees": shown(of, _rolled(poses, [roll] * 40), rng),
        "walls not square": shown(of, poses, rng, walls=np.array(bent)),
        "level camera, hardly any floor": replace(shown(of, level, rng), floor_m=None, up=up),
        "2 to 8 frames": replace(shown(of, [poses[i] for i in few], rng), floor_m=None),
        "noise, 10 % of the poses turned": _broken(shown(of, poses, rng, noise=True), rng),
    }


def few_frames(case: Case, rng: np.random.Generator) -> Case:
    """4 to 12 frames of a scan that follow each other closely, as of a short recording."""
    count = min(int(rng.integers(4, 13)), len(case.windows))
    first = int(rng.integers(0, len(case.windows) - count + 1))
    return replace(case, windows=case.windows[first : first + count], floor_m=None, wall=None)


def junk_cases(number: int, rng: np.random.Generator) -> dict[str, Case]:
    """Scans in which up cannot be found."""
    of = room(number)
    poses = walk(of, 12)
    facing = [look_at(np.array([rng.uniform(0, 1), y, 0.0]), np.array([3.0, y, 0.3])) for y in np.linspace(-1, 1, 12)]
    steeply = [look_at(np.array([0.5, y, 2.0]), np.array([3.0, y, -0.5])) for y in np.linspace(-1, 1, 12)]
    plane = np.array([[1.0, 0, 0, 3]])
    turned = [Rotation.random(random_state=rng).as_matrix() for _ in poses]
    shaken = shown(of, poses, rng)
    tumbled = []
    for windows, rotation in zip(shaken.windows, turned, strict=True):
        pose = windows.scan_from_camera.copy()
        pose[:3, :3] = rotation
        tumbled.append(replace(windows, scan_from_camera=pose))
    return {
        "a single frame": shown(of, poses[:1], rng),
        "one wall": shown(None, facing, rng, walls=plane),
        "one wall, from above": shown(None, steeply, rng, walls=plane),
        "poses without meaning": replace(shaken, windows=tumbled),
    }


def _rolled(poses: list[np.ndarray], rolls_deg: list[float]) -> list[np.ndarray]:
    rolled = []
    for pose, roll in zip(poses, rolls_deg, strict=True):
        turned = pose.copy()
        turned[:3, :3] = pose[:3, :3] @ Rotation.from_euler("z", roll, degrees=True).as_matrix()
        rolled.append(turned)
    return rolled


def _broken(case: Case, rng: np.random.Generator) -> Case:
    windows = list(case.windows)
    for index in rng.choice(len(windows), len(windows) // 10, replace=False):
        pose = windows[index].scan_from_camera.copy()
        pose[:3, :3] = Rotation.random(random_state=rng).as_matrix() @ pose[:3, :3]
        windows[index] = replace(windows[index], scan_from_camera=pose)
    return replace(case, windows=windows, floor_m=None)
