"""Reads the data tree that Video-3D LLM releases (Hugging Face: zd11024/Video-3D-LLM_data).

    metadata/scannet_{train,val,test}_{gt,pred}_box.json     {"scannet/<id>": [[cx, cy, cz, dx, dy, dz], ...]}
    metadata/pcd_discrete_0.1.pkl                            {"<id>": [(i, j, k), ...]} voxels of the aligned mesh
    metadata/scannet_select_frames.json                      the max-coverage selection of frames
    pcd_with_object_aabbs/<split>/<id>.pth                   aligned vertices, object ids, box corners

Boxes in the gt files have no ids. The official script writes only scans whose object ids are 0..n-1, so the place in
the list is the id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from video3d_plugin.data.readers.pickles import as_array, load_pickle, load_pth
from video3d_plugin.data.schemas import PATH
from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import Whole, check
from video3d_plugin.geometry.camera_checks import check_boxes, check_points
from video3d_plugin.scene import Instance
from video3d_plugin.tasks.kinds import BOX, NAME

_PREFIX = "scannet/"
_MAX_CELL = 10_000_000  # 1000 km
_SELECTION: dict[str, Any] = {
    "video_id": NAME,
    "frame_files": [PATH],
    "voxel_nums": [Whole(0)],
    "num_all_voxels": Whole(0),
}
_REMEDY = "expected a file of Video-3D LLM's released data"


def read_box_files(folders: list[Path], kind: str) -> dict[str, np.ndarray]:
    """Read all scannet_*_{kind}_box.json of some folders.

    Args:
        folders: Folders of metadata.
        kind: "gt" (annotated boxes) or "pred" (proposals).

    Returns:
        Scene id to (N, 6) float64 boxes as centre and size, world frame, metres.

    Raises:
        DataError: A file is broken.
    """
    boxes: dict[str, np.ndarray] = {}
    for path in (p for folder in folders for p in sorted(folder.glob(f"scannet_*_{kind}_box.json"))):
        for name, rows in read_json(path, dict, _REMEDY).items():
            what = f"boxes of {quoted(name, 60)}"
            check(rows, [BOX], path, _REMEDY, name=what)
            boxes[name.removeprefix(_PREFIX)] = check_boxes(np.array(rows, np.float64).reshape(-1, 6), path, what)
    return boxes


def instances_of(boxes: np.ndarray) -> tuple[Instance, ...]:
    """Return the annotated objects of a list of (N, 6) gt boxes. The id is the place; the label is not known."""
    return tuple(Instance(index, "", tuple(box)) for index, box in enumerate(boxes.tolist()))


@dataclass(frozen=True)
class AlignedScan:
    """A scan as released in a .pth file.

    Attributes:
        points: (M, 3) float32 vertices of the mesh, world frame, metres.
        instances: Annotated objects; None for test scans.
    """

    points: np.ndarray
    instances: tuple[Instance, ...] | None


def read_aligned_scan(path: Path) -> AlignedScan:
    """Read a pcd_with_object_aabbs/<split>/<id>.pth, without executing anything in it.

    Raises:
        MissingError: There is no such file.
        DataError: The file is broken.
    """
    content = load_pth(path)
    if not isinstance(content, dict) or "xyz" not in content:
        raise DataError("has no entry xyz", where=path, remedy=_REMEDY)
    points = check_points(_array(content["xyz"], path, "xyz", (-1, 3)), path, "xyz").astype(np.float32)
    if content.get("aabb_obj_ids") is None:
        return AlignedScan(points, None)
    ids = _array(content["aabb_obj_ids"], path, "aabb_obj_ids", (-1,))
    if len(ids) and not (0 <= ids.min() and ids.max() < 1 << 31 and (ids == np.floor(ids)).all()):
        raise DataError("aabb_obj_ids are not object ids", where=path, remedy=_REMEDY)
    corners = _array(content.get("aabb_corner_xyz"), path, "aabb_corner_xyz", (len(ids), 8, 3)).astype(np.float64)
    check_points(corners, path, "aabb_corner_xyz")
    low, high = corners.min(axis=1, initial=np.inf), corners.max(axis=1, initial=-np.inf)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    objects = [Instance(int(number), "", tuple(box)) for number, box in zip(ids, boxes.tolist(), strict=True)]
    return AlignedScan(points, tuple(objects))


@dataclass(frozen=True)
class NamedSelection:
    """A max-coverage selection by frame name.

    Attributes:
        names: Frame names in the order of selection.
        gains: Number of voxels that each of them added.
        visible: Number of voxels that all candidates see together.
    """

    names: tuple[str, ...]
    gains: tuple[int, ...]
    visible: int


def read_selected_frames(path: Path) -> dict[str, NamedSelection]:
    """Read scannet_select_frames.json.

    Returns:
        Scene id to selection.

    Raises:
        MissingError: There is no such file.
        DataError: The file is broken.
    """
    result = {}
    for index, item in enumerate(read_json(path, list, _REMEDY)):
        check(item, _SELECTION, path, _REMEDY, at=f"item {index}: ")
        names = tuple(PurePosixPath(file).stem for file in item["frame_files"])
        scene_id = item["video_id"].removeprefix(_PREFIX)
        if not len(names) == len(item["voxel_nums"]) == len(set(names)):
            what = f"frames and voxel counts of {quoted(scene_id, 60)} do not match, or a frame occurs twice"
            raise DataError(what, where=path, remedy=_REMEDY)
        result[scene_id] = NamedSelection(names, tuple(item["voxel_nums"]), item["num_all_voxels"])
    return result


def read_voxel_file(path: Path) -> dict[str, np.ndarray]:
    """Read pcd_discrete_0.1.pkl, without executing anything in it.

    Returns:
        Scene id to (K, 3) int32 voxels of 0.1 m, world frame.

    Raises:
        MissingError: There is no such file.
        DataError: The file is broken.
    """
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
