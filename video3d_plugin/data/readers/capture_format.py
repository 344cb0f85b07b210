"""What the readers of recordings have in common: a frame as a recording lists it, and the parsing of its tables.

A format is one module that defines a `CaptureFormat`; `captures.FORMATS` lists them. A format only says which files
make a frame, with which camera and pose. No image is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.depth import DepthCodec
from video3d_plugin.files.text import read_text
from video3d_plugin.scene import Confidence, DepthCamera

FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes, from the right
Z_UP_FROM_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # ARKit's world has y up

MAX_SIDE = 65_536  # pixels

_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+(,[0-9]+([eE][+-]?[0-9]+)?)?")


@dataclass(frozen=True)
class FrameEntry:
    """A frame as a recording lists it, before any image is opened.

    Attributes:
        name: Name without a suffix, unique in the recording; may contain folders.
        color: The colour image.
        depth: The depth image (16-bit PNG or PGM, .npy); None where the recording lists none for this frame.
        pose: (4, 4) float64, scan from camera (x right, y down, z forward), metres; or the reason why there is none.
        camera: fx, fy, cx, cy in pixels of an image of `camera_size`; None if the recording does not say: then a file
            of its folder or the user must.
        camera_size: (height, width) of the image that `camera` is given for; None for the depth image itself.
        unit_m: Metres per depth unit.
        void: A depth value besides 0 that means "not measured".
        camera_note: What the user should know if `camera` is used because it is assumed; "" if the recording gives it.
        depth_camera: Camera of the depth image where it is not the colour camera; `camera` and `pose` are then the
            colour camera's, and `camera_size` is known. Its intrinsics are for an image of its own `size`.
        confidence: Confidence of the depth image.
        depth_codec: Format of a depth image that does not say it itself, with its size in `depth_size`.
        depth_size: (height, width) of such a depth image.
    """

    name: str
    color: Path
    depth: Path | None
    pose: np.ndarray | str
    camera: tuple[float, float, float, float] | None
    camera_size: tuple[int, int] | None = None
    unit_m: float = 0.001
    void: int | None = None
    camera_note: str = ""
    depth_camera: DepthCamera | None = None
    confidence: Confidence | None = None
    depth_codec: DepthCodec | None = None
    depth_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class CaptureFormat:
    """A format of recordings.

    Attributes:
        name: Name of the data set or tool, as messages show it.
        matches: Whether a folder holds a recording of this format.
        list_frames: Lists the frames of such a folder in capture order, and appends to its second argument what the
            user should know about the recording as a whole.
        z_up: Whether the z axis of the scan frame points up.
        extract: For recordings whose images lie in a video or a bag: writes the images of these frames and returns the
            frames that have them (see `extracted`).
        suffixes: Suffixes, in lower case, of single files that are such a recording.
    """

    name: str
    matches: Callable[[Path], bool]
    list_frames: Callable[[Path, list[str]], Iterator[FrameEntry]]
    z_up: bool = True
    extract: Callable[[Path, list[FrameEntry]], list[FrameEntry]] | None = None
    suffixes: tuple[str, ...] = ()


def resolve_name(folder: Path, name: str) -> Path:
    """Return the path of a file that a recording names, relative to its folder or absolute.

    Whether the file lies in the recording is checked where it is opened.
    """
    return folder / name.replace("\0", "")


def read_table(path: Path, columns: int) -> list[list[str]]:
    """Read a text table of columns separated by blanks or commas, of which the first is a time in seconds.

    Args:
        path: The file. Comments (lines that begin with #) and blank lines are skipped. Numbers may have decimal commas
            if blanks separate them.
        columns: Least number of columns. With more than four, all of them have to be numbers.

    Returns:
        The rows, sorted by time.

    Raises:
        DataError: A row has fewer columns, or one that is not a finite number.
    """
    lines = (line.strip() for line in read_text(path).splitlines())
    rows = [_columns(line, columns) for line in lines if line and not line.startswith("#")]
    for row in rows:
        try:
            numbers = [float(value) for value in (row if columns > 4 else row[:1])]
        except ValueError:
            numbers = []
        if len(row) < columns or not np.isfinite(numbers).all() or not numbers:
            raise DataError(f"not a row of {columns} columns: {quoted(' '.join(row))}", where=path)
    return sorted(rows, key=lambda row: float(row[0]))


def _columns(line: str, least: int) -> list[str]:
    words = line.split()
    if len(words) < least or any(word.endswith(",") for word in words):
        return line.replace(",", " ").split()
    if all(_DECIMAL_COMMA.fullmatch(word) for word in words):
        return [word.replace(",", ".") for word in words]
    return words


def row_times(rows: list[list[str]]) -> np.ndarray:
    """Return the times of a table's rows, (N,) float64 seconds."""
    return np.array([float(row[0]) for row in rows], np.float64)


def nearest_row(rows: list[list[str]], times: np.ndarray, time: float, within_s: float) -> list[str] | None:
    """Return the row whose time is nearest to `time`; None if that is more than `within_s` seconds away."""
    if not len(rows):
        return None
    index = int(np.clip(np.searchsorted(times, time), 1, max(1, len(times) - 1)))
    best = min((index - 1, min(index, len(times) - 1)), key=lambda i: abs(times[i] - time))
    return rows[best] if abs(times[best] - time) <= within_s else None


def without_depth_camera(entry: FrameEntry) -> FrameEntry:
    """Return the entry as one whose colour and depth share a camera, with the depth camera's pose."""
    camera, pose = entry.depth_camera, entry.pose
    if camera is None:
        return entry
    return replace(entry, depth_camera=None, pose=pose if isinstance(pose, str) else pose @ camera.color_from_depth)


def finite_number(value: Any, name: str, where: Path | None = None) -> float:
    """Return a value of a JSON file as a float; DataError that names it if it is not a finite number."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
    except OverflowError:  # an integer beyond all floats
        number = np.inf
    if not np.isfinite(number):
        raise DataError(f"{name} is {quoted(value, 40)}, not a number", where=where)
    return number


def image_size(height: Any, width: Any, where: Path | None = None) -> tuple[int, int]:
    """Return (height, width) in pixels of values of a JSON file; DataError unless both are at least 1."""
    size = finite_number(height, "height", where), finite_number(width, "width", where)
    if not 1 <= min(size) <= max(size) <= MAX_SIDE:
        raise DataError(f"image size {size[1]:g}x{size[0]:g} is not that of an image", where=where)
    return int(size[0]), int(size[1])


def quaternion_rotation(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Return the (3, 3) rotation of a quaternion; NaN for one of length 0 or one that is not finite."""
    from scipy.spatial.transform import Rotation

    length = np.linalg.norm([x, y, z, w])
    if not (np.isfinite(length) and length > 1e-9):
        return np.full((3, 3), np.nan)
    return Rotation.from_quat(np.array([x, y, z, w]) / length).as_matrix()


def rigid_matrix(rotation: np.ndarray, translation: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the (4, 4) float64 matrix of a (3, 3) rotation followed by a translation in metres."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix
