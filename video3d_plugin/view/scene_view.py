"""Collects what the viewer shows of a scene, in one pass over its frames: point cloud, cameras and small images."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from video3d_plugin.data.frames import open_color, read_depth_m
from video3d_plugin.errors import DataError
from video3d_plugin.scene import Frame, Scene
from video3d_plugin.view.cloud import MAX_POINTS, POINT_BYTES, Cloud, CloudBuilder, stride_for, voxel_for

MAX_FRAMES = 300
# Base64 makes images and points a third larger; the page's own scripts take the rest of 12 MB.
PAGE_BYTES = 8_300_000  # images and points together
IMAGE_BYTES = 4_300_000  # of all frames' images together
_SIZES = (
    (960, 75),
    (760, 70),
    (640, 65),
    (640, 55),
    (560, 55),
    (480, 55),
    (400, 55),
    (320, 50),
)  # (longest side, quality)
_AREA_SCALE = 1.5  # times smaller from which an image is reduced by the mean of an area
_TRIED = 3  # frames whose images are encoded to select one of them


@dataclass(frozen=True)
class ViewFrame:
    """A frame in the viewer.

    Attributes:
        name: The frame's name.
        image: The colour image as WebP, scaled down.
        world_from_camera: (4, 4) pose; camera frame x right, y down, z forward.
        camera: fx, fy, cx, cy in pixels of an image of `size`.
        size: (height, width) that `camera` refers to.
    """

    name: str
    image: bytes = field(repr=False)
    world_from_camera: np.ndarray
    camera: tuple[float, float, float, float]
    size: tuple[int, int]


@dataclass(frozen=True)
class SceneView:
    """A scene in the viewer.

    Attributes:
        scene: The scene.
        cloud: Its point cloud.
        frames: The frames shown.
        chosen: Indices into `frames` of the frames that the model sees, in its order.
        sampler: Name of the frame sampler; "" for none.
        unshown: Number of frames of the scene that are not in `frames`.
        up: Unit vector of the world axis that points up.
    """

    scene: Scene
    cloud: Cloud
    frames: tuple[ViewFrame, ...]
    chosen: tuple[int, ...]
    sampler: str
    unshown: int
    up: tuple[float, float, float]


def gather(
    scene: Scene,
    chosen: Sequence[int] = (),
    sampler: str = "",
    *,
    max_frames: int = MAX_FRAMES,
    max_points: int | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> SceneView:
    """Read a scene's frames and build its point cloud.

    Args:
        scene: The scene.
        chosen: Indices into `scene.frames` of sampled frames; these are always shown.
        sampler: Name of the frame sampler.
        max_frames: Maximum number of frames shown. Longer scans are thinned evenly.
        max_points: Maximum number of points of the cloud; by default as many as PAGE_BYTES leaves, up to MAX_POINTS.
        on_frame: Called after each frame with the number of frames read so far and that of all that are shown.

    Raises:
        DataError: The scene has no frames, or a frame cannot be decoded; the message names its file.
    """
    shown = frames_to_show(len(scene.frames), chosen, max_frames)
    frames = [scene.frames[i] for i in shown]
    side, quality = _image_size(frames)
    stride, middle = stride_for(sum(f.depth_size[0] * f.depth_size[1] for f in frames)), frames[len(frames) // 2]
    builder = CloudBuilder(stride, voxel_for(read_depth_m(middle), float(middle.depth_intrinsics[0, 0]), stride))
    views = []

    def read(frame: Frame) -> tuple[ViewFrame, np.ndarray, np.ndarray]:
        return _read(scene, frame, side, quality)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = _in_order(pool, read, frames)
        bar = tqdm(zip(frames, results, strict=True), total=len(frames), desc="frames", disable=None, delay=1)
        for frame, (view, depth_m, color) in bar:
            builder.add(depth_m, color, frame.depth_intrinsics, view.world_from_camera)
            views.append(view)
            if on_frame is not None:
                on_frame(len(views), len(frames))
    position = {index: number for number, index in enumerate(shown)}
    return SceneView(
        scene=scene,
        cloud=builder.cloud(fitting_points(views) if max_points is None else max_points),
        frames=tuple(views),
        chosen=tuple(dict.fromkeys(position[int(i)] for i in chosen)),
        sampler=sampler,
        unshown=len(scene.frames) - len(shown),
        up=up_axis(scene),
    )


def up_axis(scene: Scene) -> tuple[float, float, float]:
    """Return the unit vector of the world axis that a scene is shown with upwards.

    It is z where an alignment or levelling turned the scan, else what its cameras suggest.
    """
    if (scene.world_from_scan[:3, :3] != np.eye(3)).any():
        return (0.0, 0.0, 1.0)
    return upright([scene.world_from_scan @ frame.scan_from_camera for frame in scene.frames])


def upright(poses: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Return the world axis that is closest to the cameras' mean upward direction.

    Boxes assume that z is up, but a scan that is not aligned may have another axis up; the page turns it upright.

    Args:
        poses: (4, 4) world-from-camera poses.

    Returns:
        A unit vector; z where no axis is clearly closest.
    """
    mean = np.mean([-pose[:3, 1] for pose in poses], axis=0) if len(poses) else np.zeros(3)
    axis = int(np.argmax(np.abs(mean)))
    if abs(mean[axis]) < 0.3 or abs(mean[axis]) < 1.3 * np.sort(np.abs(mean))[1]:
        return (0.0, 0.0, 1.0)
    up = np.zeros(3)
    up[axis] = np.sign(mean[axis])
    return (float(up[0]), float(up[1]), float(up[2]))


def frames_to_show(count: int, chosen: Sequence[int], limit: int) -> list[int]:
    if count <= limit:
        return list(range(count))
    return sorted(
        {*map(int, chosen), *np.linspace(0, count - 1, max(limit - len(set(chosen)), 2)).astype(int).tolist()}
    )


def _image_size(frames: Sequence[Frame]) -> tuple[int, int]:
    """The largest of _SIZES with which all frames fit in IMAGE_BYTES, estimated from a few of them."""
    if not frames:
        raise DataError("the scene has no frame to show")
    images = [np.asarray(open_color(frames[i])) for i in {int(i) for i in np.linspace(0, len(frames) - 1, _TRIED)}]
    for side, quality in _SIZES[:-1]:
        mean = sum(len(_encoded(image, side, quality)) for image in images) / len(images)
        if mean * 1.1 * len(frames) <= IMAGE_BYTES:
            return side, quality
    return _SIZES[-1]


def fitting_points(frames: Sequence[ViewFrame]) -> int:
    """Return how many points the frames' images leave room for in a page, up to MAX_POINTS.

    Args:
        frames: The frames of the page.
    """
    left = PAGE_BYTES - sum(len(frame.image) for frame in frames)
    return min(MAX_POINTS, max(left // POINT_BYTES, MAX_POINTS // 3))


def _encoded(color: np.ndarray, side: int, quality: int) -> bytes:
    """The image (H, W, 3) as WebP, its longer side at most `side`."""
    from PIL import Image

    scale = min(1.0, side / max(color.shape[:2]))
    small = _resized(color, (max(1, round(color.shape[0] * scale)), max(1, round(color.shape[1] * scale))))
    file = io.BytesIO()
    Image.fromarray(small).save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()


def _resized(color: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image (H, W, 3) at a (height, width): the mean of an area where it becomes much smaller, else bicubic."""
    import cv2

    if color.shape[:2] == size:
        return color
    interpolation = cv2.INTER_AREA if color.shape[0] > _AREA_SCALE * size[0] else cv2.INTER_CUBIC
    return cv2.resize(color, size[::-1], interpolation=interpolation)


def _read(scene: Scene, frame: Frame, side: int, quality: int) -> tuple[ViewFrame, np.ndarray, np.ndarray]:
    """(frame for the page, depth (H, W) metres, colour (H, W, 3) at the depth image's size)."""
    color = np.asarray(open_color(frame))
    k = frame.depth_intrinsics
    view = ViewFrame(
        name=frame.name,
        image=_encoded(color, side, quality),
        world_from_camera=scene.world_from_scan @ frame.scan_from_camera,
        camera=(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])),
        size=frame.depth_size,
    )
    return view, read_depth_m(frame), _resized(color, frame.depth_size)


def _in_order(pool: ThreadPoolExecutor, read, frames: Sequence[Frame], ahead: int = 8):
    """Yield results in order, with at most `ahead` of them in memory."""
    waiting = []
    for frame in frames:
        waiting.append(pool.submit(read, frame))
        if len(waiting) >= ahead:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
