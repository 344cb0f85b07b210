"""Mask3D's proposals as LEO publishes them: mask/<id>.mask.npz, a sparse (proposals, vertices) matrix of 0 and 1.

Boxes of the masks are computed as in Video-3D LLM (LaVi-Lab/Video-3D-LLM at 3ff70e8, extract_pred_box.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.archive import open_npz
from video3d_plugin.geometry.boxes import box_of_points
from video3d_plugin.scene import Omission

REFERENCE_LIMIT = 50  # Video-3D LLM uses the first 50 masks; they are sorted by score
_MAX_BYTES = 1 << 29  # unpacked; the masks of a scan have some 20 MB
_REMEDY = "expected scipy.sparse.save_npz of (proposals, mesh vertices); download the masks again"


def read_mask_rows(path: Path, limit: int = REFERENCE_LIMIT) -> tuple[list[np.ndarray], int]:
    """Read the vertices of the first masks, without making the matrix dense.

    Args:
        path: The file: scipy.sparse.save_npz of a csr, csc or coo matrix.
        limit: Largest number of masks.

    Returns:
        One int64 array of vertex indices for each mask, and the number of vertices of the mesh.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not such a matrix.
    """
    arrays = _read_arrays(path)
    form = arrays["format"].tobytes().strip(b"\x00").decode("latin-1")
    shape = arrays["shape"]
    if shape.shape != (2,) or shape.min() < 0 or shape.max() > 1 << 31:
        raise DataError(f"mask matrix has shape {shape.tolist()}", where=path, remedy=_REMEDY)
    rows, columns = int(shape[0]), int(shape[1])
    if form == "csr":
        members = _rows_of_csr(arrays, rows, columns, path)
    elif form in ("coo", "csc"):
        members = _rows_of_triplets(arrays, form, rows, columns, path)
    else:
        raise DataError(f"mask matrix is stored as {form[:20]!r}", where=path, remedy=_REMEDY)
    return members[:limit], columns


def read_proposals(path: Path, points: np.ndarray, limit: int = REFERENCE_LIMIT) -> tuple[np.ndarray, list[Omission]]:
    """Compute the boxes of the first masks.

    Args:
        path: The file of masks.
        points: (M, 3) float32 vertices of the mesh, world frame, metres.
        limit: Largest number of masks to read.

    Returns:
        (N, 6) float64 boxes as centre and size, world frame, metres, and omissions: a mask without a vertex has no box.
        The boxes of the masks after it are kept. The reference's extract_pred_box.py stops there and keeps the boxes
        before it; its process_scan2cap.py fails.

    Raises:
        MissingError: There is no such file.
        DataError: The file is broken, or belongs to another mesh.
    """
    members, columns = read_mask_rows(path, limit)
    if columns != len(points):
        what = f"masks of {columns} vertices for a mesh of {len(points)}"
        raise DataError(what, where=path, remedy="masks belong to <id>_vh_clean_2.ply of the same release")
    boxes, omissions = [], []
    for index, vertices in enumerate(members):
        if len(vertices):
            boxes.append(box_of_points(points[vertices]))
        else:
            omissions.append(Omission(f"proposal {index}", "its mask is empty"))
    return np.array(boxes, np.float64).reshape(-1, 6), omissions


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with open_npz(path, _MAX_BYTES, _REMEDY) as archive:
            members = ("format", "shape", "data", "indices", "indptr", "row", "col")
            # a member that is not a .npy is read as bytes
            arrays: dict[str, np.ndarray] = {n: np.asarray(archive[n]) for n in members if n in archive.files}
    except (DataError, MissingError):
        raise
    except Exception as error:  # damaged zip, zlib or NumPy headers raise many types
        raise DataError(f"masks cannot be read: {error}", where=path, remedy=_REMEDY) from error
    if not {"format", "shape", "data"} <= set(arrays) or arrays["shape"].dtype.kind not in "iu":
        raise DataError("not a sparse matrix", where=path, remedy=_REMEDY)
    return arrays


def _rows_of_csr(arrays: dict[str, np.ndarray], rows: int, columns: int, path: Path) -> list[np.ndarray]:
    data, start = arrays["data"], arrays.get("indptr")
    indices = _checked_indices(arrays.get("indices"), data, columns, path)
    if (
        start is None
        or start.shape != (rows + 1,)
        or start.dtype.kind not in "iu"
        or (np.diff(start) < 0).any()
        or start[0] < 0
        or start[-1] > len(data)
    ):
        raise DataError("mask matrix has broken row pointers", where=path, remedy=_REMEDY)
    return [indices[a:b][data[a:b] == 1].astype(np.int64) for a, b in zip(start[:-1], start[1:], strict=True)]


def _rows_of_triplets(
    arrays: dict[str, np.ndarray], form: str, rows: int, columns: int, path: Path
) -> list[np.ndarray]:
    data = arrays["data"]
    if form == "coo":
        row, column = arrays.get("row"), arrays.get("col")
    else:
        row, start = arrays.get("indices"), arrays.get("indptr")
        if start is None or start.shape != (columns + 1,) or (np.diff(start) < 0).any() or start[-1] != len(data):
            raise DataError("mask matrix has broken column pointers", where=path, remedy=_REMEDY)
        column = np.repeat(np.arange(columns), np.diff(start))
    row = _checked_indices(row, data, rows, path)
    column = _checked_indices(column, data, columns, path)
    if rows > 1 << 20:
        raise DataError(f"mask matrix has {rows} rows", where=path, remedy=_REMEDY)
    is_set = data == 1
    row, column = row[is_set], column[is_set]
    order = np.lexsort((column, row))
    bounds = np.searchsorted(row[order], np.arange(rows + 1))
    return [column[order[a:b]].astype(np.int64) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _checked_indices(indices: np.ndarray | None, data: np.ndarray, limit: int, path: Path) -> np.ndarray:
    """Return the indices of a sparse matrix's values, after checking them; DataError if there are none."""
    if indices is None or indices.shape != data.shape or data.ndim != 1 or indices.dtype.kind not in "iu":
        raise DataError("mask matrix lacks its indices", where=path, remedy=_REMEDY)
    if data.dtype.kind not in "biuf" or (len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < limit):
        raise DataError("mask matrix has indices outside its shape", where=path, remedy=_REMEDY)
    return indices
