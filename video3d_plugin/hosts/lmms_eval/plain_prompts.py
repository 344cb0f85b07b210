"""Prompts of the benchmarks for any vision-language model: frames as images, cameras and boxes as text.

Options come from lmms_eval_specific_kwargs of a YAML file:

    frames        number of frames (16)
    sampler       name of the frame sampler ("uniform")
    depth         whether each colour image is followed by its depth as a grey image, black 0 m to white 10 m (false)
    poses         whether the cameras are described (true where the question or the answer holds positions)
    pre_prompt    text before the prompt
    post_prompt   text after the prompt
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from video3d_plugin.data import frames as decoding
from video3d_plugin.hosts.lmms_eval.state import STATE
from video3d_plugin.prompts import PLAIN_WORLD
from video3d_plugin.scene import Frame, Scene
from video3d_plugin.tasks import TaskSpec
from video3d_plugin.tokens import disarm

if TYPE_CHECKING:
    from PIL import Image

    from video3d_plugin.data.folder import DataFolder

FRAMES = 16
WHITE_DEPTH_M = 10.0


def text(spec: TaskSpec, doc: Mapping, options: Mapping) -> str:
    """Write the prompt: a line about the frames, the cameras if `poses` is set, and the question.

    Args:
        spec: The benchmark.
        doc: The evaluation document.
        options: See the module.
    """
    scene, frames = sampled_frames(doc["scene_id"], options)
    depth = ", each followed by its depth (black 0 m, white 10 m)" if options.get("depth") else ""
    lines = [f"These are {len(frames)} frames of a walk through one room, in order{depth}."]
    if options.get("poses", spec.needs_boxes):
        lines += [PLAIN_WORLD, *(camera_line(i, scene, frame) for i, frame in enumerate(frames, 1))]
    box = doc.get("box") or doc.get("gt_box") or ()
    words = {key: disarm(value) for key, value in doc.items() if isinstance(value, str)}
    lines.append(spec.plain_prompt.format(**{**words, "box": numbers(box, 2)}))
    return f"{options.get('pre_prompt', '')}{chr(10).join(lines)}{options.get('post_prompt', '')}"


def images(scene_id: str, options: Mapping) -> list[Image.Image]:
    """Return the sampled frames as RGB images in capture order, each followed by its depth if `depth` is set.

    Args:
        scene_id: A prepared scene.
        options: See the module.
    """
    return list(_images(STATE.data_folder(), scene_id, _sampling(options), bool(options.get("depth"))))


def sampled_frames(scene_id: str, options: Mapping) -> tuple[Scene, tuple[Frame, ...]]:
    """Return a scene and its sampled frames in capture order.

    Args:
        scene_id: A prepared scene.
        options: See the module.
    """
    return _frames(STATE.data_folder(), scene_id, _sampling(options))


def camera_line(number: int, scene: Scene, frame: Frame) -> str:
    """Describe a frame's camera: position in metres and viewing direction in the world frame, field of view in degrees.

    Args:
        number: Number of the frame in the prompt.
        scene: The scene.
        frame: One of its frames.
    """
    world_from_camera = np.asarray(scene.world_from_scan) @ np.asarray(frame.scan_from_camera)
    position, forward = world_from_camera[:3, 3], world_from_camera[:3, 2]
    width, focal_px = frame.depth_size[1], float(frame.depth_intrinsics[0, 0])
    angle = 2 * math.degrees(math.atan2(width, 2 * focal_px))
    return (
        f"Frame {number}: camera at {numbers(position, 2)}, looking along {numbers(forward, 2)}, "
        f"{angle:.0f} degrees wide."
    )


def numbers(values: Sequence[float], digits: int) -> str:
    """Write rounded numbers as `[1.25, -0.5, 0.0]`; zero has no sign."""
    return "[" + ", ".join(str(round(float(v), digits) + 0.0) for v in values) + "]"


def grey_depth(frame: Frame) -> Image.Image:
    """Return a frame's depth as a grey RGB image: black at 0 m (or not measured), white at WHITE_DEPTH_M and beyond."""
    from PIL import Image

    depth_m = decoding.read_depth_m(frame)
    return Image.fromarray(np.rint(np.clip(depth_m / WHITE_DEPTH_M, 0, 1) * 255).astype(np.uint8)).convert("RGB")


def _sampling(options: Mapping) -> tuple[str, int]:
    return str(options.get("sampler", "uniform")), int(options.get("frames", FRAMES))


@lru_cache(maxsize=256)
def _frames(folder: DataFolder, scene_id: str, sampling: tuple[str, int]) -> tuple[Scene, tuple[Frame, ...]]:
    """The scene and its sampled frames, each once: a short scan has fewer than the sampler returns."""
    scene = folder.scene(scene_id)
    indices = folder.frames(scene_id, *sampling)
    return scene, tuple(scene.frames[i] for i in dict.fromkeys(indices))


@lru_cache(maxsize=4)  # documents come in the order of the official file, which is mostly by scene
def _images(folder: DataFolder, scene_id: str, sampling: tuple[str, int], depth: bool) -> tuple[Image.Image, ...]:
    result = []
    for frame in _frames(folder, scene_id, sampling)[1]:
        result.append(decoding.open_color(frame))
        if depth:
            result.append(grey_depth(frame))
    return tuple(result)
