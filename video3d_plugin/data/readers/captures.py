"""Own captures and other data sets' recordings: 7-Scenes, TUM RGB-D, ARKitScenes, nerfstudio.

Each becomes frames like ScanNet's (capture_formats.py knows the formats). None has an axis alignment; what is known of
its world frame is stated in the notes.

A capture may carry `world_from_scan.txt` (4x4) or `gravity.txt` (three numbers: down, in the scan's own frame).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video3d_plugin.data.frames import keep_commonest_depth_size, png_size
from video3d_plugin.data.readers.capture_formats import LISTERS, TESTS, FrameEntry, numbers
from video3d_plugin.data.readers.posed_images import is_posed
from video3d_plugin.errors import DataError
from video3d_plugin.files.links import escapes_root
from video3d_plugin.files.regular import is_regular
from video3d_plugin.files.text import MATRIX_BYTES, read_matrix, read_text
from video3d_plugin.geometry.camera_checks import check_intrinsics, is_rigid, pose_fault, resized_intrinsics
from video3d_plugin.scene import FileSlice, Frame, Omission

MAX_FRAMES = 300  # a longer recording is thinned evenly, unless a step is given


def detect(folder: Path) -> str | None:
    """The kind of recording in a folder, or None."""
    return next((kind for kind, test in TESTS.items() if test(folder)), None)


def find_captures(root: Path) -> dict[str, Path]:
    """{scene id: folder} of the recordings at `root` or up to two folders below it, and of folders of posed frames
    below it (one at `root` itself is no root of scans: `load_scene` reads it as it is)."""
    found: dict[str, Path] = {}
    for folder in [root, *_subfolders(root), *(inner for sub in _subfolders(root) for inner in _subfolders(sub))]:
        if any(folder.is_relative_to(done) for done in found.values()):
            continue
        if detect(folder) is None and (folder == root or not is_posed(folder)):
            continue
        relative = folder.relative_to(root).parts
        name = _plain("_".join(relative) if relative else folder.resolve().name)
        if name in found:
            raise DataError(f"two recordings would be called {name}: {found[name]}", where=folder, remedy="rename one")
        found[name] = folder
    return found


def read_capture(
    folder: Path, frame_step: int | None = None
) -> tuple[tuple[Frame, ...], list[Omission], list[str], np.ndarray]:
    """(frames, omissions, notes, world_from_scan (4, 4)) of a recording."""
    kind = detect(folder)
    if kind is None:
        remedy = f"known: ScanNet's layouts, {', '.join(LISTERS)}"
        raise DataError("not a recording that can be read", where=folder, remedy=remedy)
    notes: list[str] = []
    listed = list(LISTERS[kind](folder, notes))
    step = frame_step or max(1, -(-len(listed) // MAX_FRAMES))
    if step > 1:
        notes.append(f"one frame in {step} is used, of {len(listed)}")
    names = [_plain(Path(entry.name).name) for entry in listed]
    if len(set(names)) < len(names):  # several cameras number their frames alike: the folder tells them apart
        names = [_plain(entry.name) for entry in listed]
    frames, omissions = [], []
    seen: set[str] = set()
    for name, entry in list(zip(names, listed, strict=True))[::step]:
        try:
            if name in seen:
                raise DataError("listed twice")
            seen.add(name)
            frames.append(_frame(name, entry, folder))
        except DataError as error:
            omissions.append(Omission(f"frame {name}", error.what))
    world_from_scan = _alignment(folder, kind, notes)
    return keep_commonest_depth_size(frames, omissions), omissions, notes, world_from_scan


def _plain(name: str) -> str:
    """A name that can be part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".") or "_"


def _frame(name: str, entry: FrameEntry, folder: Path) -> Frame:
    """The frame, or DataError with a reason that does not repeat its name."""
    if isinstance(entry.pose, str):
        raise DataError(entry.pose)
    for what, path in (("colour image", entry.color), ("depth image", entry.depth)):
        if path is None or not is_regular(path):
            raise DataError(f"no {what}")
        if escapes_root(path, folder):
            raise DataError(f"its {what} is named outside the recording")
    if fault := pose_fault(entry.pose):
        raise DataError(fault)
    depth = FileSlice(entry.depth, root=folder)  # type: ignore[arg-type]
    size = png_size(depth, str(depth.path))
    return Frame(
        name=name,
        color=FileSlice(entry.color, root=folder),
        depth=depth,
        scan_from_camera=entry.pose,
        depth_intrinsics=_intrinsics(entry, size),
        depth_size=size,
        depth_unit_m=entry.unit_m,
        depth_void=entry.void,
    )


def _intrinsics(entry: FrameEntry, depth_size: tuple[int, int]) -> np.ndarray:
    """(4, 4) pixels of the depth image, scaled from the image that the camera was given for."""
    matrix = np.eye(4)
    matrix[[0, 1, 0, 1], [0, 1, 2, 2]] = entry.camera
    return check_intrinsics(resized_intrinsics(matrix, entry.camera_size or depth_size, depth_size), "camera")


def given_alignment(folder: Path) -> np.ndarray | None:
    """(4, 4) world from scan of the folder's world_from_scan.txt or gravity.txt; None where it has neither."""
    path = folder / "world_from_scan.txt"
    if path.is_file():
        matrix = read_matrix(path)
        if not is_rigid(matrix):
            raise DataError("not a rotation and a translation", where=path)
        return matrix
    path = folder / "gravity.txt"
    if path.is_file():
        return from_gravity(numbers(read_text(path, MATRIX_BYTES), 3, path))
    return None


def _alignment(folder: Path, kind: str, notes: list[str]) -> np.ndarray:
    given = given_alignment(folder)
    if given is not None:
        return given
    known = "its world frame is taken as it is (z up)" if kind != "7-Scenes" else "its world frame has no known up"
    notes.append(f"no axis alignment is given: {known}; a gravity.txt or world_from_scan.txt would align it")
    return np.eye(4)


def from_gravity(down: Sequence[float]) -> np.ndarray:
    """(4, 4) rotation that turns the scan frame's direction `down` to -z by the shortest way."""
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


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    return [folder / name for name in sorted(names)][:10_000]
