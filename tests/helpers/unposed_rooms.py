"""A recording without poses: a box-shaped room with textured walls, rendered along an arc, as color/ and depth/."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from video3d_plugin.data.odometry.motion import exponential

SIZE = (120, 160)
FOCAL = 130.0
HALF_M = np.array([2.0, 1.3, 2.0])  # of the room; the camera is near its centre
FRAMES = 16


def camera(number: int) -> np.ndarray:
    """World from camera: an arc to the right and back, which ends where it began."""
    phase = np.sin(np.pi * number / (FRAMES - 1))
    return exponential(np.array([0.1 * phase, 0.45 * phase, 0.0, 0.3 * phase, 0.05 * phase, 0.1 * phase]))


def wall_texture() -> np.ndarray:
    """(6, 480, 480) uint8: smooth noise for each wall."""
    noise = np.random.default_rng(0).random((6, 480, 480)).astype(np.float32)
    smooth = np.array([cv2.GaussianBlur(face, (0, 0), 2.5) + cv2.GaussianBlur(face, (0, 0), 6) for face in noise])
    smooth -= smooth.min()
    return (255 * smooth / smooth.max()).astype(np.uint8)


def render(world_from_camera: np.ndarray, texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values and depth in millimetres."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([(columns - 79.5) / FOCAL, (rows - 59.5) / FOCAL, np.ones(SIZE)], -1) @ world_from_camera[:3, :3].T
    origin = world_from_camera[:3, 3]
    with np.errstate(divide="ignore"):
        reach = (np.sign(rays) * HALF_M - origin) / rays
    wall = reach.argmin(-1)
    depth = reach.min(-1)
    hit = origin + rays * depth[..., None]
    u, v = (np.take_along_axis(hit, ((wall + step) % 3)[..., None], -1)[..., 0] for step in (1, 2))
    side = wall * 2 + (np.take_along_axis(hit, wall[..., None], -1)[..., 0] > 0)
    grey = texture[side, ((u + 3) * 80).astype(int), ((v + 3) * 80).astype(int)]
    return grey, (depth * 1000).astype(np.uint16)


def write_unposed(folder: Path, poses: list[np.ndarray], texture: np.ndarray) -> Path:
    """Write the recording of a camera that takes these poses, and return its folder."""
    for kind in ("color", "depth"):
        (folder / kind).mkdir(parents=True)
    (folder / "camera-intrinsics.txt").write_text(f"{FOCAL} 0 79.5\n0 {FOCAL} 59.5\n0 0 1\n")
    for number, pose in enumerate(poses):
        grey, depth = render(pose, texture)
        cv2.imwrite(str(folder / "color" / f"{number}.png"), cv2.merge([grey] * 3))
        cv2.imwrite(str(folder / "depth" / f"{number}.png"), depth)
    return folder
