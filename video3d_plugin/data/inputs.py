"""SceneInputs from a Scene: the one function in which full images and coordinates exist.

Depth is nearest-resized and cropped first, and only the pixels that are used are back-projected; nearest-resizing
commutes with back-projection, so the values equal those of Video-3D LLM (LaVi-Lab/Video-3D-LLM at 3ff70e8,
llava/video_utils.py), which back-projects every pixel and then drops most.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from video3d_plugin.data.frames import describe, open_color, read_depth
from video3d_plugin.errors import DataError
from video3d_plugin.files.images import check_depth_size
from video3d_plugin.geometry.boxes import pack_patches, proposal_patches
from video3d_plugin.geometry.cameras import CropPlan, back_project, centre_crop_plan
from video3d_plugin.geometry.patch_grid import token_points
from video3d_plugin.geometry.voxels import VoxelTable
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.sampling import registry
from video3d_plugin.sampling.coverage import VOXEL_SIZE_M, Coverage, Selection
from video3d_plugin.scene import Frame, Scene, SceneInputs

if TYPE_CHECKING:
    from collections.abc import Callable


def scene_inputs(
    scene: Scene,
    frames: Sequence[int] | Sequence[str],
    spec: InputsSpec,
    proposals: str | np.ndarray = "pred",
    threads: int | None = None,
) -> SceneInputs:
    """What the model sees of `scene` through `frames` (indices or names, in order; repeats allowed).

    proposals    "pred" (scene.proposals), "gt" (annotated boxes), or (N, 6) boxes, world frame, metres
    threads      for decoding; the result does not depend on it (default: up to 4)
    DataError names the file of a frame that cannot be decoded.
    """
    chosen = [scene.frames[i] for i in _indices(scene, frames)]
    if not chosen:
        raise DataError(f"scene {scene.scene_id}: no frame was asked for")
    boxes, ids = boxes_of(scene, proposals)
    pixels, points, valid = _decode(scene, chosen, spec, threads)
    used = spec.used_side
    mask = valid if spec.mask_invalid_depth else None
    tokens, token_valid = token_points(points, spec, mask)
    return SceneInputs(
        spec=spec,
        scene_id=scene.scene_id,
        frames=tuple(frame.name for frame in chosen),
        pixels=pixels[:, :used, :used].contiguous(),
        token_points=tokens,
        token_valid=token_valid,
        proposals=boxes,
        proposal_bits=pack_patches(proposal_patches(points, boxes, spec, mask)),
        proposal_ids=ids,
    )


def crops(scene: Scene, frames: Sequence[int] | Sequence[str], spec: InputsSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """((V, S, S, 3) uint8 pixels, (V, S, S, 3) float32 world points, metres) of the whole crops. For checks."""
    pixels, points, _ = _decode(scene, [scene.frames[i] for i in _indices(scene, frames)], spec, None)
    return pixels, points


def sample(scene: Scene, sampler: str, max_frames: int, coverage: Coverage | None = None) -> list[int]:
    """Indices of the frames that the sampler of this name chooses, checked."""
    if max_frames < 1:
        raise DataError(f"max_frames is {max_frames}", remedy="ask for at least one frame")
    function = registry.get(sampler)
    chosen = [int(i) for i in function(scene, max_frames, coverage or scene_coverage(scene))]
    if not chosen or not all(0 <= i < len(scene.frames) for i in chosen):
        raise DataError(
            f"frame sampler {sampler!r} chose {chosen[:8]} of {len(scene.frames)} frames of {scene.scene_id}"
        )
    return chosen


def scene_coverage(
    scene: Scene,
    surface_cells: Callable[[], np.ndarray | None] = lambda: None,
    known: Selection | None = None,
) -> Coverage:
    """What the frames see, computed when a sampler asks. Depth 0 shows nothing (the reference lets it show the camera's
    own voxel, which counts only if the mesh passes through the camera)."""

    def look(index: int, table: VoxelTable) -> np.ndarray:
        frame = scene.frames[index]
        pose = scene.world_from_scan @ frame.scan_from_camera
        return table.seen_through(_depth_m(frame), frame.depth_intrinsics, pose)

    def points_of(index: int) -> np.ndarray:
        return frame_points(scene, index)

    return Coverage(points_of, len(scene.frames), surface_cells, VOXEL_SIZE_M, known, look, scene.scene_id)


def frame_points(scene: Scene, index: int, stride: int = 1) -> np.ndarray:
    """(M, 3) float32 world points, metres, of the measured pixels of a frame, every `stride`-th row and column."""
    frame = scene.frames[index]
    whole = _depth_m(frame)  # first: it is of the size that the frame states, or an error
    rows, columns = (np.arange(0, size, stride) for size in whole.shape)
    depth = torch.from_numpy(np.ascontiguousarray(whole[::stride, ::stride]))[None]
    pose = torch.from_numpy(scene.world_from_scan @ frame.scan_from_camera)[None]
    camera = torch.from_numpy(frame.depth_intrinsics)[None]
    points = back_project(depth, camera, pose, torch.from_numpy(rows), torch.from_numpy(columns))[0]
    return points[depth[0] > 0].numpy()


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
    """((N, 6) float32 boxes, world frame, metres; (N,) int64 object ids, -1 for boxes that are not annotated)."""
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
    """(pixels (V, S, S, 3) uint8, world points (V, S, S, 3), measured (V, S, S) bool)."""
    side, distinct = spec.image_size, {frame.name: frame for frame in frames}
    check_depth_size(frames[0].depth_size, describe(frames[0].depth, frames[0]))
    for frame in frames:
        if frame.depth_size != frames[0].depth_size:
            raise DataError(f"frames of {scene.scene_id} differ in depth size", remedy="prepare the scene again")
    plan = centre_crop_plan(*frames[0].depth_size, side)
    rows, columns = plan.rows, plan.columns

    def decode(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        depth = _depth_m(frame, rows, columns)
        return _cropped_color(frame, plan), depth

    with ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1)) as pool:
        decoded = dict(zip(distinct, pool.map(decode, distinct.values()), strict=True))
    depth_m = torch.from_numpy(np.stack([decoded[frame.name][1] for frame in frames]))
    poses = torch.from_numpy(np.stack([scene.world_from_scan @ frame.scan_from_camera for frame in frames]))
    intrinsics = torch.from_numpy(np.stack([frame.depth_intrinsics for frame in frames]))
    points = back_project(depth_m, intrinsics, poses, torch.from_numpy(rows), torch.from_numpy(columns))
    pixels = torch.from_numpy(np.stack([decoded[frame.name][0] for frame in frames]))
    return pixels, points, depth_m > 0


def _depth_m(frame: Frame, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> np.ndarray:
    """float32 metres of the whole depth image, or of its given rows and columns."""
    depth = read_depth(frame)
    if rows is not None and columns is not None:
        depth = depth[rows[:, None], columns]
    # a division, because the reference divides millimetres by 1000 and the product with 0.001 rounds differently
    return depth.astype(np.float32) / np.float32(1.0 / frame.depth_unit_m)


def _cropped_color(frame: Frame, plan: CropPlan) -> np.ndarray:
    """(S, S, 3) uint8: resized by Pillow's default filter to the plan's size, then cropped.

    The size follows from the depth image's, as in the reference, so that colour and depth pixels correspond.
    """
    image = open_color(frame)
    across, down = image.width / plan.resized_width, image.height / plan.resized_height
    right, bottom = plan.left + plan.side, plan.top + plan.side
    # resizing only what the crop keeps gives the same pixels as cropping the resized image
    box = (plan.left * across, plan.top * down, right * across, bottom * down)
    return np.asarray(image.resize((plan.side, plan.side), box=box))
