"""Renders a scene's camera path as the encoded frames of a recording, with or without the faults of a real one."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from video3d_plugin.mini.rooms import scannet_layout as layout
from video3d_plugin.mini.rooms.noise import noisy_color, noisy_depth, noisy_pose
from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics, shade
from video3d_plugin.mini.rooms.rooms import stream
from video3d_plugin.mini.rooms.scenes import SyntheticScene

Noise = Literal["none", "realistic"]


def encode_frames(scene: SyntheticScene, image_size: tuple[int, int], noise: Noise) -> list[layout.RenderedFrame]:
    """Render the camera path as encoded frames.

    Args:
        scene: The scene.
        image_size: Height and width, pixels.
        noise: "realistic" adds the faults of a real capture.

    Returns:
        For each frame: JPEG, depth in millimetres, pose in the scan frame.
    """
    room, boxes, camera = scene.room, RoomBoxes.of(scene.room), intrinsics(*image_size)
    rng = stream(*room.seed, room.scene_id, "noise")
    light, lost = (
        rng.uniform(1.05, 1.25),
        rng.integers(1, len(scene.poses)) if len(scene.poses) > 4 and rng.random() < 0.25 else -1,
    )
    scan_from_world = np.linalg.inv(room.world_from_scan)
    frames = []
    for index, pose in enumerate(scene.poses):
        depth_m, part, _ = cast(boxes, pose, camera, *image_size)
        rgb = shade(boxes, pose, camera, depth_m, part, light)
        if noise == "realistic":
            depth_m, rgb, pose = noisy_depth(depth_m, rng), noisy_color(rgb, rng), noisy_pose(pose, rng)
        written = scan_from_world @ pose
        if noise == "realistic" and index == lost:
            written = np.full((4, 4), -np.inf)
        done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done, "opencv could not encode a jpeg"
        depth_mm = np.clip(np.rint(depth_m * layout.DEPTH_SHIFT), 0, 65535).astype(np.uint16)
        frames.append(layout.RenderedFrame(jpeg.tobytes(), depth_mm, written))
    return frames
