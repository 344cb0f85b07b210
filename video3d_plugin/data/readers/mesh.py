"""ScanNet's annotated mesh: vertices (.ply), over-segmentation (.segs.json), objects (.aggregation.json).

Boxes are computed as Video-3D LLM does (LaVi-Lab/Video-3D-LLM at 3ff70e8, extract_scannet_pcd.py): aligned vertices
in float32, corner = low + (high - low) in float32, centre and size of those in float64.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from video3d_plugin.data.text import read_bytes, read_json
from video3d_plugin.errors import DataError
from video3d_plugin.scene import Instance, Omission

_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_BYTE_ORDER = {"binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_MESH_BYTES = 1 << 32
_MAX_HEADER_BYTES = 1 << 16
_REMEDY = "expected ScanNet's <id>_vh_clean_2.ply; download it again"


def read_vertices(path: Path) -> np.ndarray:
    """(M, 3) float64 vertex positions of a PLY file (ascii or binary), scan frame, metres."""
    data = read_bytes(path, _MAX_MESH_BYTES)
    end = data.find(b"end_header", 0, _MAX_HEADER_BYTES)
    if not data.startswith(b"ply") or end < 0:
        raise DataError("not a PLY file", where=path, remedy=_REMEDY)
    start = data.find(b"\n", end) + 1
    try:
        form, count, fields = _parse_header(data[:end].decode("ascii"))
        vertices = (
            _ascii_rows(data[start:], count, fields) if form == "ascii" else _rows(data, start, form, count, fields)
        )
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise DataError(f"PLY cannot be read: {error}", where=path, remedy=_REMEDY) from None
    if not np.isfinite(vertices).all():
        raise DataError("PLY holds vertices that are not finite", where=path, remedy=_REMEDY)
    return vertices


def _parse_header(header: str) -> tuple[str, int, list[tuple[str, str]]]:
    """(format, number of vertices, [(property, numpy type)]) of a header whose first element is `vertex`."""
    form, count, fields, element = "", -1, [], None
    for words in (line.split() for line in header.splitlines()):
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            if element is None and words[1] != "vertex":
                raise ValueError(f"its first element is {words[1]!r}, not vertex")
            element = words[1]
            count = int(words[2]) if element == "vertex" else count
        elif words[:1] == ["property"] and element == "vertex":
            if words[1] == "list":
                raise ValueError("vertices with list properties")
            fields.append((words[2], _PLY_TYPES[words[1]]))
    names = [name for name, _ in fields]
    if count < 0 or not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise ValueError("no vertex element with x, y and z")
    if form != "ascii" and form not in _BYTE_ORDER:
        raise ValueError(f"format {form!r}")
    return form, count, fields


def _rows(data: bytes, start: int, form: str, count: int, fields: list[tuple[str, str]]) -> np.ndarray:
    kind = np.dtype([(name, _BYTE_ORDER[form] + code) for name, code in fields])
    if start + count * kind.itemsize > len(data):
        raise ValueError(f"it ends before its {count} vertices do")
    rows = np.frombuffer(data, kind, count, start)
    return np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=1)


def _ascii_rows(text: bytes, count: int, fields: list[tuple[str, str]]) -> np.ndarray:
    if count * 2 * len(fields) > len(text) + 1:
        raise ValueError(f"it ends before its {count} vertices do")
    columns = [[name for name, _ in fields].index(axis) for axis in "xyz"]
    if not count:
        return np.zeros((0, 3))
    return np.loadtxt(io.BytesIO(text), max_rows=count, usecols=columns, ndmin=2).reshape(count, 3)


def align(vertices: np.ndarray, world_from_scan: np.ndarray) -> np.ndarray:
    """(M, 3) float32 world points of (M, 3) float64 scan points."""
    return (vertices @ world_from_scan[:3, :3].T + world_from_scan[:3, 3]).astype(np.float32)


def instance_ids(
    path_segments: Path, path_aggregation: Path, count: int
) -> tuple[np.ndarray, dict[int, str], list[Omission]]:
    """((M,) int64 object id of every vertex or -1, label by object id, omissions).

    A vertex that two objects claim goes to the later one in the file, as in the reference.
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
    owner = np.full(count, -1, np.int64)
    labels: dict[int, str] = {}
    omissions = []
    for group in groups:
        object_id, label, wanted = _parse_group(group, path_aggregation)
        if object_id in labels:
            omissions.append(
                Omission(
                    f"object {object_id} ({labels[object_id]})",
                    "the aggregation lists its id twice; the later one counts",
                )
            )
            owner[owner == object_id] = -1
        labels[object_id] = label
        first, last = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
        for a, b in zip(first, last, strict=True):
            owner[order[a:b]] = object_id
    return owner, labels, omissions


def read_instances(
    path_segments: Path, path_aggregation: Path, points: np.ndarray
) -> tuple[tuple[Instance, ...], list[Omission]]:
    """Annotated objects with their boxes, by rising object id, from the aligned vertices (M, 3) float32.

    Ids need not be consecutive; an object without a single vertex has no box and is reported.
    """
    owner, labels, omissions = instance_ids(path_segments, path_aggregation, len(points))
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
        raise DataError(f"objectId {object_id!r:.40} is not a number of an object", where=path)
    return object_id, str(label), _integers(segments, path, f"segments of object {object_id}")


def _integers(values: object, path: Path, what: str) -> np.ndarray:
    try:
        array = np.array(values)
        if array.size == 0 and isinstance(values, list):
            return np.zeros(0, np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{array.dtype} of shape {array.shape}")
    except (ValueError, OverflowError) as error:
        raise DataError(f"{what} is not a list of whole numbers: {error}", where=path) from None
    return array.astype(np.int64)
