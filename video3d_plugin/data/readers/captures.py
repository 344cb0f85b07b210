"""Recordings of other data sets and apps become frames like ScanNet's.

`FORMATS` lists the formats, each in a module of its own. None of them has an axis alignment; the notes say what is
known of the world frame. A recording may carry an alignment of its own (see `alignment`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from video3d_plugin.data.frames import keep_commonest_depth_size, png_size
from video3d_plugin.data.readers import arkitscenes, nerfstudio, seven_scenes, tum
from video3d_plugin.data.readers.alignment import read_alignment
from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry
from video3d_plugin.data.readers.posed_images import is_posed
from video3d_plugin.errors import DataError
from video3d_plugin.files.links import escapes_root
from video3d_plugin.files.regular import is_regular
from video3d_plugin.geometry.camera_checks import check_intrinsics, pose_fault, resized_intrinsics
from video3d_plugin.scene import FileSlice, Frame, Omission

FORMATS: tuple[CaptureFormat, ...] = (seven_scenes.FORMAT, tum.FORMAT, arkitscenes.FORMAT, nerfstudio.FORMAT)
MAX_FRAMES = 300  # a longer recording is thinned evenly, unless a step is given
_MAX_SUBFOLDERS = 10_000


def detect(folder: Path) -> CaptureFormat | None:
    """Return the format of the recording in a folder; None if it holds none."""
    return next((capture for capture in FORMATS if capture.matches(folder)), None)


def find_captures(root: Path) -> dict[str, Path]:
    """Find the recordings at `root` and up to two folders below it.

    Folders of posed images count too, but only below `root`: one at `root` itself is a single scan, which `load_scene`
    reads as it is.

    Returns:
        Scene id to folder. The id is made from the path below `root`.

    Raises:
        DataError: Two recordings would get the same id.
    """
    captures: dict[str, Path] = {}
    for folder in [root, *_subfolders(root), *(inner for sub in _subfolders(root) for inner in _subfolders(sub))]:
        if any(folder.is_relative_to(capture) for capture in captures.values()):
            continue
        if detect(folder) is None and (folder == root or not is_posed(folder)):
            continue
        relative = folder.relative_to(root).parts
        name = _as_file_name("_".join(relative) if relative else folder.resolve().name)
        if name in captures:
            what = f"two recordings would be called {name}: {captures[name]}"
            raise DataError(what, where=folder, remedy="rename one")
        captures[name] = folder
    return captures


def read_capture(
    folder: Path, frame_step: int | None = None
) -> tuple[tuple[Frame, ...], list[Omission], list[str], np.ndarray]:
    """Read the frames of a recording.

    Args:
        folder: The recording.
        frame_step: Keep every n-th frame. By default all, or as many as leave at most MAX_FRAMES.

    Returns:
        The frames in capture order, the omissions, the notes, and the alignment (4, 4) float64, world from scan.

    Raises:
        DataError: The folder holds no known recording, or a file that lists its frames is broken.
    """
    capture = detect(folder)
    if capture is None:
        remedy = f"known: ScanNet's layouts, {', '.join(known.name for known in FORMATS)}"
        raise DataError("not a recording that can be read", where=folder, remedy=remedy)
    notes: list[str] = []
    entries = list(capture.list_frames(folder, notes))
    step = frame_step or max(1, -(-len(entries) // MAX_FRAMES))
    if step > 1:
        notes.append(f"one frame in {step} is used, of {len(entries)}")
    names = [_as_file_name(Path(entry.name).name) for entry in entries]
    if len(set(names)) < len(names):  # several cameras number their frames alike: the folder tells them apart
        names = [_as_file_name(entry.name) for entry in entries]
    frames, omissions = [], []
    seen: set[str] = set()
    for name, entry in list(zip(names, entries, strict=True))[::step]:
        try:
            if name in seen:
                raise DataError("listed twice")
            seen.add(name)
            frames.append(_read_frame(name, entry, folder))
        except DataError as error:
            omissions.append(Omission(f"frame {name}", error.what))
    world_from_scan = _world_from_scan(folder, capture, notes)
    return keep_commonest_depth_size(frames, omissions), omissions, notes, world_from_scan


def _as_file_name(name: str) -> str:
    """Return the name with everything replaced that a file's name should not contain."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".") or "_"


def _read_frame(name: str, entry: FrameEntry, folder: Path) -> Frame:
    """Return the frame; DataError with a reason that does not repeat its name if it cannot be used."""
    if isinstance(entry.pose, str):
        raise DataError(entry.pose)
    for what, path in (("colour image", entry.color), ("depth image", entry.depth)):
        if path is None or not is_regular(path):
            raise DataError(f"no {what}")
        if escapes_root(path, folder):
            raise DataError(f"its {what} lies outside the recording")
    if fault := pose_fault(entry.pose):
        raise DataError(fault)
    depth = FileSlice(entry.depth, root=folder)  # type: ignore[arg-type]
    size = png_size(depth, str(depth.path))
    return Frame(
        name=name,
        color=FileSlice(entry.color, root=folder),
        depth=depth,
        scan_from_camera=entry.pose,
        depth_intrinsics=_depth_intrinsics(entry, size),
        depth_size=size,
        depth_unit_m=entry.unit_m,
        depth_void=entry.void,
    )


def _depth_intrinsics(entry: FrameEntry, depth_size: tuple[int, int]) -> np.ndarray:
    """Return the (4, 4) intrinsics in pixels of the depth image, scaled from the image that the camera is given for."""
    matrix = np.eye(4)
    matrix[[0, 1, 0, 1], [0, 1, 2, 2]] = entry.camera
    return check_intrinsics(resized_intrinsics(matrix, entry.camera_size or depth_size, depth_size), "camera")


def _world_from_scan(folder: Path, capture: CaptureFormat, notes: list[str]) -> np.ndarray:
    """Return the alignment that the folder gives; else the identity, with a note."""
    alignment = read_alignment(folder)
    if alignment is not None:
        return alignment
    known = "its world frame is taken as it is (z up)" if capture.z_up else "its world frame has no known up"
    notes.append(f"no axis alignment is given: {known}; a gravity.txt or world_from_scan.txt would align it")
    return np.eye(4)


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    return [folder / name for name in sorted(names)][:_MAX_SUBFOLDERS]
