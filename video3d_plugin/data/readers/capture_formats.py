"""Recordings of other data sets, as they list their frames. No image is opened here.

7-Scenes      frame-000000.{color.png,depth.png,pose.txt}; depth in millimetres, 65535 where nothing was measured;
              the Kinect's nominal intrinsics (585, 320, 240), since none are published with it
TUM RGB-D     rgb.txt, depth.txt, groundtruth.txt; depth in 1/5000 m; z up; published intrinsics by camera name
ARKitScenes   lowres_wide/, lowres_depth/, lowres_wide_intrinsics/, lowres_wide.traj; z up
nerfstudio    transforms.json with depth_file_path; camera axes x right, y up, z back; z up
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_json
from video3d_plugin.files.regular import is_regular
from video3d_plugin.files.text import MATRIX_BYTES, natural_order, read_matrix, read_text
from video3d_plugin.geometry.camera_checks import check_depth_unit

_ARKIT_PAIRING_S = 0.06  # poses come at 10 Hz
_TUM_PAIRING_S = 0.02  # as TUM's own associate.py
_SEVEN_SCENES = (585.0, 585.0, 320.0, 240.0)
_TUM = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
_TUM_DEFAULT = (525.0, 525.0, 319.5, 239.5)
_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class FrameEntry:
    """A frame as a recording lists it, before any image is opened.

    name        may hold folders; without a suffix
    pose        (4, 4) float64, scan from camera (x right, y down, z forward), or the reason why there is none
    camera      fx, fy, cx, cy in pixels of an image of `camera_size` (height, width); None: of the depth image
    """

    name: str
    color: Path
    depth: Path | None
    pose: np.ndarray | str
    camera: tuple[float, float, float, float]
    camera_size: tuple[int, int] | None = None
    unit_m: float = 0.001
    void: int | None = None


Lister = Callable[[Path, list[str]], Iterator[FrameEntry]]


def _list_seven_scenes(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    notes.append("the Kinect's nominal intrinsics are used")
    for color in sorted(folder.glob("frame-*.color.png")):
        stem = color.name.removesuffix(".color.png")
        path = folder / f"{stem}.pose.txt"
        pose = _try_matrix(path)
        name = stem.removeprefix("frame-")
        yield FrameEntry(name, color, folder / f"{stem}.depth.png", pose, _SEVEN_SCENES, (480, 640), void=0xFFFF)


def _list_tum(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    camera = next((c for name, c in _TUM.items() if name in folder.resolve().name), _TUM_DEFAULT)
    if camera is _TUM_DEFAULT:
        notes.append("the folder's name says no TUM camera: the default intrinsics (525) are used")
    depths, poses = _table(folder / "depth.txt", 2), _table(folder / "groundtruth.txt", 8)
    depth_at, pose_at = _times(depths), _times(poses)
    for row in _table(folder / "rgb.txt", 2):
        time = float(row[0])
        depth = _nearest(depths, depth_at, time, _TUM_PAIRING_S)
        pose = _nearest(poses, pose_at, time, _TUM_PAIRING_S)
        matrix: np.ndarray | str = "no pose at that time"
        if pose is not None:
            matrix = _pose(_quaternion(*map(float, pose[4:8])), list(map(float, pose[1:4])))
        path = _named(folder, depth[1]) if depth is not None else None
        yield FrameEntry(row[0], _named(folder, row[1]), path, matrix, camera, (480, 640), unit_m=1 / 5000)


def _list_arkit(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    base = next(path for path in _arkit_bases(folder) if path.is_dir()).parent
    poses = _table(base / "lowres_wide.traj", 7)
    times = _times(poses)
    images = [(_arkit_time(color.stem), color) for color in (base / "lowres_wide").glob("*.png")]
    for time, color in sorted(images):
        if time == np.inf:
            yield FrameEntry(color.stem, color, None, "its name says no time", (0.0,) * 4)
            continue
        row = _nearest(poses, times, time, _ARKIT_PAIRING_S)
        pose: np.ndarray | str = "no pose at that time"
        if row is not None:
            camera_from_scan = _pose(_axis_angle(list(map(float, row[1:4]))), list(map(float, row[4:7])))
            pose = np.linalg.inv(camera_from_scan)
        camera = _arkit_camera(base / "lowres_wide_intrinsics", color.stem, time)
        if isinstance(camera, str):
            pose, camera = camera, [0.0] * 6
        size = (int(camera[1]), int(camera[0]))
        depth = base / "lowres_depth" / color.name
        yield FrameEntry(color.stem, color, depth, pose, tuple(camera[2:6]), size if min(size) > 0 else None)


def _arkit_time(stem: str) -> float:
    """Seconds, of a name like 42444946_78.223; infinite where it says none."""
    try:
        time = float(stem.rpartition("_")[2])
    except ValueError:
        return np.inf
    return time if np.isfinite(time) else np.inf


def _arkit_camera(folder: Path, stem: str, time: float) -> list[float] | str:
    """width, height, fx, fy, cx, cy of an image, or why not.

    Its file may be named up to a millisecond beside it, as in Apple's own loader (apple/ARKitScenes,
    threedod/benchmark_scripts/utils/tenFpsDataLoader.py).
    """
    video = stem.rpartition("_")[0]
    names = [stem, *(f"{video}_{time + beside:.3f}" for beside in (-0.001, 0.001))]
    path = next((path for name in names if is_regular(path := folder / f"{name}.pincam")), None)
    if path is None:
        return "no intrinsics"
    try:
        return numbers(read_text(path, MATRIX_BYTES), 6, path)
    except DataError as error:
        return f"intrinsics: {error.what}"


def _list_nerfstudio(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    where = folder / "transforms.json"
    content = read_json(where, dict, "expected nerfstudio's transforms.json")
    entries = content.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError("no list of frames", where=where)
    if any(content.get(name) for name in ("k1", "k2", "k3", "p1", "p2")):
        notes.append("lens distortion is not corrected")
    notes.append("poses are taken as metres")
    unit = check_depth_unit(_number(content.get("depth_unit_scale_factor", 0.001), where), where)
    for entry in sorted(entries, key=lambda e: natural_order(str(e.get("file_path")))):
        values = [_number(entry.get(name, content.get(name)), where) for name in ("fl_x", "fl_y", "cx", "cy", "h", "w")]
        color, depth = entry.get("file_path"), entry.get("depth_file_path")
        if not isinstance(color, str):
            raise DataError("a frame has no file_path", where=where)
        pose = _opengl_pose(entry.get("transform_matrix"))
        path = _named(folder, depth) if isinstance(depth, str) else None
        size = (int(values[4]), int(values[5]))
        if min(size) < 1:
            raise DataError(f"image size {values[5]:g}x{values[4]:g} is not of whole pixels", where=where)
        yield FrameEntry(
            color.rpartition(".")[0] or color, _named(folder, color), path, pose, tuple(values[:4]), size, unit_m=unit
        )


def _opengl_pose(value: Any) -> np.ndarray | str:
    """(4, 4) scan from camera (z forward) of a camera-to-world matrix whose camera looks along -z; or why not."""
    try:
        matrix = np.array(value, np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError):
        return "transform_matrix is not 4x4"
    return matrix @ _FROM_OPENGL if np.isfinite(matrix).all() else "transform_matrix is not finite"


def _named(folder: Path, name: str) -> Path:
    """The file of this name, relative or absolute; whether it lies in the recording is checked where it is opened."""
    return folder / name.replace("\0", "")


def _arkit_bases(folder: Path) -> tuple[Path, ...]:
    return folder / "lowres_wide", folder / f"{folder.name}_frames" / "lowres_wide"


def _try_matrix(path: Path) -> np.ndarray | str:
    try:
        matrix = read_matrix(path)
    except (DataError, FileNotFoundError) as error:
        return error.what if isinstance(error, DataError) else "no pose"
    return matrix if np.isfinite(matrix).all() else "pose is not finite (tracking was lost)"


def _table(path: Path, columns: int) -> list[list[str]]:
    """Rows of a text file of blank-separated columns, the first a time; comments (#) and blank lines left out."""
    rows = [line.split() for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    for row in rows:
        try:
            numbers = [float(value) for value in (row if columns > 2 else row[:1])]
        except ValueError:
            numbers = []
        if len(row) < columns or not np.isfinite(numbers).all() or not numbers:
            raise DataError(f"not a row of {columns} columns: {quoted(' '.join(row))}", where=path)
    return sorted(rows, key=lambda row: float(row[0]))


def _times(rows: list[list[str]]) -> np.ndarray:
    return np.array([float(row[0]) for row in rows], np.float64)


def _nearest(rows: list[list[str]], times: np.ndarray, time: float, within_s: float) -> list[str] | None:
    if not len(rows):
        return None
    index = int(np.clip(np.searchsorted(times, time), 1, max(1, len(times) - 1)))
    best = min((index - 1, min(index, len(times) - 1)), key=lambda i: abs(times[i] - time))
    return rows[best] if abs(times[best] - time) <= within_s else None


def numbers(text: str, count: int, where: Path) -> list[float]:
    try:
        values = [float(word) for word in text.split()]
    except ValueError as error:
        raise DataError(f"not {count} numbers: {error}", where=where) from None
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"not {count} finite numbers", where=where)
    return values


def _number(value: Any, where: Path) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
    except OverflowError:  # an integer beyond all floats
        number = np.inf
    if not 0 < number < np.inf:
        raise DataError(f"camera value {quoted(value, 40)} is not a positive number", where=where)
    return number


def _pose(rotation: np.ndarray, translation: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def _quaternion(x: float, y: float, z: float, w: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    if not np.linalg.norm([x, y, z, w]) > 1e-9:
        return np.full((3, 3), np.nan)
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def _axis_angle(vector: Sequence[float]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).as_matrix()


TESTS: dict[str, Callable[[Path], bool]] = {
    "7-Scenes": lambda folder: next(folder.glob("frame-*.color.png"), None) is not None,
    "TUM RGB-D": lambda folder: all((folder / f"{name}.txt").is_file() for name in ("rgb", "depth", "groundtruth")),
    "ARKitScenes": lambda folder: any(path.is_dir() for path in _arkit_bases(folder)),
    "nerfstudio": lambda folder: (folder / "transforms.json").is_file(),
}
LISTERS: dict[str, Lister] = {
    "7-Scenes": _list_seven_scenes,
    "TUM RGB-D": _list_tum,
    "ARKitScenes": _list_arkit,
    "nerfstudio": _list_nerfstudio,
}
