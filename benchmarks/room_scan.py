"""A scan for the benchmarks: a box-shaped room with furniture, ray-cast, written as posed_images at ScanNet's sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

FOCAL = 577.87  # ScanNet's depth camera
_ROOM = np.array([[0, 0, 0], [6.0, 5.0, 2.7]])
_FURNITURE = np.array(
    [
        [[1, 1, 0], [2.2, 1.8, 0.75]],
        [[4, 0.5, 0], [5.5, 1.3, 0.9]],
        [[2.6, 3.2, 0], [3.4, 4.6, 0.5]],
        [[5, 3, 0], [5.8, 4.2, 1.9]],
    ]
)


def write_scan(folder: Path, frames: int, depth_size=(480, 640), color_size=(968, 1296), noise: bool = True) -> Path:
    """Write `frames` frames under folder/posed_images/scene0000_00; noise gives images the sizes of real ones.

    The scan has a meta file under folder/scans, as those of ScanNet, and so it is not levelled.
    """
    target = folder / "posed_images" / "scene0000_00"
    target.mkdir(parents=True, exist_ok=True)
    height, width = depth_size
    intrinsics = np.array([[FOCAL, 0, width / 2 - 0.5, 0], [0, FOCAL, height / 2 - 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.savetxt(target / "depth_intrinsic.txt", intrinsics, fmt="%f")
    aligned = " ".join(f"{value:f}" for value in np.eye(4).ravel())
    meta = folder / "scans" / target.name / f"{target.name}.txt"
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(f"axisAlignment = {aligned}\n")
    rng = np.random.RandomState(0)
    texture = cv2.resize(rng.randint(0, 255, (60, 80, 3), np.uint8), color_size[::-1], interpolation=cv2.INTER_CUBIC)
    for index in range(frames):
        pose = camera(index / max(1, frames - 1))
        depth = ray_cast(pose, intrinsics, depth_size)
        if noise:
            depth = depth + rng.normal(0, 0.004, depth.shape) * (rng.rand(*depth.shape) > 0.02)
            depth[rng.rand(*depth.shape) < 0.05] = 0
        stem = target / f"{index * 10:05d}"
        cv2.imwrite(f"{stem}.png", np.clip(depth * 1000, 0, 65535).astype(np.uint16))
        image = np.roll(texture, 7 * index, axis=1) // 2 + rng.randint(0, 20, (*color_size, 3), np.uint8)
        cv2.imwrite(f"{stem}.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        np.savetxt(f"{stem}.txt", pose, fmt="%f")
    return folder


def camera(share: float) -> np.ndarray:
    """World from camera (4, 4), going round the room once and looking a little down."""
    angle = 2 * np.pi * share
    pose = np.eye(4)
    forward_down = Rotation.from_euler("z", angle) * Rotation.from_euler("x", -110, degrees=True)
    pose[:3, :3] = forward_down.as_matrix()
    pose[:3, 3] = [3 + 1.2 * np.sin(angle), 2.5 - 0.9 * np.cos(angle), 1.5]
    return pose


def ray_cast(pose: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) depth in metres: the nearest of the room's inside and the furniture's outside."""
    v, u = np.mgrid[: size[0], : size[1]]
    x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = np.stack([x, y, np.ones_like(x)], -1) @ pose[:3, :3].T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    depth = ((np.where(rays > 0, _ROOM[1], _ROOM[0]) - pose[:3, 3]) / rays).min(-1)
    for low, high in _FURNITURE:
        near, far = (low - pose[:3, 3]) / rays, (high - pose[:3, 3]) / rays
        enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
        depth = np.where((enter > 0) & (enter < leave), np.minimum(depth, enter), depth)
    return depth
