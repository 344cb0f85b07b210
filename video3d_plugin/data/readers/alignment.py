"""The alignment that a user gives for a recording: world_from_scan.txt or gravity.txt in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.text import MATRIX_BYTES, parse_numbers, read_matrix, read_text
from video3d_plugin.geometry.camera_checks import is_rigid

MATRIX_FILE = "world_from_scan.txt"
GRAVITY_FILE = "gravity.txt"


def read_alignment(folder: Path) -> np.ndarray | None:
    """Read the alignment that a recording's folder gives.

    Args:
        folder: Folder with a world_from_scan.txt (4x4 numbers) or a gravity.txt (three numbers: the direction down,
            in the scan frame). The first counts where both are there.

    Returns:
        (4, 4) float64, world from scan, metres; None if the folder has neither file.

    Raises:
        DataError: The matrix is not a rotation and a translation, or the direction has no length.
    """
    path = folder / MATRIX_FILE
    if path.is_file():
        matrix = read_matrix(path)
        if not is_rigid(matrix):
            raise DataError("not a rotation and a translation", where=path)
        return matrix
    path = folder / GRAVITY_FILE
    if path.is_file():
        return from_gravity(parse_numbers(read_text(path, MATRIX_BYTES), 3, where=path))
    return None


def from_gravity(down: Sequence[float]) -> np.ndarray:
    """Return the (4, 4) float64 rotation that turns the direction `down` of the scan frame to -z by the shortest way.

    Raises:
        DataError: `down` is not finite or has no length.
    """
    vector = np.asarray(down, np.float64)
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length < 1e-9:
        raise DataError(f"gravity {list(down)} has no direction")
    up, z = -vector / length, np.array([0.0, 0.0, 1.0])
    axis, cosine = np.cross(up, z), float(up @ z)
    matrix = np.eye(4)
    if cosine < -1 + 1e-12:
        matrix[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return matrix
    x, y, w = axis
    skew = np.array([[0, -w, y], [w, 0, -x], [-y, x, 0]])
    matrix[:3, :3] += skew + skew @ skew / (1 + cosine)
    return matrix
