"""A folder of posed images: <name>.jpg, <name>.png (16-bit depth), <name>.txt (pose), depth_intrinsic.txt.

This is the layout that EmbodiedScan's generate_image_scannet.py, Video-3D LLM and most exporters of ScanNet write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.frames import color_size, keep_commonest_depth_size, png_size
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.text import natural_order, read_matrix
from video3d_plugin.geometry.camera_checks import check_intrinsics, pose_fault, resized_intrinsics
from video3d_plugin.scene import FileSlice, Frame, Omission

_COLOR_SUFFIXES = (".jpg", ".jpeg")
_AMBIGUOUS = "intrinsic.txt"  # the depth camera's, or, as exporters of ScanNet write it, the colour camera's
_INTRINSICS = ("depth_intrinsic.txt", "intrinsic_depth.txt", _AMBIGUOUS)
_ALIGNMENT = {"gravity", "world_from_scan"}  # read by `alignment`
_NOT_FRAMES = {"intrinsic", "depth_intrinsic", "extrinsic", "intrinsic_color", "intrinsic_depth", *_ALIGNMENT}


def read_posed_images(
    folder: Path,
    names: Sequence[str] | None = None,
    depth_intrinsics: np.ndarray | None = None,
    frame_step: int | None = None,
    depth_unit_m: float = 0.001,
) -> tuple[tuple[Frame, ...], list[Omission], list[str]]:
    """Read the frames of one scan's folder.

    Args:
        folder: The folder.
        names: Names of the frames to use, in order (EmbodiedScan's list). By default all, in natural order of names.
        depth_intrinsics: (4, 4) intrinsics in pixels of the depth image, used instead of depth_intrinsic.txt.
        frame_step: Keep every n-th frame.
        depth_unit_m: Metres per depth unit.

    Returns:
        Frames, omissions and notes. A frame is left out if it has no colour image, no depth image or no pose that is a
        rotation and a translation, or if its depth image has another size than most.

    Raises:
        MissingError: There is no such folder, or no intrinsics in it.
        DataError: The intrinsics are broken.
    """
    if not folder.is_dir():
        raise MissingError("folder of frames not found", where=folder)
    path = None
    if depth_intrinsics is None:
        path = _intrinsics_path(folder)
        depth_intrinsics = check_intrinsics(read_matrix(path), path)
    present = {entry.name for entry in folder.iterdir() if entry.is_file()}
    stems = sorted({name.rsplit(".", 1)[0] for name in present if _is_frame_file(name)}, key=natural_order)
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
            frames.append(_read_frame(folder, name, present, depth_intrinsics, depth_unit_m))
        except DataError as error:
            omissions.append(Omission(f"frame {name}", error.what))
    usable = keep_commonest_depth_size(frames, omissions)
    if path is not None and path.name == _AMBIGUOUS:
        usable = _to_depth_intrinsics(usable, notes)
    return usable, omissions, notes


def is_posed(folder: Path) -> bool:
    """Return whether a folder holds posed images: intrinsics, and a colour image with its pose."""
    if not any((folder / name).is_file() for name in _INTRINSICS):
        return False
    images = (path for suffix in _COLOR_SUFFIXES for path in folder.glob(f"*{suffix}"))
    return any(image.with_suffix(".txt").is_file() for image in images)


def _intrinsics_path(folder: Path) -> Path:
    for name in _INTRINSICS:
        path = folder / name
        if path.is_file():
            return path
    raise MissingError(
        "no depth_intrinsic.txt", where=folder, remedy="add it: 4x4 numbers, in pixels of the depth image"
    )


def _to_depth_intrinsics(frames: tuple[Frame, ...], notes: list[str]) -> tuple[Frame, ...]:
    """Return the frames with intrinsics of the depth image, rescaled if those given are of the colour image.

    Intrinsics belong to the image whose centre is nearer to their principal point.
    """
    color = next((size for frame in frames if (size := _color_size(frame))), None)
    if color is None:
        return frames
    depth, matrix = frames[0].depth_size, frames[0].depth_intrinsics
    from_color, from_depth = (np.hypot(matrix[0, 2] - w / 2, matrix[1, 2] - h / 2) for h, w in (color, depth))
    if from_depth <= from_color:
        return frames
    of_color, of_depth = (f"{w}x{h}" for h, w in (color, depth))
    notes.append(f"{_AMBIGUOUS} is of the colour images ({of_color}), and is scaled to the depth images ({of_depth})")
    resized = resized_intrinsics(matrix, color, depth)
    return tuple(replace(frame, depth_intrinsics=resized) for frame in frames)


def _color_size(frame: Frame) -> tuple[int, int] | None:
    try:
        return color_size(frame)
    except DataError:
        return None  # a broken image is reported when it is decoded


def _read_frame(folder: Path, name: str, present: set[str], intrinsics: np.ndarray, unit_m: float) -> Frame:
    """Return the frame; DataError with a reason that does not repeat its name if it cannot be used."""
    color = next((name + suffix for suffix in _COLOR_SUFFIXES if name + suffix in present), None)
    for what, file in (("colour image", color), ("depth image", name + ".png"), ("pose", name + ".txt")):
        if file not in present:
            raise DataError(f"no {what}")
    pose = read_matrix(folder / f"{name}.txt")
    if fault := pose_fault(pose):
        raise DataError(fault)
    depth = FileSlice(folder / f"{name}.png")
    return Frame(
        name=name,
        color=FileSlice(folder / color),
        depth=depth,
        scan_from_camera=pose,
        depth_intrinsics=intrinsics,
        depth_size=png_size(depth, str(depth.path)),
        depth_unit_m=unit_m,
    )


def _is_frame_file(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    return stem not in _NOT_FRAMES and "." + suffix in (*_COLOR_SUFFIXES, ".png", ".txt")
