"""The data tree that Video-3D LLM releases (huggingface zd11024/Video-3D-LLM_data), read as it is.

    metadata/scannet_{train,val,test}_{gt,pred}_box.json     {"scannet/<id>": [[cx, cy, cz, dx, dy, dz], ...]}
    metadata/pcd_discrete_0.1.pkl                            {"<id>": [(i, j, k), ...]} voxels of the aligned mesh
    metadata/scannet_select_frames.json                      the max-coverage choice of frames
    pcd_with_object_aabbs/<split>/<id>.pth                   aligned vertices, object ids, box corners

Boxes in the gt files have no ids: the program that writes them keeps only scans whose ids are 0..n-1, so the place in
the list is the id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from video3d_plugin.data.readers.pickles import as_array, load_pickle, load_pth
from video3d_plugin.data.schemas import BOX, NAME, PATH
from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import Whole, check
from video3d_plugin.geometry.camera_checks import check_boxes, check_points
from video3d_plugin.scene import Instance

_PREFIX = "scannet/"
_MAX_CELL = 10_000_000  # 1000 km
_CHOICE: dict[str, Any] = {
    "video_id": NAME,
    "frame_files": [PATH],
    "voxel_nums": [Whole(0)],
    "num_all_voxels": Whole(0),
}
_REMEDY = "expected a file of Video-3D LLM's released data"


def read_box_files(folders: list[Path], kind: str) -> dict[str, np.ndarray]:
    """{scene id: (N, 6) float64 boxes} of all metadata/scannet_*_{kind}_box.json; kind is "gt" or "pred"."""
    boxes: dict[str, np.ndarray] = {}
    for path in (p for folder in folders for p in sorted(folder.glob(f"scannet_*_{kind}_box.json"))):
        for name, rows in read_json(path, dict, _REMEDY).items():
            what = f"boxes of {quoted(name, 60)}"
            check(rows, [BOX], path, _REMEDY, name=what)
            boxes[name.removeprefix(_PREFIX)] = check_boxes(np.array(rows, np.float64).reshape(-1, 6), path, what)
    return boxes


def instances_of(boxes: np.ndarray) -> tuple[Instance, ...]:
    """Annotated objects of a gt list: the place is the id, the label is not known."""
    return tuple(Instance(index, "", tuple(box)) for index, box in enumerate(boxes.tolist()))


@dataclass(frozen=True)
class AlignedScan:
    """A .pth scan: vertices (M, 3) float32, world frame, metres, and the annotated objects (none for test scans)."""

    points: np.ndarray
    instances: tuple[Instance, ...] | None


def read_aligned_scan(path: Path) -> AlignedScan:
    """One pcd_with_object_aabbs/<split>/<id>.pth, without executing anything in it."""
    content = load_pth(path)
    if not isinstance(content, dict) or "xyz" not in content:
        raise DataError("no xyz in it", where=path, remedy=_REMEDY)
    points = check_points(_array(content["xyz"], path, "xyz", (-1, 3)), path, "xyz").astype(np.float32)
    if content.get("aabb_obj_ids") is None:
        return AlignedScan(points, None)
    ids = _array(content["aabb_obj_ids"], path, "aabb_obj_ids", (-1,))
    if len(ids) and not (0 <= ids.min() and ids.max() < 1 << 31 and (ids == np.floor(ids)).all()):
        raise DataError("aabb_obj_ids are not numbers of objects", where=path, remedy=_REMEDY)
    corners = _array(content.get("aabb_corner_xyz"), path, "aabb_corner_xyz", (len(ids), 8, 3)).astype(np.float64)
    check_points(corners, path, "aabb_corner_xyz")
    low, high = corners.min(axis=1, initial=np.inf), corners.max(axis=1, initial=-np.inf)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    objects = [Instance(int(number), "", tuple(box)) for number, box in zip(ids, boxes.tolist(), strict=True)]
    return AlignedScan(points, tuple(objects))


@dataclass(frozen=True)
class NamedSelection:
    """A max-coverage choice by frame name: the order of choice, the voxels each one added, those all candidates see."""

    names: tuple[str, ...]
    gains: tuple[int, ...]
    visible: int


def read_selected_frames(path: Path) -> dict[str, NamedSelection]:
    """{scene id: the choice} of scannet_select_frames.json."""
    result = {}
    for index, item in enumerate(read_json(path, list, _REMEDY)):
        check(item, _CHOICE, path, _REMEDY, at=f"item {index}: ")
        names = tuple(PurePosixPath(file).stem for file in item["frame_files"])
        scene_id = item["video_id"].removeprefix(_PREFIX)
        if not len(names) == len(item["voxel_nums"]) == len(set(names)):
            raise DataError(f"the choice of {quoted(scene_id, 60)} does not fit together", where=path, remedy=_REMEDY)
        result[scene_id] = NamedSelection(names, tuple(item["voxel_nums"]), item["num_all_voxels"])
    return result


def read_voxel_file(path: Path) -> dict[str, np.ndarray]:
    """{scene id: (K, 3) int32 voxels of 0.1 m} of pcd_discrete_0.1.pkl."""
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise DataError("not a dictionary of scans", where=path, remedy=_REMEDY)
    result = {}
    for name, cells in content.items():
        what = f"voxels of {quoted(name, 60)}"
        array = as_array(cells, path, what)
        if array.size == 0:
            array = np.zeros((0, 3), np.int64)
        if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
            raise DataError(f"{what} have shape {array.shape}", where=path, remedy=_REMEDY)
        if len(array) and not -_MAX_CELL <= array.min() <= array.max() <= _MAX_CELL:
            raise DataError(f"{what} lie beyond {_MAX_CELL} cells", where=path, remedy=_REMEDY)
        result[str(name)] = array.astype(np.int32)
    return result


def _array(value: Any, path: Path, what: str, shape: tuple[int, ...]) -> np.ndarray:
    array = as_array(value, path, what)
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=False))
    if not fits or not np.isfinite(array).all():
        raise DataError(f"{what} has shape {array.shape}", where=path, remedy=_REMEDY)
    return array
