"""Computes SceneInputs from a Scene: decodes frames, crops them and back-projects their depth.

Depth is nearest-resized and cropped first, so that only the pixels that are used are back-projected. Nearest-resizing
commutes with back-projection: the values equal those of Video-3D LLM (LaVi-Lab/Video-3D-LLM at 3ff70e8,
llava/video_utils.py), which back-projects every pixel and then drops most of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from video3d_plugin.data.frames import describe, open_color, read_depth_m
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.images import check_depth_size
from video3d_plugin.geometry.boxes import proposal_bits
from video3d_plugin.geometry.cameras import CropPlan, back_project, centre_crop_plan, resize_plan
from video3d_plugin.geometry.patch_grid import as_coordinates, token_points
from video3d_plugin.geometry.voxels import VoxelTable
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.sampling import registry
from video3d_plugin.sampling.coverage import VOXEL_SIZE_M, Coverage, Selection
from video3d_plugin.scene import Frame, Question, Scene, SceneInputs

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FRAMES = 100_000  # of a sample: `uniform` repeats the frames of a shorter scan


def scene_inputs(
    scene: Scene,
    frames: Sequence[int] | Sequence[str],
    spec: InputsSpec,
    proposals: str | np.ndarray = "pred",
    threads: int | None = None,
    coverage: Coverage | None = None,
) -> SceneInputs:
    """Compute what the model sees of a scene.

    Args:
        scene: The scene.
        frames: Indices or names of the frames, in order. Repeats are allowed.
        spec: What the model expects.
        proposals: "pred" (scene.proposals), "gt" (annotated boxes), or (N, 6) boxes as centre and size, world frame,
            metres.
        threads: Number of threads that decode; up to 4 by default. The result does not depend on it.
        coverage: Gives the extent for `spec.clamp_points`; made by `scene_coverage` by default, which then decodes all
            frames.

    Returns:
        The inputs: pixels, token points in the world frame (metres), proposals and the patches in each of them.

    Raises:
        DataError: There is no frame, the scene lacks one of them, the boxes are not finite (N, 6), or an image cannot
            be decoded; the message names its file.
    """
    selected = [scene.frames[i] for i in _indices(scene, frames)]
    if not selected:
        raise DataError("no frame was asked for", where=f"scene {scene.scene_id}")
    boxes, ids = boxes_of(scene, proposals)
    boxes = as_coordinates(boxes, spec)
    pixels, points, valid = _decode(scene, selected, spec, threads)
    if spec.clamp_points:
        low, high = (torch.from_numpy(corner) for corner in (coverage or scene_coverage(scene)).extent)
        points = points.clamp(low, high)
    used = spec.used_side
    mask = valid if spec.mask_invalid_depth else None
    tokens, token_valid = token_points(points, spec, mask)
    return SceneInputs(
        spec=spec,
        scene_id=scene.scene_id,
        frames=tuple(frame.name for frame in selected),
        pixels=pixels[:, :used, :used].contiguous(),
        token_points=tokens,
        token_valid=token_valid,
        proposals=boxes,
        proposal_bits=proposal_bits(points, boxes, spec, mask),
        proposal_ids=ids,
    )


def crops(scene: Scene, frames: Sequence[int] | Sequence[str], spec: InputsSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the whole crops of V frames, for checks.

    Returns:
        (V, S, S, 3) uint8 pixels and (V, S, S, 3) float32 points, world frame, metres; S is `spec.image_size`.
    """
    pixels, points, _ = _decode(scene, [scene.frames[i] for i in _indices(scene, frames)], spec, None)
    return pixels, points


def sample(
    scene: Scene,
    sampler: str,
    max_frames: int,
    coverage: Coverage | None = None,
    question: Question | None = None,
) -> list[int]:
    """Run the sampler of this name and check its result.

    Args:
        scene: The scene.
        sampler: Name of a frame sampler (see `sampling.registry`).
        max_frames: Largest number of frames, from 1 to MAX_FRAMES.
        coverage: Passed to the sampler; made by `scene_coverage` by default.
        question: The question, for a sampler that asks for it; others do not get it.

    Returns:
        Indices of the scene's frames, in capture order.

    Raises:
        DataError: There is no such sampler; it asks for a question and there is none; it fails; or it returns no frame
            or one that the scene does not have.
    """
    if not 1 <= max_frames <= MAX_FRAMES:
        raise DataError(f"max_frames is {max_frames}", remedy=f"ask for 1 to {MAX_FRAMES} frames")
    function, options = registry.get(sampler), {}
    if registry.reads_question(sampler):
        if question is None:
            registry.check_without_question(sampler, "this use of it")
        options["question"] = question
    try:
        indices = [int(i) for i in function(scene, max_frames, coverage or scene_coverage(scene), **options)]
    except Exception as error:
        if sampler in registry.BUILT_IN or isinstance(error, Video3DError | OSError | MemoryError):
            raise
        # A third party's function may raise anything; the user needs its name.
        what = (
            f"frame sampler {sampler!r} ({registry.SAMPLERS.source(sampler)}) failed: {type(error).__name__}: {error}"
        )
        raise DataError(what, where=scene.scene_id, remedy="repair it, or choose another sampler") from error
    if not indices or not all(0 <= i < len(scene.frames) for i in indices):
        raise DataError(
            f"frame sampler {sampler!r} chose {indices[:8]} of {len(scene.frames)} frames of {scene.scene_id}"
        )
    return indices


def scene_coverage(
    scene: Scene,
    surface_cells: Callable[[], np.ndarray | None] = lambda: None,
    stored: Selection | None = None,
    voxel_size_m: float = VOXEL_SIZE_M,
) -> Coverage:
    """Return the scene's coverage; frames are decoded when a sampler needs them.

    A pixel with depth 0 shows no voxel. In the reference it shows the camera's own, which makes a difference only if
    the mesh passes through the camera.

    Args:
        scene: The scene.
        surface_cells: Returns the (K, 3) int32 voxels of the surface, world frame; None if there is none.
        stored: A stored selection (see `Coverage`).
        voxel_size_m: Side of a voxel, metres.
    """

    def visible_voxels(index: int, table: VoxelTable) -> np.ndarray:
        frame = scene.frames[index]
        pose = scene.world_from_scan @ frame.scan_from_camera
        return table.seen_through(read_depth_m(frame), frame.depth_intrinsics, pose)

    def points(index: int) -> np.ndarray:
        return frame_points(scene, index)

    return Coverage(points, len(scene.frames), surface_cells, voxel_size_m, stored, visible_voxels, scene.scene_id)


def frame_points(scene: Scene, index: int, stride: int = 1) -> np.ndarray:
    """Back-project the measured pixels of a frame.

    Args:
        scene: The scene.
        index: Index of the frame.
        stride: Use every `stride`-th row and column.

    Returns:
        (M, 3) float32 points, world frame, metres.

    Raises:
        DataError: The depth cannot be decoded.
    """
    frame = scene.frames[index]
    whole = read_depth_m(frame)  # its size is checked: it sets how much is allocated below
    rows, columns = (np.arange(0, size, stride) for size in whole.shape)
    depth = torch.from_numpy(np.ascontiguousarray(whole[::stride, ::stride]))[None]
    pose = torch.from_numpy(scene.world_from_scan @ frame.scan_from_camera)[None]
    camera = torch.from_numpy(frame.depth_intrinsics)[None]
    points = back_project(depth, camera, pose, torch.from_numpy(rows), torch.from_numpy(columns))[0]
    measured = np.flatnonzero(depth[0].numpy() > 0)
    planes = points.permute(2, 0, 1).reshape(3, -1).numpy()  # as they lie in memory: selecting from these is fast
    return np.stack([plane.take(measured) for plane in planes], 1)


def _indices(scene: Scene, frames: Sequence[int] | Sequence[str]) -> list[int]:
    by_name = {frame.name: index for index, frame in enumerate(scene.frames)}
    result = []
    for frame in frames:
        index = by_name.get(frame) if isinstance(frame, str) else int(frame)
        if index is None or not 0 <= index < len(scene.frames):
            raise DataError(
                f"scene {scene.scene_id} has no frame {frame!r}", remedy=f"it has {len(scene.frames)} frames"
            )
        result.append(index)
    return result


def boxes_of(scene: Scene, proposals: str | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the boxes that a grounding head chooses from.

    Args:
        scene: The scene.
        proposals: "pred", "gt" or (N, 6) boxes; see `scene_inputs`.

    Returns:
        (N, 6) float32 boxes as centre and size, world frame, metres, and (N,) int64 object ids, -1 for boxes that are
        not annotated.

    Raises:
        DataError: Another name, or boxes that are not finite (N, 6).
    """
    if isinstance(proposals, str):
        if proposals == "gt":
            boxes = np.array([instance.box for instance in scene.instances], np.float32).reshape(-1, 6)
            ids = np.array([instance.object_id for instance in scene.instances], np.int64)
            return torch.from_numpy(boxes), torch.from_numpy(ids)
        if proposals != "pred":
            raise DataError(f"proposals={proposals!r}", remedy="known: 'pred', 'gt', or an (N, 6) array")
        proposals = scene.proposals
    boxes = np.array(proposals, np.float32)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 6)
    if boxes.ndim != 2 or boxes.shape[1] != 6 or not np.isfinite(boxes).all():
        raise DataError(
            f"proposals of scene {scene.scene_id} have shape {boxes.shape}", remedy="expected finite (N, 6)"
        )
    return torch.from_numpy(boxes), torch.full((len(boxes),), -1, dtype=torch.int64)


def _decode(
    scene: Scene, frames: Sequence[Frame], spec: InputsSpec, threads: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pixels (V, S, S, 3) uint8, points (V, S, S, 3) in the world frame, and (V, S, S) bool: depth measured.

    Frames that were turned upright differ in size from those that were not; each size is decoded by itself.
    """
    sizes = list(dict.fromkeys(frame.depth_size for frame in frames))
    if len({tuple(sorted(size)) for size in sizes}) > 1:
        raise DataError(f"frames of {scene.scene_id} differ in depth size", remedy="prepare the scene again")
    if len(sizes) == 1:
        return _decode_size(scene, frames, spec, threads)
    places = [[i for i, frame in enumerate(frames) if frame.depth_size == size] for size in sizes]
    parts = [_decode_size(scene, [frames[i] for i in indices], spec, threads) for indices in places]
    order = torch.from_numpy(np.argsort(np.concatenate(places), kind="stable"))
    pixels, points, measured = (torch.cat(tensors)[order] for tensors in zip(*parts, strict=True))
    return pixels, points, measured


def _decode_size(
    scene: Scene, frames: Sequence[Frame], spec: InputsSpec, threads: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `_decode`, for frames of one depth size."""
    side, distinct = spec.image_size, {frame.name: frame for frame in frames}
    check_depth_size(frames[0].depth_size, describe(frames[0].depth, frames[0]))
    plan = (resize_plan if spec.fit == "resize" else centre_crop_plan)(*frames[0].depth_size, side)
    rows, columns = plan.rows, plan.columns

    def decode(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        depth = read_depth_m(frame, rows, columns)
        return _cropped_color(frame, plan), depth

    with ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1)) as pool:
        decoded = dict(zip(distinct, pool.map(decode, distinct.values()), strict=True))
    depth_m = torch.from_numpy(np.stack([decoded[frame.name][1] for frame in frames]))
    poses = torch.from_numpy(np.stack([scene.world_from_scan @ frame.scan_from_camera for frame in frames]))
    intrinsics = torch.from_numpy(np.stack([frame.depth_intrinsics for frame in frames]))
    points = back_project(depth_m, intrinsics, poses, torch.from_numpy(rows), torch.from_numpy(columns))
    pixels = torch.from_numpy(np.stack([decoded[frame.name][0] for frame in frames]))
    return pixels, points, depth_m > 0


def _cropped_color(frame: Frame, plan: CropPlan) -> np.ndarray:
    """Return (S, S, 3) uint8: the colour image, resized by Pillow's default filter to the plan's size and cropped.

    The size follows from the depth image's, as in the reference, so that colour and depth pixels correspond.
    """
    image = open_color(frame)
    across, down = image.width / plan.resized_width, image.height / plan.resized_height
    right, bottom = plan.left + plan.side, plan.top + plan.side
    # resizing only what the crop keeps gives the same pixels as cropping the resized image
    box = (plan.left * across, plan.top * down, right * across, bottom * down)
    return np.asarray(image.resize((plan.side, plan.side), box=box))
