"""Colour and depth folders with one file of all poses: Open3D and Redwood (.log), NICE-SLAM's Replica (traj.txt).

Open3D and Redwood: color/ (or rgb/, image/) and depth/ pair by their order of names. The trajectory (.log) holds five
lines for each frame: three integers and the 4x4 pose, scan from camera. The camera is a camera JSON of Open3D, with the
intrinsic matrix column by column; without one, the PrimeSense default that both assume (525, 525, 319.5, 239.5).
Replica: results/frame*.jpg and depth*.png, a row of 16 numbers for each frame, depth in 1/6553.5 m, camera of
cam_params.json (its `scale` is the inverse of the depth unit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.frames import depth_header
from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry, finite_number, image_size
from video3d_plugin.errors import DataError, quoted
from video3d_plugin.files.json import read_object
from video3d_plugin.files.text import natural_order, read_text
from video3d_plugin.geometry.camera_checks import check_depth_unit
from video3d_plugin.scene import FileSlice

_COLOR_FOLDERS = ("color", "rgb", "image")
_DEPTH_FOLDER = "depth"
_COLOR_SUFFIXES = (".jpg", ".jpeg", ".png")
_REPLICA_UNIT_M = 1 / 6553.5
_ASPECT_TOLERANCE = 0.02
_MAX_IMAGES = 1_000_000


@dataclass(frozen=True)
class _Camera:
    """fx, fy, cx, cy in pixels of an image of `size` (height, width); metres per depth unit, if it says so; a note."""

    values: tuple[float, float, float, float]
    size: tuple[int, int]
    unit_m: float | None = None
    note: str = ""


_PRIMESENSE = _Camera(
    (525.0, 525.0, 319.5, 239.5),
    (480, 640),
    note="no camera JSON: the PrimeSense default intrinsics (525) are assumed",
)
_REPLICA_CAMERA = _Camera(
    (600.0, 600.0, 599.5, 339.5),
    (680, 1200),
    note="no cam_params.json: the camera of NICE-SLAM's Replica renderings is assumed (600, 1200x680)",
)


def _color_folder(folder: Path) -> Path | None:
    return next((path for name in _COLOR_FOLDERS if (path := folder / name).is_dir()), None)


def _logs(folder: Path) -> list[Path]:
    """Return the trajectories of a folder, those of a whole reconstruction first."""
    places = (folder, folder / "scene")
    return sorted((path for place in places for path in place.glob("*.log")), key=lambda p: ("traj" not in p.name, p))


def _matches_open3d(folder: Path) -> bool:
    return (folder / _DEPTH_FOLDER).is_dir() and _color_folder(folder) is not None and bool(_logs(folder))


def _list_open3d(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    path = _logs(folder)[0]
    if len(_logs(folder)) > 1:
        notes.append(f"poses are those of {path.name}")
    camera = _open3d_camera(folder)
    if camera is None:
        camera = _assumed(_PRIMESENSE, folder / _DEPTH_FOLDER, "")
    color_folder = _color_folder(folder)
    assert color_folder is not None
    colors, depths = _images(color_folder, _COLOR_SUFFIXES), _images(folder / _DEPTH_FOLDER, (".png",))
    yield from _frames(colors, depths, _read_log(path), camera, 0.001, path)


def _matches_replica(folder: Path) -> bool:
    return (folder / "traj.txt").is_file() and next((folder / "results").glob("frame*.*"), None) is not None


def _list_replica(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    path = folder / "traj.txt"
    camera = _replica_camera(folder)
    if camera is None:
        camera = _assumed(_REPLICA_CAMERA, folder / "results", "depth")
    rows = [_row(line, 16, path) for line in read_text(path).splitlines() if line.strip()]
    poses = [np.reshape(row, (4, 4)) for row in rows]
    results = folder / "results"
    colors = [image for image in _images(results, _COLOR_SUFFIXES) if image.name.startswith("frame")]
    depths = [image for image in _images(results, (".png",)) if image.name.startswith("depth")]
    yield from _frames(colors, depths, dict(enumerate(poses)), camera, _REPLICA_UNIT_M, path)


def _assumed(camera: _Camera, folder: Path, start: str) -> _Camera | None:
    """Return a camera that is assumed; None if the depth images have another aspect ratio."""
    depth = next((image for image in _images(folder, (".png",)) if image.name.startswith(start)), None)
    if depth is None:
        return camera
    height, width = depth_header(FileSlice(depth, root=folder), str(depth))[1]
    return camera if abs(width / height / (camera.size[1] / camera.size[0]) - 1) <= _ASPECT_TOLERANCE else None


def _frames(
    colors: list[Path],
    depths: list[Path],
    poses: dict[int, np.ndarray],
    camera: _Camera | None,
    unit_m: float,
    where: Path,
) -> Iterator[FrameEntry]:
    """Pair colour and depth by their order, and poses by their index."""
    if len(colors) != len(depths):
        what = f"{len(colors)} colour and {len(depths)} depth images cannot be paired by their order"
        raise DataError(what, where=where.parent, remedy="remove those that have no partner")
    unit = check_depth_unit(camera.unit_m if camera and camera.unit_m else unit_m, where)
    for index, (color, depth) in enumerate(zip(colors, depths, strict=True)):
        pose = poses.get(index, "no pose in the trajectory")
        if camera is None:
            yield FrameEntry(color.stem, color, depth, pose, None, unit_m=unit)
        else:
            note = camera.note
            yield FrameEntry(color.stem, color, depth, pose, camera.values, camera.size, unit_m=unit, camera_note=note)


def _images(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    names = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    if len(names) > _MAX_IMAGES:
        raise DataError(f"{len(names)} images", where=folder, remedy=f"at most {_MAX_IMAGES}")
    return sorted(names, key=lambda path: natural_order(path.name))


def _read_log(path: Path) -> dict[int, np.ndarray]:
    """Read a .log trajectory: {index of the frame: (4, 4) float64, scan from camera}."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    poses = {}
    for start in range(0, len(lines), 5):
        head = _row(lines[start], 3, path)
        if len(lines) < start + 5:
            raise DataError(f"ends inside the pose of frame {int(head[1])}", where=path, remedy="copy it again")
        poses[int(head[1])] = np.array([_row(line, 4, path) for line in lines[start + 1 : start + 5]])
    return poses


def _row(line: str, count: int, where: Path) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"not a row of {count} numbers: {quoted(line)}", where=where)
    return values


def _open3d_camera(folder: Path) -> _Camera | None:
    for path in sorted(folder.glob("*.json")):
        content = read_object(path)
        content = content.get("intrinsic", content)  # a camera with extrinsics, or alone
        if not isinstance(content, dict) or "intrinsic_matrix" not in content:
            continue
        matrix = content["intrinsic_matrix"]
        if not isinstance(matrix, list) or len(matrix) != 9:
            raise DataError("intrinsic_matrix does not have nine numbers", where=path)
        values = [finite_number(matrix[index], "intrinsic_matrix", path) for index in (0, 4, 6, 7)]
        return _camera(values, content.get("height"), content.get("width"), None, path)
    return None


def _replica_camera(folder: Path) -> _Camera | None:
    """Return the camera of cam_params.json, which lies in the folder or, for all rooms, above it."""
    path = next((path for place in (folder, folder.parent) if (path := place / "cam_params.json").is_file()), None)
    if path is None:
        return None
    content = read_object(path).get("camera")
    if not isinstance(content, dict):
        raise DataError("holds no camera", where=path)
    values = [finite_number(content.get(name), name, path) for name in ("fx", "fy", "cx", "cy")]
    scale = finite_number(content["scale"], "scale", path) if "scale" in content else None
    unit = 1 / scale if scale else None
    return _camera(values, content.get("h"), content.get("w"), unit, path)


def _camera(values: list[float], height: Any, width: Any, unit_m: float | None, where: Path) -> _Camera:
    return _Camera((values[0], values[1], values[2], values[3]), image_size(height, width, where), unit_m)


OPEN3D = CaptureFormat("Open3D/Redwood", _matches_open3d, _list_open3d, z_up=False)
REPLICA = CaptureFormat("Replica (NICE-SLAM)", _matches_replica, _list_replica)
