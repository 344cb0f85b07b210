"""A folder of posed images: <name>.jpg, <name>.png (16-bit depth), <name>.txt (pose), depth_intrinsic.txt.

This is the layout that EmbodiedScan's generate_image_scannet.py, Video-3D LLM and most exporters of ScanNet write.
Suffixes may be in capitals. Colour that is a PNG itself is called <name>.color.png or <name>_color.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.frames import depth_header, keep_commonest_depth_size
from video3d_plugin.data.readers.camera_files import (
    CAMERA_NAMES,
    CAMERA_STEMS,
    CameraFile,
    find_camera,
    require_camera,
    with_camera,
)
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.regular import is_regular
from video3d_plugin.files.text import natural_order, read_matrix
from video3d_plugin.geometry.camera_checks import pose_fault
from video3d_plugin.scene import FileSlice, Frame, Omission

_COLOR_SUFFIXES = (".jpg", ".jpeg", ".color.png", "_color.png", ".color.jpg", "_color.jpg")
_DEPTH_SUFFIXES = (".png", ".pgm", ".npy", ".depth.png", "_depth.png")
_POSE_SUFFIX = ".txt"
_PARTS = {"colour image": _COLOR_SUFFIXES, "depth image": _DEPTH_SUFFIXES, "pose": (_POSE_SUFFIX,)}
_LONGEST_FIRST = sorted((suffix for suffixes in _PARTS.values() for suffix in suffixes), key=len, reverse=True)
_NOT_FRAMES = {*CAMERA_STEMS, "gravity", "world_from_scan", "extrinsic", "extrinsic_color", "extrinsic_depth", "readme"}
_AS_RECORDED = CameraOptions()


def read_posed_images(
    folder: Path,
    names: Sequence[str] | None = None,
    depth_intrinsics: np.ndarray | None = None,
    frame_step: int | None = None,
    options: CameraOptions = _AS_RECORDED,
) -> tuple[tuple[Frame, ...], list[Omission], list[str]]:
    """Read the frames of one scan's folder.

    Args:
        folder: The folder.
        names: Names of the frames to use, in order (EmbodiedScan's list). By default all, in natural order of names.
        depth_intrinsics: (4, 4) intrinsics in pixels of the depth image, used instead of depth_intrinsic.txt.
        frame_step: Keep every n-th frame.
        options: What the user says of the camera; it counts before the rest.

    Returns:
        Frames, omissions and notes. A frame is left out if it has no colour image, no depth image or no pose that is a
        rotation and a translation, or if its depth image has another size than most.

    Raises:
        MissingError: There is no such folder, or no intrinsics in it.
        DataError: The intrinsics are broken.
    """
    if not folder.is_dir():
        raise MissingError("folder of frames not found", where=folder)
    camera = find_camera(folder) if depth_intrinsics is None else CameraFile(folder, depth_intrinsics, of_depth=True)
    require_camera(folder, camera, options)
    present = _frame_files(folder)
    stems = sorted({stem for stem, _ in present}, key=natural_order)
    notes = []
    if names is None:
        names = stems
    elif unlisted := len(set(stems) - set(names)):
        notes.append(f"{unlisted} frames are in {folder.name} but not in the EmbodiedScan list, and are not used")
    step = frame_step or 1
    if step > 1:
        notes.append(f"one frame in {step} is used, of {len(names)}")
    frames, omissions = [], []
    for name in list(names)[::step]:
        try:
            frames.append(_read_frame(name, present))
        except DataError as error:
            omissions.append(Omission(f"frame {name}", error.what))
    usable = keep_commonest_depth_size(frames, omissions)
    return with_camera(usable, camera, options, notes), omissions, notes


def is_posed(folder: Path) -> bool:
    """Return whether a folder holds posed images: intrinsics, and a colour image with its pose."""
    return any(is_regular(folder / name) for name in CAMERA_NAMES) and any_posed_frame(folder)


def any_posed_frame(folder: Path) -> bool:
    """Return whether a folder holds a colour image with its pose."""
    present = _frame_files(folder)
    return any((stem, _POSE_SUFFIX) in present for stem, suffix in present if suffix in _COLOR_SUFFIXES)


def _read_frame(name: str, present: dict[tuple[str, str], Path]) -> Frame:
    """Return the frame, whose camera `with_camera` sets; DataError with a reason that does not repeat its name."""
    paths = []
    for what, suffixes in _PARTS.items():
        path = next((present[name, suffix] for suffix in suffixes if (name, suffix) in present), None)
        if path is None:
            raise DataError(f"no {what}")
        paths.append(path)
    color, depth_path, pose_path = paths
    pose = read_matrix(pose_path)
    if fault := pose_fault(pose):
        raise DataError(fault)
    depth = FileSlice(depth_path)
    codec, size = depth_header(depth, str(depth_path))
    return Frame(
        name=name,
        color=FileSlice(color),
        depth=depth,
        scan_from_camera=pose,
        depth_intrinsics=np.eye(4),
        depth_size=size,
        depth_codec=codec,
    )


def _frame_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the files of frames by the frame's name and the rest of theirs, in small letters.

    A frame may be called x_color itself: the rest is _color.png only if there is a pose of x.
    """
    paths = [path for path in folder.iterdir() if path.is_file()]
    posed = {path.stem for path in paths if path.suffix.lower() == _POSE_SUFFIX}
    files = {}
    for path in paths:
        for suffix in _LONGEST_FIRST:
            stem = path.name[: -len(suffix)]
            if path.name.lower().endswith(suffix) and (suffix == path.suffix.lower() or stem in posed):
                if stem and stem.lower() not in _NOT_FRAMES:
                    files[stem, suffix] = path
                break
    return files
