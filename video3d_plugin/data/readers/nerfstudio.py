"""nerfstudio and what writes its format: transforms.json with a depth image for each frame.

Poses are camera to world with the axes of OpenGL (x right, y up, z back), in metres; z points up. Pixel centres lie at
halves, so principal points are half a pixel larger than here. Depth is in units of `depth_unit_scale_factor` metres
(instant-ngp and NeRFCapture: `integer_depth_scale`), 1 mm by default. Sources: nerfstudio, quickstart/data_conventions
of its docs and data/dataparsers/nerfstudio_dataparser.py; instant-ngp, docs/nerf_dataset_tips.md.

The camera may stand at the top or in each frame: fl_x, fl_y, cx, cy, w, h, or camera_angle_x alone with the size of the
image. What would change the geometry and cannot be honoured is an error: other camera models than a pinhole, strong
lens distortion, scales under names that are not known. Blender's transforms_{train,val,test}.json are one recording.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry, finite_number, resolve_name
from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.images import open_image
from video3d_plugin.files.json import read_json
from video3d_plugin.files.links import escapes_root
from video3d_plugin.files.regular import is_regular, read_regular
from video3d_plugin.files.text import natural_order
from video3d_plugin.geometry.camera_checks import distortion_note, pinhole_matrix
from video3d_plugin.notes import Note
from video3d_plugin.scene import MAX_SLICE_BYTES

_FILE = "transforms.json"
_PARTS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
_REMEDY = "expected nerfstudio's transforms.json"
_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL", "PERSPECTIVE")
_DISTORTION = ("k1", "k2", "p1", "p2", "k3")
_MORE_DISTORTION = ("k4", "k5", "k6", "s1", "s2", "s3", "s4")
_OTHER_LENSES = ("is_fisheye", "fisheye", "equirectangular", "latlong", "orthographic", "ftheta_p0")
_DEPTH_KEYS = ("depth_file_path", "depth_path")
_UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
_SCALES = ("scale", "unit", "factor", "divisor")  # what the name of a depth unit may contain
_COLOR_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
_DEPTH_SUFFIXES = (".png", ".npy", ".depth.png", ".PNG")
_IMAGE_SUFFIX = re.compile(r"\.(png|jpe?g|webp|bmp|tiff?)$", re.IGNORECASE)
_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_Size = tuple[int, int]


def _matches(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (_FILE, _PARTS[0]))


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    frames = [frame for path in _files(folder) for frame in _frames_of(path)]
    if not any(isinstance(values.get(key), str) for values, _ in frames for key in _DEPTH_KEYS):
        remedy = "export the recording with its depth: each frame needs a depth_file_path"
        raise DataError("lists no depth images", where=_files(folder)[0], remedy=remedy)
    notes.append(Note("poses are taken as metres", "assumption"))
    size: _Size | None = None  # of a recording that gives none: of its first image
    for values, where in sorted(frames, key=lambda frame: natural_order(str(frame[0].get("file_path")))):
        color = values.get("file_path")
        if not isinstance(color, str):
            raise DataError("a frame has no file_path", where=where)
        depth = next((values[key] for key in _DEPTH_KEYS if isinstance(values.get(key), str)), None)
        color_path = _find(folder, color, _COLOR_SUFFIXES)
        depth_path = _find(folder, depth, _DEPTH_SUFFIXES) if depth is not None else None
        if values.get("w") is None or values.get("h") is None:
            size = size or _image_size(color_path)
        camera, camera_size, note = _camera(values, size, where)
        if note is not None and note not in notes:
            notes.append(note)
        yield FrameEntry(
            _IMAGE_SUFFIX.sub("", color.replace("\\", "/")),
            color_path,
            depth_path,
            _pose(values.get("transform_matrix"), _scale(values, where)),
            camera,
            camera_size,
            _unit(values, where),
        )


def _files(folder: Path) -> list[Path]:
    names = (_FILE,) if (folder / _FILE).is_file() else _PARTS
    return [folder / name for name in names if (folder / name).is_file()]


def _frames_of(path: Path) -> list[tuple[dict[str, Any], Path]]:
    """Return each frame's values, completed by those of the whole file, and the file."""
    content = read_json(path, dict, _REMEDY)
    entries = content.pop("frames", None)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError("no list of frames", where=path)
    return [({**content, **entry}, path) for entry in entries]


def _find(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """Return the path of a file that the recording names.

    Writers leave the suffix out, write backslashes, or name the folder on their own machine: then the file is looked
    for by the end of its path, in the recording. A file that is not there keeps its name.
    """
    name = name.replace("\\", "/")
    parts = PurePosixPath(name.replace("\0", "")).parts
    ends = ["/".join(parts[start:]) for start in range(len(parts)) if parts[start] not in ("/", "..")]
    for candidate in (name, *ends[-4:]):
        for suffix in ("", *suffixes):
            path = resolve_name(folder, f"{candidate}{suffix}")
            if is_regular(path) and not escapes_root(path, folder):
                return path
    return resolve_name(folder, name)


def _camera(
    values: dict[str, Any], image_size: _Size | None, where: Path
) -> tuple[tuple[float, float, float, float], _Size, str | None]:
    """Return fx, fy, cx, cy in pixels, (height, width) of their image, and a note on the lens."""
    _check_model(values, where)
    size = image_size
    if values.get("w") is not None and values.get("h") is not None:
        width, height = (_positive(values[name], where) for name in ("w", "h"))
        size = (int(height), int(width))
        if min(size) < 1:
            raise DataError(f"image size {width:g}x{height:g} is less than a pixel", where=where)
    if size is None:
        raise DataError("no w and h, and no image tells its size", where=where)
    fx, fy = _focal(values, "x", size[1], where), _focal(values, "y", size[0], where)
    fx, fy = fx or fy, fy or fx
    if fx is None or fy is None:
        raise DataError("no fl_x and no camera_angle_x: the focal length is not known", where=where)
    centre = [
        length / 2 if values.get(name) is None else _positive(values[name], where)
        for name, length in (("cx", size[1]), ("cy", size[0]))
    ]
    camera = (fx, fy, centre[0] - 0.5, centre[1] - 0.5)
    coefficients = [finite_number(values.get(name, 0.0), "camera value", where) for name in _DISTORTION]
    return camera, size, distortion_note(coefficients, pinhole_matrix(*camera), size, where)


def _check_model(values: dict[str, Any], where: Path) -> None:
    """Raise DataError for a camera that is not a pinhole."""
    model = values.get("camera_model", "OPENCV")
    lens = next((name for name in _OTHER_LENSES if values.get(name)), None)
    if not isinstance(model, str) or model.upper() not in _PINHOLES or lens:
        what = f"camera model {quoted(lens or model, 40)} is not a pinhole"
        raise DataError(what, where=where, remedy="undistort the images to a pinhole camera first")
    more = next((name for name in _MORE_DISTORTION if values.get(name)), None)
    if more:
        raise DataError(f"lens distortion {more} cannot be honoured", where=where, remedy="undistort the images first")


def _focal(values: dict[str, Any], axis: str, length: int, where: Path) -> float | None:
    """Return the focal length along an axis in pixels, from itself or from the field of view; None without both."""
    if values.get(f"fl_{axis}") is not None:
        return _positive(values[f"fl_{axis}"], where)
    for name, unit in ((f"camera_angle_{axis}", 1.0), (f"{axis}_fov", math.pi / 180)):
        if values.get(name) is not None:
            angle = _positive(values[name], where) * unit
            if angle >= math.pi:
                raise DataError(f"{name} is {quoted(values[name], 40)}, no field of view", where=where)
            return length / 2 / math.tan(angle / 2)
    return None


def _unit(values: dict[str, Any], where: Path) -> float:
    """Return the metres of a depth unit. A scale under another name is an error, because depth would be wrong."""
    depth_keys = (key for key in values if "depth" in key.lower() and key not in _UNITS)
    other = next((key for key in depth_keys if any(word in key.lower() for word in _SCALES)), None)
    if other is not None:
        what = f"{quoted(other, 60)} is not a known name of the depth unit"
        raise DataError(what, where=where, remedy="call it depth_unit_scale_factor: metres per unit")
    return next((_positive(values[key], where) for key in _UNITS if values.get(key) is not None), 0.001)


def _scale(values: dict[str, Any], where: Path) -> float:
    """Return by how much the writer has scaled the positions, which were metres before."""
    return 1.0 if values.get("applied_scale") is None else _positive(values["applied_scale"], where)


def _pose(value: Any, scale: float) -> np.ndarray | str:
    """Return the (4, 4) float64 pose, scan from camera (z forward), or the reason why there is none."""
    matrix = np.eye(4)
    try:
        numbers = np.array(value, np.float64).ravel()
        matrix[: len(numbers) // 4] = numbers.reshape(-1, 4)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0)
    if len(numbers) not in (12, 16):
        return "transform_matrix is not 4x4 or 3x4"
    if not np.isfinite(matrix).all():
        return "transform_matrix is not finite"
    lengths = np.linalg.norm(np.clip(matrix[:3, :3], -1e6, 1e6), axis=0)
    if np.ptp(lengths) < 1e-3 * lengths.max() and not 0.95 < lengths.mean() < 1.05:
        return f"transform_matrix scales by {lengths.mean():.3g}: it has to be a rotation and a translation in metres"
    matrix[:3, 3] /= scale
    return matrix @ _FROM_OPENGL


def _image_size(path: Path) -> _Size | None:
    """Return (height, width) of an image in pixels from its header; None if it is none."""
    try:
        with open_image(read_regular(path, MAX_SLICE_BYTES), str(path)) as image:
            return image.height, image.width
    except (DataError, FileNotFoundError):
        return None


def _positive(value: Any, where: Path) -> float:
    number = finite_number(value, "camera value", where)
    if not number > 0:
        raise DataError(f"camera value {quoted(value, 40)} is not a positive number", where=where)
    return number


FORMAT = CaptureFormat("nerfstudio", _matches, _list_frames)
