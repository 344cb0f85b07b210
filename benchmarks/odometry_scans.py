"""Recordings with known poses for the benchmark of estimated ones: real ones with faults, and made-up rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from video3d_plugin.data.frames import open_color
from video3d_plugin.mini.rooms.furnishing import make_room
from video3d_plugin.mini.rooms.noise import noisy_color, noisy_depth
from video3d_plugin.mini.rooms.paths import look_at
from video3d_plugin.mini.rooms.render import RoomBoxes, cast, intrinsics, shade
from video3d_plugin.mini.rooms.rooms import Room
from video3d_plugin.scene import FileSlice, Frame

FAULTS = {
    "none": "as recorded",
    "blur": "motion blur of 13 pixels in a random direction",
    "dark": "an eighth of the light, with sensor noise",
    "noise": "depth with a further noise of 1 cm at 1 m, 4 cm at 2 m",
    "holes": "half of the depth missing, in patches",
}
_SIZE = (240, 320)
_BLUR = 13  # pixels


def with_fault(frames: Sequence[Frame], fault: str, folder: Path) -> list[Frame]:
    """Return the frames with images that have a fault of FAULTS, written to `folder`."""
    if fault == "none":
        return list(frames)
    rng = np.random.default_rng(0)
    faulty = []
    for number, frame in enumerate(frames):
        color = np.asarray(open_color(frame))[..., ::-1]
        depth = cv2.imdecode(np.frombuffer(frame.depth.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        if fault == "blur":
            color = cv2.filter2D(color, -1, _blur_kernel(rng.uniform(0, np.pi)))
        elif fault == "dark":
            color = np.clip(color * 0.12 + rng.normal(0, 2, color.shape), 0, 255).astype(np.uint8)
        elif fault == "noise":
            metres = depth * frame.depth_unit_m
            noisy = (metres + rng.normal(0, 0.01, depth.shape) * metres**2) / frame.depth_unit_m
            depth = np.where((depth > 0) & (depth < 60_000), noisy.clip(0, 60_000), depth).astype(np.uint16)
        elif fault == "holes":
            patches = cv2.GaussianBlur(rng.normal(0, 1, depth.shape).astype(np.float32), (0, 0), 12)
            depth = np.where(patches > 0, depth, 0).astype(np.uint16)
        faulty.append(_stored(frame, folder / str(number), color, depth))
    return faulty


def made_up_room(index: int, frames: int, folder: Path) -> list[Frame]:
    """Return the frames of a walk around the middle of a room that looks across it, with a sensor's noise.

    Args:
        index: Number of the room; every third walk is a quarter, a half and a whole round.
        frames: How many.
        folder: Where their images are written.
    """
    room, rng = make_room(f"scene{index:04d}_00", (5, "odometry", index)), np.random.default_rng(index)
    boxes, camera = RoomBoxes.of(room), intrinsics(*_SIZE)
    made = []
    for number, pose in enumerate(_walk(room, rng, (0.25, 0.5, 1.0)[index % 3], frames)):
        depth_m, part, _ = cast(boxes, pose, camera, *_SIZE)
        color = noisy_color(shade(boxes, pose, camera, depth_m, part), rng)[..., ::-1]
        depth = np.rint(noisy_depth(depth_m, rng) * 1000).astype(np.uint16)
        nothing = FileSlice(folder)
        frame = Frame(str(number), nothing, nothing, pose, camera, _SIZE)
        made.append(_stored(frame, folder / str(number), color, depth))
    return made


def _walk(room: Room, rng: np.random.Generator, rounds: float, frames: int) -> list[np.ndarray]:
    """Return (4, 4) world from camera along a circle, looking across the room."""
    middle, half = (room.lo + room.hi)[:2] / 2, (room.hi - room.lo)[:2] / 2
    begin, poses = rng.uniform(0, 2 * np.pi), []
    for share in np.linspace(0, 1, frames):
        angle = begin + 2 * np.pi * rounds * share
        heading = np.array([np.cos(angle), np.sin(angle)])
        eye = np.array([*(middle + heading * half * 0.4), 1.6 + 0.1 * np.sin(6 * share)])
        poses.append(look_at(eye, np.array([*(middle - heading * half * 0.8), 0.7])))
    return poses


def _blur_kernel(angle: float) -> np.ndarray:
    kernel = np.zeros((_BLUR, _BLUR), np.float32)
    for place in np.linspace(-(_BLUR // 2), _BLUR // 2, 60):
        kernel[round(_BLUR // 2 + place * np.sin(angle)), round(_BLUR // 2 + place * np.cos(angle))] = 1
    return kernel / kernel.sum()


def _stored(frame: Frame, stem: Path, color: np.ndarray, depth: np.ndarray) -> Frame:
    color_path, depth_path = stem.with_suffix(".jpg"), stem.with_suffix(".png")
    cv2.imwrite(str(color_path), np.ascontiguousarray(color))
    cv2.imwrite(str(depth_path), depth)
    return replace(frame, color=FileSlice(color_path), depth=FileSlice(depth_path))
