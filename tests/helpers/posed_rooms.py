"""A box-shaped room with furniture, ray-cast in a few lines: depth, colour and poses, z up and the floor at z = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROOM = np.array([[-3.0, -2.5, 0], [3.0, 2.5, 2.7]])
FURNITURE = np.array(
    [[[-2, -2, 0], [-0.8, -1.2, 0.75]], [[1, -2.4, 0], [2.5, -1.6, 0.9]], [[2, 0.5, 0], [2.8, 1.7, 1.9]]]
)


@dataclass(frozen=True)
class View:
    """Depth (H, W) metres, colour (H, W, 3) uint8, intrinsics (4, 4) pixels and pose (4, 4), world from camera."""

    depth_m: np.ndarray
    color: np.ndarray
    intrinsics: np.ndarray
    pose: np.ndarray


def look(eye, target) -> np.ndarray:
    """World from camera (4, 4), held upright."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(forward, right), forward], 1), eye
    return pose


def around(count: int) -> list[np.ndarray]:
    """Poses that look across the room from all sides, a little down."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [look([np.cos(a), 0.8 * np.sin(a), 1.5], [-2 * np.cos(a), -2 * np.sin(a), 0.6]) for a in angles]


def view(pose: np.ndarray, size: tuple[int, int] = (60, 80), room: np.ndarray = ROOM, things=FURNITURE) -> View:
    """What a camera at `pose` (4, 4) in the room sees; the shorter side has a field of view of 64 degrees."""
    height, width = size
    focal = min(size) / 2 / np.tan(np.radians(32))
    camera = np.eye(4)
    camera[[0, 1, 0, 1], [0, 1, 2, 2]] = focal, focal, width / 2 - 0.7, height / 2 - 0.4
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - camera[0, 2]) / focal, (v - camera[1, 2]) / focal, np.ones(size)], -1) @ pose[:3, :3].T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    depth = ((np.where(rays > 0, room[1], room[0]) - pose[:3, 3]) / rays).min(-1)
    for low, high in things:
        near, far = (low - pose[:3, 3]) / rays, (high - pose[:3, 3]) / rays
        enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
        depth = np.where((enter > 0) & (enter < leave), np.minimum(depth, enter), depth)
    points = rays * depth[..., None] + pose[:3, 3]
    color = (np.abs(np.sin(points * [3, 5, 7])) * 255).astype(np.uint8)
    return View(depth, color, camera, pose)


def on_its_side(upright: View, quarter_turns: int) -> View:
    """The same view by a camera that was turned clockwise by quarter turns: the pictures are turned the other way."""
    for _ in range(quarter_turns):
        height = upright.depth_m.shape[0]
        camera, (fx, fy) = np.eye(4), upright.intrinsics[[0, 1], [0, 1]]
        cx, cy = upright.intrinsics[[0, 1], [2, 2]]
        camera[[0, 1, 0, 1], [0, 1, 2, 2]] = fy, fx, height - 1 - cy, cx
        # clockwise by a quarter: the new x axis is the former -y, the new y axis the former x
        turn = np.eye(4)
        turn[:3, 0], turn[:3, 1] = [0, -1, 0], [1, 0, 0]
        depth, color = (np.rot90(image, -1) for image in (upright.depth_m, upright.color))
        upright = View(depth, color, camera, upright.pose @ turn)
    return upright


def moved(views: list[View], move: np.ndarray) -> list[View]:
    """The same views in a world that is moved by (4, 4)."""
    return [View(v.depth_m, v.color, v.intrinsics, move @ v.pose) for v in views]


def write_posed(folder, views: list[View]) -> None:
    """Write a folder of posed frames; all views have the same camera."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "depth_intrinsic.txt", views[0].intrinsics, fmt="%.17g")
    for index, v in enumerate(views):
        cv2.imwrite(str(folder / f"{index:05d}.png"), np.rint(v.depth_m * 1000).astype(np.uint16))
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), np.ascontiguousarray(v.color[..., ::-1]))
        np.savetxt(folder / f"{index:05d}.txt", v.pose, fmt="%.17g")


def write_nerfstudio(folder, views: list[View]) -> None:
    """Write a transforms.json with PNG colour, each frame with its own camera; z is up, pixel centres are at halves."""
    import json

    import cv2

    frames = []
    (folder / "images").mkdir(parents=True)
    (folder / "depths").mkdir()
    for index, v in enumerate(views):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), np.ascontiguousarray(v.color[..., ::-1]))
        depth = np.ascontiguousarray(np.rint(v.depth_m * 1000).astype(np.uint16))
        cv2.imwrite(str(folder / "depths" / f"{index}.png"), depth)
        (fx, fy), (cx, cy) = v.intrinsics[[0, 1], [0, 1]], v.intrinsics[[0, 1], [2, 2]]
        height, width = v.depth_m.shape
        camera = {"fl_x": fx, "fl_y": fy, "cx": cx + 0.5, "cy": cy + 0.5, "w": width, "h": height}
        files = {"file_path": f"images/{index}.png", "depth_file_path": f"depths/{index}.png"}
        frames.append({**files, **camera, "transform_matrix": (v.pose @ np.diag([1, -1, -1, 1])).tolist()})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
