"""ScanNet's annotations of a mesh: over-segmentation (.segs.json) and objects (.aggregation.json) become boxes.

Boxes are computed as Video-3D LLM does (LaVi-Lab/Video-3D-LLM at 3ff70e8, extract_scannet_pcd.py): aligned vertices
in float32, corner = low + (high - low) in float32, centre and size of those in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_json
from video3d_plugin.scene import Instance, Omission


def align(vertices: np.ndarray, world_from_scan: np.ndarray) -> np.ndarray:
    """(M, 3) float32 world points of (M, 3) float64 scan points."""
    with np.errstate(over="ignore"):  # vertices beyond float32 become infinite: the caller refuses them
        return (vertices @ world_from_scan[:3, :3].T + world_from_scan[:3, 3]).astype(np.float32)


@dataclass(frozen=True)
class Group:
    """An annotated object as the aggregation lists it: id, raw label, and its vertices (indices, by segment)."""

    object_id: int
    label: str
    vertices: np.ndarray


def read_groups(path_segments: Path, path_aggregation: Path, count: int) -> list[Group]:
    """The objects of a scan, in the order of the aggregation file, for a mesh of `count` vertices."""
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
        object_id, label, wanted = _parse_group(group, path_aggregation)
        first, last = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
        pieces = [order[a:b] for a, b in zip(first, last, strict=True)]
        result.append(Group(object_id, label, np.concatenate(pieces) if pieces else np.zeros(0, np.int64)))
    return result


def owners(groups: list[Group], count: int) -> tuple[np.ndarray, dict[int, str], list[Omission]]:
    """((M,) int64 object id of every vertex or -1, label by object id, omissions).

    A vertex that two objects claim goes to the later one in the file, as in the reference.
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
    """Annotated objects with their boxes, by rising object id, from the aligned vertices (M, 3) float32.

    Ids need not be consecutive; an object without a single vertex has no box and is reported.
    """
    owner, labels, omissions = owners(read_groups(path_segments, path_aggregation, len(points)), len(points))
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    instances = []
    for object_id, label in sorted(labels.items()):
        first, last = np.searchsorted(ordered, [object_id, object_id + 1])
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


def _parse_group(group: object, path: Path) -> tuple[int, str, np.ndarray]:
    try:
        object_id, label, segments = group["objectId"], group["label"], group["segments"]  # type: ignore[index]
    except (TypeError, KeyError):
        raise DataError("a segGroup lacks objectId, label or segments", where=path) from None
    if not isinstance(object_id, int) or isinstance(object_id, bool) or not 0 <= object_id < 1 << 31:
        raise DataError(f"objectId {quoted(object_id, 40)} is not a number of an object", where=path)
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
