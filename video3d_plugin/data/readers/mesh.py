"""ScanNet's annotations of a mesh: boxes from over-segmentation (.segs.json) and objects (.aggregation.json).

Boxes are computed as in Video-3D LLM (LaVi-Lab/Video-3D-LLM at 3ff70e8, extract_scannet_pcd.py): aligned vertices in
float32, corner = low + (high - low) in float32, centre and size of those in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_json
from video3d_plugin.scene import Instance, Omission


def align(vertices: np.ndarray, world_from_scan: np.ndarray) -> np.ndarray:
    """Transform (M, 3) float64 points of the scan frame to (M, 3) float32 points of the world frame, metres.

    Points beyond the range of float32 become infinite; the caller checks.
    """
    with np.errstate(over="ignore"):
        return (vertices @ world_from_scan[:3, :3].T + world_from_scan[:3, 3]).astype(np.float32)


@dataclass(frozen=True)
class Group:
    """An annotated object as the aggregation file lists it.

    Attributes:
        object_id: ScanNet's objectId.
        label: Raw label.
        vertices: (L,) int64 indices of its vertices, segment by segment.
    """

    object_id: int
    label: str
    vertices: np.ndarray


def read_groups(path_segments: Path, path_aggregation: Path, count: int) -> list[Group]:
    """Read the annotated objects of a scan.

    Args:
        path_segments: The over-segmentation.
        path_aggregation: The objects as lists of segments.
        count: Number of vertices of the mesh.

    Returns:
        The objects, in the order of the aggregation file.

    Raises:
        MissingError: A file does not exist.
        DataError: A file is broken, or the segments belong to another mesh.
    """
    segments = read_json(path_segments, dict).get("segIndices")
    groups = read_json(path_aggregation, dict).get("segGroups")
    segment_of = _integers(segments, path_segments, "segIndices")
    if len(segment_of) != count:
        what = f"{len(segment_of)} segment indices for a mesh of {count} vertices"
        raise DataError(what, where=path_segments, remedy="mesh and segments must be of the same release")
    if not isinstance(groups, list):
        raise DataError("no list of segGroups", where=path_aggregation, remedy="expected ScanNet's aggregation file")
    order = np.argsort(segment_of, kind="stable")
    ordered = segment_of[order]
    result = []
    for group in groups:
        object_id, label, segment_ids = _parse_group(group, path_aggregation)
        first, last = np.searchsorted(ordered, segment_ids, "left"), np.searchsorted(ordered, segment_ids, "right")
        pieces = [order[a:b] for a, b in zip(first, last, strict=True)]
        result.append(Group(object_id, label, np.concatenate(pieces) if pieces else np.zeros(0, np.int64)))
    return result


def owners(groups: list[Group], count: int) -> tuple[np.ndarray, dict[int, str], list[Omission]]:
    """Assign each vertex to an object. A vertex of two objects goes to the later one in the file, as in the reference.

    Args:
        groups: The objects.
        count: Number of vertices of the mesh, M.

    Returns:
        (M,) int64 object ids, -1 for vertices of no object; labels by object id; omissions.
    """
    owner = np.full(count, -1, np.int64)
    labels: dict[int, str] = {}
    omissions = []
    for group in groups:
        if group.object_id in labels:
            what = f"object {group.object_id} ({labels[group.object_id]})"
            omissions.append(Omission(what, "the aggregation lists its id twice; the later one counts"))
            owner[owner == group.object_id] = -1
        labels[group.object_id] = group.label
        owner[group.vertices] = group.object_id
    return owner, labels, omissions


def read_instances(
    path_segments: Path, path_aggregation: Path, points: np.ndarray
) -> tuple[tuple[Instance, ...], list[Omission]]:
    """Read the annotated objects of a scan with their boxes.

    Args:
        path_segments: The over-segmentation.
        path_aggregation: The objects as lists of segments.
        points: (M, 3) float32 vertices of the mesh, world frame, metres.

    Returns:
        The objects by ascending id (ids need not be consecutive), and omissions: an object without a vertex has no box.
        Objects with the same segments (scene0217_00 lists each twice, with different ids) have the same box.

    Raises:
        MissingError: A file does not exist.
        DataError: A file is broken, or the segments belong to another mesh.
    """
    groups = read_groups(path_segments, path_aggregation, len(points))
    owner, labels, omissions = owners(groups, len(points))
    owning = _owning_twins(groups)
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    instances = []
    for object_id, label in sorted(labels.items()):
        its_owner = owning.get(object_id, object_id)
        first, last = np.searchsorted(ordered, [its_owner, its_owner + 1])
        if first == last:
            omissions.append(Omission(f"object {object_id} ({label})", "none of its segments has a vertex"))
            continue
        members = points[order[first:last]]
        low = members.min(axis=0)
        high = low + (members.max(axis=0) - low)  # float32, the order of the reference
        low, high = low.astype(np.float64), high.astype(np.float64)
        box = np.concatenate([(low + high) / 2, high - low])
        instances.append(Instance(object_id, label, tuple(box.tolist())))
    return tuple(instances), omissions


def _owning_twins(groups: list[Group]) -> dict[int, int]:
    """Object ids to the last object of the same vertices, which owns them."""
    by_vertices: dict[bytes, list[int]] = {}
    for group in groups:
        if len(group.vertices):
            by_vertices.setdefault(np.sort(group.vertices).tobytes(), []).append(group.object_id)
    return {object_id: ids[-1] for ids in by_vertices.values() for object_id in ids}


def _parse_group(group: object, path: Path) -> tuple[int, str, np.ndarray]:
    try:
        object_id, label, segments = group["objectId"], group["label"], group["segments"]  # type: ignore[index]
    except (TypeError, KeyError):
        raise DataError("a segGroup lacks objectId, label or segments", where=path) from None
    if not isinstance(object_id, int) or isinstance(object_id, bool) or not 0 <= object_id < 1 << 31:
        raise DataError(f"objectId {quoted(object_id, 40)} is not a valid object id", where=path)
    if not isinstance(label, str):
        raise DataError(f"label of object {object_id} is not text: {quoted(label, 40)}", where=path)
    return object_id, label, _integers(segments, path, f"segments of object {object_id}")


def _integers(values: object, path: Path, what: str) -> np.ndarray:
    try:
        array = np.array(values)
        if array.size == 0 and isinstance(values, list):
            return np.zeros(0, np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{array.dtype} of shape {array.shape}")
    except (ValueError, OverflowError) as error:
        raise DataError(f"{what} is not a list of whole numbers: {error}", where=path) from None
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{what} is not a list of whole numbers: {array.max()} is too large", where=path)
    return array.astype(np.int64)
