"""PLY meshes, ascii or binary: vertices first, then triangles. Sizes in the header are checked against the file's."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import read_regular

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_BYTE_ORDER = {"binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_BYTES = 1 << 32
_MAX_HEADER_BYTES = 1 << 16
_REMEDY = "expected ScanNet's <id>_vh_clean_2.ply; download it again"


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (M, 3) float64, scan frame, metres.
        colors: (M, 3) uint8 RGB; black if the file has none.
        faces: (F, 3) int64 indices of vertices.
    """

    vertices: np.ndarray
    colors: np.ndarray
    faces: np.ndarray


@dataclass
class _Header:
    form: str = ""
    vertices: int = -1
    fields: list[tuple[str, str]] = field(default_factory=list)
    faces: int = 0
    face_list: tuple[str, str] | None = None  # types of the count and of the indices

    @property
    def row(self) -> np.dtype:
        order = _BYTE_ORDER[self.form]
        return np.dtype([(name, order + code) for name, code in self.fields])


def read_vertices(path: Path) -> np.ndarray:
    """Read the (M, 3) float64 vertices of a mesh, scan frame, metres.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not a whole PLY, or a vertex is not finite.
    """
    return _read(path, with_faces=False).vertices


def read_mesh(path: Path) -> Mesh:
    """Read vertices, colours and triangles of a mesh.

    Raises:
        MissingError: There is no such file.
        DataError: As `read_vertices`, or a face is not a triangle of the vertices.
    """
    return _read(path, with_faces=True)


def _read(path: Path, with_faces: bool) -> Mesh:
    data = read_regular(path, _MAX_BYTES)
    end = data.find(b"end_header", 0, _MAX_HEADER_BYTES)
    if not data.startswith(b"ply") or end < 0:
        raise DataError("not a PLY file", where=path, remedy=_REMEDY)
    start = data.find(b"\n", end) + 1
    try:
        header = _parse_header(data[:end].decode("ascii"))
        if header.form == "ascii":
            mesh = _ascii(data[start:], header, with_faces)
        else:
            mesh = _binary(data, start, header, with_faces)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise DataError(f"PLY cannot be read: {error}", where=path, remedy=_REMEDY) from None
    if not np.isfinite(mesh.vertices).all():
        raise DataError("PLY holds vertices that are not finite", where=path, remedy=_REMEDY)
    return mesh


def _parse_header(text: str) -> _Header:
    header, element = _Header(), None
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["format"]:
            header.form = words[1]
        elif words[:1] == ["element"]:
            if element is None and words[1] != "vertex":
                raise ValueError(f"its first element is {words[1]!r}, not vertex")
            element = words[1]
            if element == "vertex":
                header.vertices = int(words[2])
            elif element == "face":
                header.faces = int(words[2])
        elif words[:1] == ["property"] and element == "vertex":
            if words[1] == "list":
                raise ValueError("vertices with list properties")
            header.fields.append((words[2], _TYPES[words[1]]))
        elif words[:2] == ["property", "list"] and element == "face" and header.face_list is None:
            header.face_list = _TYPES[words[2]], _TYPES[words[3]]
        elif words[:1] == ["property"] and element == "face":
            header.face_list = ("", "")  # faces with further properties are not supported
    names = [name for name, _ in header.fields]
    if header.vertices < 0 or not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise ValueError("no vertex element with x, y and z")
    if header.form != "ascii" and header.form not in _BYTE_ORDER:
        raise ValueError(f"format {header.form!r}")
    return header


def _binary(data: bytes, start: int, header: _Header, with_faces: bool) -> Mesh:
    end = start + header.vertices * header.row.itemsize
    if end > len(data):
        raise ValueError(f"it ends before its {header.vertices} vertices do")
    rows = np.frombuffer(data, header.row, header.vertices, start)
    with np.errstate(invalid="ignore"):  # of signalling NaNs; the caller checks for NaN
        vertices = np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=1)
    colors = np.zeros((len(rows), 3), np.uint8)
    for place, name in enumerate(("red", "green", "blue")):
        if with_faces and name in (rows.dtype.names or ()):
            colors[:, place] = rows[name]
    faces = np.zeros((0, 3), np.int64)
    if with_faces and header.faces:
        faces = _triangles(data, end, header)
    return Mesh(vertices, colors, faces)


def _triangles(data: bytes, start: int, header: _Header) -> np.ndarray:
    count_type, index_type = header.face_list or ("", "")
    if not count_type or index_type[0] not in "iu":
        raise ValueError("its faces are not plain lists of vertices")
    order = _BYTE_ORDER[header.form]
    row = np.dtype([("n", order + count_type), ("v", order + index_type, (3,))])
    if header.faces < 0 or start + header.faces * row.itemsize > len(data):
        raise ValueError(f"it ends before its {header.faces} faces do, or they are not all triangles")
    rows = np.frombuffer(data, row, header.faces, start)
    faces = rows["v"].astype(np.int64)
    if (rows["n"] != 3).any() or faces.min() < 0 or faces.max() >= header.vertices:
        raise ValueError("its faces are not all triangles of its vertices")
    return faces


def _ascii(text: bytes, header: _Header, with_faces: bool) -> Mesh:
    count = header.vertices
    if count * 2 * len(header.fields) > len(text) + 1:
        raise ValueError(f"it ends before its {count} vertices do")
    if with_faces and header.faces:
        raise ValueError("faces of ascii files are not read: save it as binary")
    columns = [[name for name, _ in header.fields].index(axis) for axis in "xyz"]
    vertices = np.zeros((0, 3))
    if count:
        vertices = np.loadtxt(io.BytesIO(text), max_rows=count, usecols=columns, ndmin=2).reshape(count, 3)
    return Mesh(vertices, np.zeros((count, 3), np.uint8), np.zeros((0, 3), np.int64))
