"""Renders RGB-D frames of a room by casting rays against boxes, in numpy.

A slab test for each part inside the rectangle that the part projects to, with a z-buffer; then every pixel is shaded
once. Camera frame: x right, y down, z forward. Pixel centres lie at integer coordinates. Depth is along the camera's z
axis, in metres here and in millimetres in the files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video3d_plugin.mini.rooms.rooms import Room
from video3d_plugin.mini.rooms.shapes import CHECKS, GRAIN, STRIPES

NEAR = 0.05  # metres; nothing closer is drawn
# Light by direction of the face: (-x, +x, -y, +y, -z, +z). Different on all sides, so that shapes are seen.
FACE_LIGHT = np.array([0.80, 0.93, 0.74, 0.86, 0.66, 1.06], np.float32)
CEILING_RGB = (236, 236, 232)


@dataclass(frozen=True)
class RoomBoxes:
    """The M parts of a room as arrays.

    The shell is drawn from inside; its six sides are x min, x max, y min, y max, floor and ceiling.

    Attributes:
        lo, hi: (M, 3) float32, metres.
        rgb: (M, 3) float32.
        texture: (M,) int.
        owner: (M,) int, object ids.
        room_lo, room_hi: (3,) corners of the shell.
        side_owner, side_rgb: Object id and colour of each side; the ceiling has -1, since nobody annotates it.
    """

    lo: np.ndarray
    hi: np.ndarray
    rgb: np.ndarray
    texture: np.ndarray
    owner: np.ndarray
    room_lo: np.ndarray
    room_hi: np.ndarray
    side_owner: np.ndarray
    side_rgb: np.ndarray

    @classmethod
    def of(cls, room: Room) -> RoomBoxes:
        parts = [(p, t.object_id) for t in room.things for p in t.parts]
        south, east, north, west, floor = room.shell
        sides = (west, east, south, north, floor)
        return cls(
            lo=np.array([p.lo for p, _ in parts], np.float32),
            hi=np.array([p.hi for p, _ in parts], np.float32),
            rgb=np.array([p.rgb for p, _ in parts], np.float32),
            texture=np.array([p.texture for p, _ in parts]),
            owner=np.array([owner for _, owner in parts]),
            room_lo=room.lo.astype(np.float32),
            room_hi=room.hi.astype(np.float32),
            side_owner=np.array([*(s.object_id for s in sides), -1]),
            side_rgb=np.array([*(s.parts[0].rgb for s in sides), CEILING_RGB], np.float32),
        )


def intrinsics(height: int, width: int, vertical_fov_deg: float = 64.0) -> np.ndarray:
    """Return a (4, 4) pinhole matrix, pixels, with the principal point a little off the middle as in real cameras."""
    focal = round(height / 2 / np.tan(np.radians(vertical_fov_deg) / 2), 6)
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = focal
    matrix[0, 2], matrix[1, 2] = (width - 1) / 2 + 0.25, (height - 1) / 2 - 0.25
    return matrix


def cast(boxes: RoomBoxes, world_from_camera: np.ndarray, camera: np.ndarray, height: int, width: int):
    """Find what each pixel sees.

    Args:
        boxes: The parts of the room.
        world_from_camera: (4, 4) pose inside the room, metres.
        camera: (4, 4) intrinsics, pixels.
        height, width: Size of the image, pixels.

    Returns:
        depth_m (H, W) float32, part (H, W) int32 (M + side for the shell) and owner (H, W) int32.
    """
    origin = world_from_camera[:3, 3].astype(np.float32)
    rays = _rays(world_from_camera, camera, height, width)  # (3, H, W), camera z component 1: t is z-depth
    inverse = 1 / np.where(np.abs(rays) < 1e-9, np.float32(1e-9), rays)
    leave = [
        np.maximum((boxes.room_lo[a] - origin[a]) * inverse[a], (boxes.room_hi[a] - origin[a]) * inverse[a])
        for a in range(3)
    ]
    depth = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    axis = np.where(depth == leave[0], 0, np.where(depth == leave[1], 1, 2))
    outward = np.choose(axis, rays) > 0
    part = (len(boxes.lo) + 2 * axis + outward).astype(np.int32)
    near_side, far_side = boxes.lo - origin, boxes.hi - origin
    for index, (top, bottom, left, right) in _rectangles(boxes, world_from_camera, camera, height, width):
        window = np.s_[top:bottom, left:right]
        enter, exit_ = np.float32(NEAR), np.float32(np.inf)
        for a in range(3):
            inv = inverse[a][window]
            one, two = near_side[index, a] * inv, far_side[index, a] * inv
            enter, exit_ = np.maximum(enter, np.minimum(one, two)), np.minimum(exit_, np.maximum(one, two))
        hit = (enter <= exit_) & (enter > NEAR) & (enter < depth[window])
        np.copyto(depth[window], enter, where=hit)
        np.copyto(part[window], np.int32(index), where=hit)
    return depth, part, np.concatenate([boxes.owner, boxes.side_owner])[part].astype(np.int32)


def _rays(world_from_camera, camera, height, width) -> np.ndarray:
    """(3, H, W) float32: world directions of the pixels' rays, as planes since numpy is slow on short last axes."""
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (u - camera[0, 2]) / camera[0, 0], (v - camera[1, 2]) / camera[1, 1]
    turn = world_from_camera[:3, :3].astype(np.float32)
    return np.stack([turn[a, 0] * x + turn[a, 1] * y + turn[a, 2] for a in range(3)])


def _rectangles(boxes: RoomBoxes, world_from_camera, camera, height, width):
    """(part index, pixel rectangle) of the parts that may be in view, near ones first to save shading."""
    pick = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8).T
    both = np.stack([boxes.lo, boxes.hi], 1).astype(float)
    corners = both[:, pick, np.arange(3)]  # (M, 8, 3)
    local = (corners - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    z = local[..., 2]
    scale = 1 / np.maximum(z, NEAR)
    u, v = local[..., 0] * scale * camera[0, 0] + camera[0, 2], local[..., 1] * scale * camera[1, 1] + camera[1, 2]
    crossing = (z < NEAR).any(1)  # reaches behind the camera: its projection is unbounded
    left, right = np.floor(u.min(1)), np.ceil(u.max(1)) + 1
    top, bottom = np.floor(v.min(1)), np.ceil(v.max(1)) + 1
    left[crossing], top[crossing], right[crossing], bottom[crossing] = 0, 0, width, height
    left, right = np.clip(left, 0, width).astype(int), np.clip(right, 0, width).astype(int)
    top, bottom = np.clip(top, 0, height).astype(int), np.clip(bottom, 0, height).astype(int)
    seen = (z.max(1) > NEAR) & (right > left) & (bottom > top)
    for index in np.argsort(np.where(seen, z.min(1), np.inf), kind="stable")[: int(seen.sum())]:
        yield int(index), (top[index], bottom[index], left[index], right[index])


def shade(boxes: RoomBoxes, world_from_camera, camera, depth_m, part, light: float = 1.0) -> np.ndarray:
    """Colour what `cast` found: face light, a mild texture, darker with distance.

    Args:
        boxes: The parts of the room.
        world_from_camera: (4, 4) pose, metres.
        camera: (4, 4) intrinsics, pixels.
        depth_m, part: As `cast` returns them.
        light: Brightness.

    Returns:
        (H, W, 3) uint8.
    """
    origin = world_from_camera[:3, 3].astype(np.float32)
    points = _rays(world_from_camera, camera, *depth_m.shape) * depth_m + origin[:, None, None]  # (3, H, W)
    lo = np.concatenate([boxes.lo, np.repeat(boxes.room_lo[None], 6, 0)]).T.copy()
    hi = np.concatenate([boxes.hi, np.repeat(boxes.room_hi[None], 6, 0)]).T.copy()
    face, closest = np.zeros(depth_m.shape, np.int64), np.full(depth_m.shape, np.inf, np.float32)
    for side in range(6):  # -x +x -y +y -z +z: the plane that the point lies on
        away = np.abs(points[side // 2] - (hi if side % 2 else lo)[side // 2][part])
        np.copyto(face, side, where=away < closest)
        np.minimum(closest, away, out=closest)
    shell = part >= len(boxes.lo)
    face = np.where(shell, (part - len(boxes.lo)) ^ 1, face)  # the shell is seen from inside
    rgb = np.concatenate([boxes.rgb, boxes.side_rgb])[part]
    texture = np.concatenate([boxes.texture, [GRAIN] * 6])[part]
    factor = FACE_LIGHT[face] * _texture(points, texture, face) * (light / (1 + 0.035 * depth_m))
    return np.clip(np.rint(rgb * factor[..., None]), 0, 255).astype(np.uint8)


def _texture(points: np.ndarray, texture: np.ndarray, face: np.ndarray) -> np.ndarray:
    """(H, W) float32 factors near 1 that depend on the surface point alone, so that all frames agree."""
    axis = face // 2
    u = np.where(axis == 0, points[1], points[0])
    v = np.where(axis == 2, points[1], points[2])
    stripes = np.floor(u * 12) % 2
    checks = (np.floor(u * 8) + np.floor(v * 8)) % 2
    cell = np.floor(u * 16).astype(np.int32) * 7349 + np.floor(v * 16).astype(np.int32) * 9151
    grain = ((cell * 2654435 >> 7) & 255).astype(np.float32) / 255
    factor = np.ones(texture.shape, np.float32)
    factor -= 0.10 * ((texture == STRIPES) * stripes) + 0.08 * ((texture == CHECKS) * checks)
    return factor - 0.07 * (texture == GRAIN) * grain.astype(np.float32)
