"""Folders of colour, depth and poses: color/, depth/, pose/ and the intrinsics, as ScanNet's SensReader exports them.

SensReader/python/reader.py writes color/<i>.jpg, depth/<i>.png (millimetres), pose/<i>.txt (4x4, scan from camera) and
intrinsic/intrinsic_{color,depth}.txt; colour is larger than depth. The 25k frames of ScanNet's benchmark, and data sets
that were converted to this layout, differ in the folders' names and in where the intrinsics lie.
Source of the layout: ScanNet/ScanNet, SensReader/python/SensorData.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry
from video3d_plugin.errors import DataError
from video3d_plugin.files.text import natural_order, read_matrix

_COLOR_FOLDERS = ("color", "colour", "rgb", "image", "images")
_DEPTH_FOLDERS = ("depth", "depths")
_POSE_FOLDERS = ("pose", "poses")
_COLOR_SUFFIXES = (".jpg", ".jpeg", ".png")
_DEPTH_SUFFIXES = (".png", ".pgm", ".npy")
_SUFFIXES = (_COLOR_SUFFIXES, _DEPTH_SUFFIXES, (".txt",))


def _folders(folder: Path) -> list[Path | None]:
    """Return the folders of colour, depth and poses; None for one that is not there."""
    kinds = (_COLOR_FOLDERS, _DEPTH_FOLDERS, _POSE_FOLDERS)
    return [next((path for name in names if (path := folder / name).is_dir()), None) for names in kinds]


def has_images(folder: Path) -> bool:
    """Return whether a folder has folders of colour and of depth."""
    return all(_folders(folder)[:2])


def _matches(folder: Path) -> bool:
    poses = _folders(folder)[2]
    return all(_folders(folder)) and poses is not None and next(poses.glob("*.txt"), None) is not None


def _list_frames(folder: Path, notes: list[str]) -> Iterator[FrameEntry]:
    colors, depths, poses = (_files(path, suffixes) for path, suffixes in zip(_folders(folder), _SUFFIXES, strict=True))
    for stem in sorted(colors.keys() | depths.keys() | poses.keys(), key=natural_order):
        color = colors.get(stem)
        pose = _read_pose(poses.get(stem)) if color is not None else "no colour image"
        yield FrameEntry(stem, color or folder / stem, depths.get(stem), pose, None)


def _files(folder: Path | None, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by their name without suffix; of several, that of the first suffix."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in suffixes] if folder is not None else []
    paths.sort(key=lambda path: (-suffixes.index(path.suffix.lower()), path.name))
    return {path.stem: path for path in paths}


def _read_pose(path: Path | None) -> np.ndarray | str:
    """Return the (4, 4) pose, or the reason why there is none."""
    if path is None:
        return "no pose"
    try:
        return read_matrix(path)
    except DataError as error:
        return error.what


FORMAT = CaptureFormat("ScanNet's SensReader export", _matches, _list_frames)
