"""The camera's path: a walk around the middle of the room, looking across, down and about, that shows every object.

Some stretches repeat nearly the same view, as in a hand-held scan, so that the choice of frames matters.
"""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics
from video3d_plugin.mini.rooms.rooms import Room, stream

LOW = (48, 64)  # size of the frames that visibility is judged on
SEEN = 1 / 150  # an object counts as seen where it fills this part of the centre square of a frame


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return a camera pose with a level horizon.

    Args:
        eye: (3,) position, metres.
        target: (3,) point to look at.

    Returns:
        (4, 4) world_from_camera.
    """
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    pose[:3, 3] = eye
    return pose


def camera_path(room: Room, frames: int) -> tuple[list[np.ndarray], set[int]]:
    """Return a path that shows every object if possible.

    Starts with a walk; then, while an object is unseen, the frame that can be spared most easily is turned to it.

    Args:
        room: The room.
        frames: Number of frames.

    Returns:
        (4, 4) world_from_camera of each frame, and the ids of the objects that no frame shows well.
    """
    rng = stream(*room.seed, room.scene_id, "path")
    poses = _walk(room, rng, frames)
    boxes, camera = RoomBoxes.of(room), intrinsics(*LOW)
    ids = {t.object_id for t in room.things}
    views = [_seen(boxes, pose, camera) & ids for pose in poses]
    for target in sorted(ids - set().union(*views)):
        if target in set().union(*views):
            continue
        _look_once(room, rng, boxes, camera, poses, views, room.thing(target), ids)
    return poses, ids - set().union(*views)


def _walk(room: Room, rng: np.random.Generator, frames: int) -> list[np.ndarray]:
    middle, half = (room.lo + room.hi)[:2] / 2, (room.hi - room.lo)[:2] / 2
    steps = np.where(rng.random(frames) < 0.2, 0.15, rng.uniform(0.7, 1.3, frames))  # short steps: it lingers
    turns = 2 * np.pi * np.cumsum(steps) / steps.sum() * rng.choice((-1, 1)) + rng.uniform(0, 2 * np.pi)
    poses = []
    for angle in turns:
        heading = np.array([np.cos(angle), np.sin(angle)])
        eye = _clear_spot(room, rng, middle + heading * half * rng.uniform(0.45, 0.75))
        across = middle - heading * half * rng.uniform(0.5, 1.0) + rng.normal(0, 0.5, 2)
        if np.linalg.norm(across - eye[:2]) < 0.6:
            across = middle - heading * half
        poses.append(look_at(eye, np.array([*across, rng.uniform(0.35, 1.1)])))
    return poses


def _clear_spot(room: Room, rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """A point at eye height near `at` (2,), clear of all objects; nearer to the middle if there is none."""
    middle, eye = (room.lo + room.hi)[:2] / 2, np.array([*at, rng.uniform(1.45, 1.7)])
    for pull in np.linspace(0, 1, 12):
        eye[:2] = at + (middle - at) * pull + rng.normal(0, 0.12, 2) * (pull > 0)
        inside = (eye[:2] > room.lo[:2] + 0.25).all() and (eye[:2] < room.hi[:2] - 0.25).all()
        if inside and all((eye < t.lo - 0.2).any() or (eye > t.hi + 0.2).any() for t in room.things):
            return eye.copy()
    eye[2] = room.hi[2] - 0.25  # over all furniture
    return eye.copy()


def _seen(boxes: RoomBoxes, pose: np.ndarray, camera: np.ndarray) -> set[int]:
    """Ids of the objects that fill enough of the centre square, which a square crop keeps."""
    _, _, owner = cast(boxes, pose, camera, *LOW)
    side = min(LOW)
    x, y = (LOW[1] - side) // 2, (LOW[0] - side) // 2
    ids, counts = np.unique(owner[y : y + side, x : x + side], return_counts=True)
    return {int(i) for i, n in zip(ids, counts, strict=True) if n >= SEEN * side * side}


def _look_once(room, rng, boxes, camera, poses, views, thing, ids) -> None:
    """Turn one frame to `thing`, from its place or from nearer, without losing an object that only it shows."""
    counts = {i: sum(i in view for view in views) for i in ids}
    spare = sorted(range(len(poses)), key=lambda f: (sum(counts[i] == 1 for i in views[f]), f))
    for frame in spare[: max(4, len(spare) // 2)]:
        for attempt in range(4):
            eye = poses[frame][:3, 3]
            if attempt:
                around = thing.center[:2] + rng.uniform(0.8, 2.0) * _unit(
                    rng.normal(size=2) + (eye[:2] - thing.center[:2])
                )
                eye = _clear_spot(room, rng, around)
            if np.linalg.norm(thing.center[:2] - eye[:2]) < 0.3:
                continue
            pose = look_at(eye, thing.center + np.array([0, 0, 0.2]))
            view = _seen(boxes, pose, camera) & ids
            lost = {i for i in views[frame] if counts[i] == 1} - view
            if thing.object_id in view and not lost:
                poses[frame], views[frame] = pose, view
                return


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-9)
