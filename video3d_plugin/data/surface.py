"""Surface voxels of a scan: the files of a data folder's surface/."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.archive import open_npz
from video3d_plugin.files.atomic import write_bytes

_MAX_BYTES = 1 << 31  # unpacked; a large scan has a few million voxels
_AGAIN = "run `video3d prepare` again"


def read_cells(path: Path) -> np.ndarray:
    """Read the (K, 3) int32 surface voxels of 0.1 m of a scan, world frame.

    Raises:
        MissingError: There is no such file.
        DataError: The file is damaged.
    """
    if not path.is_file():
        raise MissingError("the scan's surface is gone", where=path, remedy=_AGAIN)
    try:
        with open_npz(path, _MAX_BYTES, _AGAIN) as archive:
            cells = archive["cells"]
        if not isinstance(cells, np.ndarray) or cells.ndim != 2 or cells.shape[1] != 3 or cells.dtype != np.int32:
            raise ValueError("not (K, 3) int32 voxels")
        return cells
    except (DataError, MissingError):
        raise
    except Exception as error:  # a damaged zip raises many types
        raise DataError(f"damaged: {error!s:.200}", where=path, remedy=_AGAIN) from error


def write_cells(path: Path, cells: np.ndarray) -> None:
    """Write (K, 3) int32 surface voxels. The bytes depend on the voxels alone: NumPy writes a fixed date.

    Raises:
        DataError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, cells=cells)
    write_bytes(path, buffer.getvalue())
