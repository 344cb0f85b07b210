"""The alignment that a user gives: world_from_scan.txt or gravity.txt beside the frames, or the option `align`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video3d_plugin.data.levelling.alignment import Alignment
from video3d_plugin.data.levelling.rotation import shortest_rotation
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.text import MATRIX_BYTES, parse_numbers, read_matrix, read_text
from video3d_plugin.geometry.camera_checks import is_rigid

AUTO, NONE = "auto", "none"  # values of `align` besides a file
MATRIX_FILE = "world_from_scan.txt"
GRAVITY_FILE = "gravity.txt"


def check_align(align: str | Path) -> None:
    """Check the option `align`.

    Raises:
        MissingError: It is neither "auto" nor "none" nor a file that exists.
    """
    if str(align) not in (AUTO, NONE) and not Path(align).is_file():
        raise MissingError(
            "align names no file",
            where=align,
            remedy="known: auto, none, or a file of 16 numbers (world from scan) or 3 (down)",
        )


def asked_alignment(align: str | Path) -> Alignment | None:
    """Return the alignment that the option `align` asks for; None for "auto".

    Raises:
        DataError: The file holds neither a rigid 4x4 matrix nor a direction.
    """
    if str(align) == AUTO:
        return None
    if str(align) == NONE:
        return Alignment(matrix=np.eye(4), source="--align none", fixed=True)
    return read_alignment_file(Path(align))


def read_alignment(folder: Path) -> Alignment | None:
    """Read the alignment that a recording's folder gives.

    Args:
        folder: Folder with a world_from_scan.txt (4x4 numbers) or a gravity.txt (three numbers: the direction down,
            in the scan frame). The first counts where both are there.

    Returns:
        The alignment; None if the folder has neither file.

    Raises:
        DataError: The matrix is not a rotation and a translation, or the direction has no length.
    """
    path = folder / MATRIX_FILE
    if path.is_file():
        return _matrix(path)
    path = folder / GRAVITY_FILE
    return _gravity(path) if path.is_file() else None


def read_alignment_file(path: Path) -> Alignment:
    """Read a file of the form of world_from_scan.txt or of gravity.txt, told apart by the number of its numbers.

    Raises:
        MissingError: There is no such file.
        DataError: As `read_alignment`.
    """
    return _gravity(path) if len(read_text(path, MATRIX_BYTES).replace(",", " ").split()) == 3 else _matrix(path)


def _matrix(path: Path) -> Alignment:
    matrix = read_matrix(path)
    if not is_rigid(matrix):
        raise DataError(
            "not a rotation and a translation", where=path, remedy="expected 4x4 numbers, or 3: the direction down"
        )
    return Alignment(matrix=matrix, source=path.name)


def _gravity(path: Path) -> Alignment:
    try:
        up = -_direction(parse_numbers(read_text(path, MATRIX_BYTES), 3, where=path))
    except DataError as error:
        raise DataError(error.what, where=path, remedy="expected three numbers: the direction down") from error
    return Alignment(up=up, source=f"that of {path.name}")


def from_gravity(down: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the (4, 4) float64 rotation that turns the direction `down` of the scan frame to -z by the shortest way.

    Raises:
        DataError: `down` is not finite or has no length.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = shortest_rotation(-_direction(down))
    return matrix


def _direction(down: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the unit vector (3,) float64 of a direction."""
    vector = np.asarray(down, np.float64)
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length < 1e-9:
        raise DataError(f"gravity {list(down)} has no direction")
    return vector / length
