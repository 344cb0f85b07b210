"""The camera that a recording's folder gives: files of intrinsics in all their forms.

A file holds a matrix (3x3, 3x4 or 4x4), or fx fy cx cy with the coefficients of lens distortion behind them, as
calib.txt of SLAM systems has them. The _info.txt of ScanNet's SensReader, of 3RScan, 12-Scenes and BundleFusion holds
the matrices of both cameras as `key = value` lines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.frames import color_size
from video3d_plugin.data.registration import cameras_differ, in_other_camera, with_color_camera
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.regular import is_regular
from video3d_plugin.files.text import MATRIX_BYTES, parse_values, read_key_values, read_text
from video3d_plugin.geometry.camera_checks import (
    check_depth_unit,
    check_intrinsics,
    distortion_note,
    is_rigid,
    pinhole_matrix,
    resized_intrinsics,
)
from video3d_plugin.notes import Note
from video3d_plugin.scene import Frame

_OF_DEPTH = ("depth_intrinsic.txt", "intrinsic_depth.txt", "depth_intrinsics.txt", "intrinsics_depth.txt")
# the depth camera's, or, as exporters of ScanNet write intrinsic.txt, the colour camera's
_OF_EITHER = (
    "intrinsic.txt",
    "intrinsics.txt",
    "camera-intrinsics.txt",
    "camera_intrinsics.txt",
    "camera_intrinsic.txt",
    "calib.txt",
    "calibration.txt",
    "K.txt",
)
_OF_COLOR = ("intrinsic_color.txt", "color_intrinsic.txt", "intrinsics_color.txt", "color_intrinsics.txt")
_INFO = ("_info.txt", "info.txt")
_FOLDERS = ("", "intrinsic", "intrinsics")  # below the recording
CAMERA_NAMES = (*_OF_DEPTH, *_OF_EITHER, *_INFO)
CAMERA_STEMS = frozenset(Path(name).stem.lower() for name in (*CAMERA_NAMES, *_OF_COLOR))
_REMEDY = "expected 3x3 or 4x4 numbers row by row, or fx fy cx cy, in pixels"
_MISSING_REMEDY = (
    "add it: 3x3 or 4x4 numbers, in pixels of the depth image; or give --intrinsics FX FY CX CY, in Python intrinsics="
)
_MOST_PIXELS = 65_536  # along a side of an image
_LARGEST_OFFSET_M = 1e-4  # of depth: an offset is not applied
_OFF_CENTRE = 0.2  # of the image's size: no camera of a scanner has its principal point farther from the centre


@dataclass(frozen=True)
class ColorCamera:
    """The colour camera of a file that gives both cameras.

    Attributes:
        matrix: (4, 4) float64 intrinsics, pixels of the colour image.
        size: (height, width) that they are given for.
        color_from_depth: (4, 4) rigid transform from the depth camera to the colour camera, metres.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    color_from_depth: np.ndarray


@dataclass(frozen=True)
class CameraFile:
    """A camera that a file gives.

    Attributes:
        path: The file.
        matrix: (4, 4) float64 intrinsics, pixels.
        of_depth: Whether it is the depth camera's; False: it may be the colour camera's.
        size: (height, width) of its image, where the file tells.
        depth_unit_m: Metres per depth unit, where the file tells.
        distortion: k1, k2, p1, p2, k3 of the lens, where the file tells.
        color: The colour camera, where the file tells and it is another one.
    """

    path: Path
    matrix: np.ndarray
    of_depth: bool
    size: tuple[int, int] | None = None
    depth_unit_m: float | None = None
    distortion: tuple[float, ...] = ()
    color: ColorCamera | None = None


def find_camera(folder: Path) -> CameraFile | None:
    """Read the camera that a folder gives; None if it gives none.

    Raises:
        DataError: The file is not a camera's.
    """
    for names in (_OF_DEPTH, _OF_EITHER):
        for name in names:
            for below in _FOLDERS:
                if is_regular(path := folder / below / name):
                    if (calibration := read_infinitam(path)) is not None:
                        return calibration
                    values = parse_values(read_text(path, MATRIX_BYTES, _REMEDY), where=path, remedy=_REMEDY)
                    matrix, distortion = _as_intrinsics(values, path)
                    return CameraFile(path, matrix, names is _OF_DEPTH, distortion=distortion)
    return next((read_info(path) for name in _INFO if is_regular(path := folder / name)), None)


def require_camera(folder: Path, camera: CameraFile | None, options: CameraOptions) -> None:
    """Raise MissingError unless the folder or the user gives a camera."""
    if camera is None and options.intrinsics is None:
        raise MissingError("no depth_intrinsic.txt", where=folder, remedy=_MISSING_REMEDY)


def read_info(path: Path) -> CameraFile | None:
    """Read the depth camera of an _info.txt; None if it does not name one.

    Raises:
        DataError: A value is not what its key says.
    """
    values = read_key_values(path)
    if "m_calibrationDepthIntrinsic" not in values:
        return None
    matrix, _ = _as_intrinsics(parse_values(values["m_calibrationDepthIntrinsic"], where=path, remedy=_REMEDY), path)

    def number(key: str) -> float | None:
        numbers = parse_values(values.get(key, ""), where=path)
        return numbers[0] if len(numbers) == 1 and 0 < numbers[0] < 1e6 else None

    height, width, shift = number("m_depthHeight"), number("m_depthWidth"), number("m_depthShift")
    size = (int(height), int(width)) if height and width and min(height, width) >= 1 else None
    color = _color_of_info(values, matrix, size, path)
    return CameraFile(path, matrix, True, size, check_depth_unit(1 / shift, path) if shift else None, color=color)


def _color_of_info(
    values: dict[str, str], depth: np.ndarray, depth_size: tuple[int, int] | None, path: Path
) -> ColorCamera | None:
    """Return the colour camera of an _info.txt if it is another one and both look from one place."""
    keys = ("m_calibrationColorIntrinsic", "m_colorHeight", "m_colorWidth")
    if depth_size is None or not all(key in values for key in keys):
        return None
    matrix, _ = _as_intrinsics(parse_values(values[keys[0]], where=path, remedy=_REMEDY), path)
    sides = [parse_values(values[key], where=path) for key in keys[1:]]
    extrinsics = [parse_values(values.get(f"m_calibration{of}Extrinsic", ""), where=path) for of in ("Color", "Depth")]
    if any(len(side) != 1 or not 1 <= side[0] <= _MOST_PIXELS for side in sides):
        return None
    if any(extrinsic and not np.allclose(extrinsic, np.eye(4).ravel(), atol=1e-6) for extrinsic in extrinsics):
        return None  # which way they lead is not documented
    size = (int(sides[0][0]), int(sides[1][0]))
    is_other = cameras_differ(depth, depth_size, matrix, size, np.eye(4))
    return ColorCamera(matrix, size, np.eye(4)) if is_other else None


def read_infinitam(path: Path) -> CameraFile | None:
    """Read the calibration of both cameras in InfiniTAM's calib.txt; None if the file is not in this form.

    For colour, then depth: width and height, fx and fy, cx and cy. Then three rows of the transform from colour to
    depth in metres, and `affine A B`: metres are A times the value plus B. Source: victorprad/InfiniTAM.
    """
    words = read_text(path, MATRIX_BYTES, _REMEDY).split()
    if len(words) != 27 or words[24] != "affine":
        return None
    numbers = parse_values(" ".join([*words[:24], *words[25:]]), where=path, remedy=_REMEDY)
    color, depth = (pinhole_matrix(*numbers[start + 2 : start + 6]) for start in (0, 6))
    sizes = [(int(numbers[start + 1]), int(numbers[start])) for start in (0, 6)]
    depth_from_color = np.vstack([np.reshape(numbers[12:24], (3, 4)), [0, 0, 0, 1]])
    sound = all(1 <= side <= _MOST_PIXELS for size in sizes for side in size) and is_rigid(depth_from_color)
    if not sound or abs(numbers[25]) > _LARGEST_OFFSET_M:
        what = "an image size, the transform or the offset of depth in it is not usable"
        raise DataError(what, where=path, remedy="expected InfiniTAM's calib.txt, with `affine A 0`")
    for matrix in (color, depth):
        check_intrinsics(matrix, path)
    color_from_depth = np.linalg.inv(depth_from_color)
    is_other = cameras_differ(depth, sizes[1], color, sizes[0], color_from_depth)
    camera = ColorCamera(color, sizes[0], color_from_depth) if is_other else None
    return CameraFile(path, depth, True, sizes[1], check_depth_unit(numbers[24], path), color=camera)


def with_camera(
    frames: tuple[Frame, ...], camera: CameraFile | None, options: CameraOptions, notes: list[str]
) -> tuple[Frame, ...]:
    """Return the frames with the camera and depth unit of the folder's file and of the user's options.

    Args:
        frames: Frames whose depth images have one size.
        camera: The folder's file; None leaves the frames' own cameras.
        options: The user's options, which count before the file.
        notes: Takes what is assumed of the file.
    """
    if not frames:
        return frames
    matrix = None
    if options.intrinsics is not None:
        matrix = pinhole_matrix(*options.intrinsics)
    elif camera is not None:
        matrix = _matrix_of_depth(camera, frames, notes)
    if matrix is not None:
        frames = tuple(_with_depth_intrinsics(frame, matrix) for frame in frames)
    if options.has_color_camera:
        notes.append("depth is brought into the colour camera, as the options say")
        frames = with_color_camera(frames, options)
    elif camera is not None and camera.color is not None and frames[0].depth_camera is None:
        color = camera.color
        notes.append(f"depth is brought into the colour camera of {camera.path.name}")
        frames = tuple(in_other_camera(f, color.matrix, color.size, color.color_from_depth) for f in frames)
    unit_m = options.depth_unit_m or (camera.depth_unit_m if camera is not None else None)
    if unit_m is not None:
        frames = tuple(replace(frame, depth_unit_m=unit_m) for frame in frames)
    return frames


def _with_depth_intrinsics(frame: Frame, matrix: np.ndarray) -> Frame:
    if frame.depth_camera is None:
        return replace(frame, depth_intrinsics=matrix)
    return replace(frame, depth_camera=replace(frame.depth_camera, intrinsics=matrix))


def _matrix_of_depth(camera: CameraFile, frames: tuple[Frame, ...], notes: list[str]) -> np.ndarray:
    """Return the (4, 4) intrinsics in pixels of the depth image.

    A camera that may be the colour camera's belongs to the image whose centre is nearer to its principal point.
    """
    depth, matrix = frames[0].stored_depth_size, camera.matrix
    own = camera.size or depth
    if not camera.of_depth:
        color = next((size for frame in frames if (size := _color_size(frame))), depth)
        own = min((depth, color), key=lambda size: _off_centre(matrix, size))
        if own != depth:
            of_color, of_depth = (f"{w}x{h}" for h, w in (color, depth))
            name = camera.path.name
            text = f"{name} is of the colour images ({of_color}), and is scaled to the depth images ({of_depth})"
            notes.append(Note(text, "assumption"))
    if _off_centre(matrix, own) > _OFF_CENTRE * max(own):
        where = f"principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) of {camera.path.name}"
        text = f"{where} is far from the centre of the {own[1]}x{own[0]} images: intrinsics of another size?"
        notes.append(Note(text, "check"))
    if note := distortion_note(camera.distortion, matrix, own, camera.path):
        notes.append(note)
    return matrix if own == depth else resized_intrinsics(matrix, own, depth)


def _off_centre(matrix: np.ndarray, size: tuple[int, int]) -> float:
    """Return the distance of the principal point from the centre of an image of (height, width), pixels."""
    return float(np.hypot(matrix[0, 2] - size[1] / 2, matrix[1, 2] - size[0] / 2))


def _color_size(frame: Frame) -> tuple[int, int] | None:
    try:
        return color_size(frame)
    except DataError:
        return None  # a broken image is reported when it is decoded


def _as_intrinsics(values: list[float], path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the (4, 4) intrinsics of a file's numbers, and the coefficients of lens distortion behind them."""
    count, matrix = len(values), np.eye(4)
    distortion: tuple[float, ...] = ()
    if count in (12, 16) or (count == 9 and values[3] == 0):
        rows = np.array(values, np.float64).reshape(4 if count == 16 else 3, -1)
        matrix[:3, :3] = rows[:3, :3]  # a fourth row and column of zeros is as common as that of the identity
    elif count in (4, 5, 6, 8, 9):
        matrix, distortion = pinhole_matrix(*values[:4]), tuple(values[4:])
    else:
        raise DataError(f"not camera intrinsics: {count} numbers", where=path, remedy=_REMEDY)
    if matrix[2, 2] not in (0, 1):
        matrix[:3, :3] /= matrix[2, 2]
    return check_intrinsics(matrix, path), distortion
