"""Recordings of other data sets and apps become frames like ScanNet's.

`FORMATS` lists the formats, each in a module of its own. None of them has an axis alignment; some know the direction
up. A recording may carry an alignment of its own (see `alignment`).
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.frames import depth_header, keep_commonest_depth_size
from video3d_plugin.data.geometry_check import likely_cause
from video3d_plugin.data.levelling.alignment import UNKNOWN, Alignment, z_up
from video3d_plugin.data.readers import (
    arkitscenes,
    nerfstudio,
    polycam,
    record3d,
    ros_bag,
    scanner_app,
    seven_scenes,
    split_folders,
    stray_scanner,
    trajectories,
    tum,
    unposed,
)
from video3d_plugin.data.readers.alignment import read_alignment
from video3d_plugin.data.readers.camera_files import CameraFile, find_camera, require_camera, with_camera
from video3d_plugin.data.readers.capture_format import CaptureFormat, FrameEntry, without_depth_camera
from video3d_plugin.data.readers.diagnose import unreadable
from video3d_plugin.data.readers.posed_images import is_posed
from video3d_plugin.data.registration import in_color_camera
from video3d_plugin.errors import DataError
from video3d_plugin.files.links import escapes_root
from video3d_plugin.files.regular import is_regular
from video3d_plugin.geometry.camera_checks import (
    check_depth_unit,
    check_intrinsics,
    pinhole_matrix,
    pose_fault,
    resized_intrinsics,
)
from video3d_plugin.notes import Note
from video3d_plugin.scene import FileSlice, Frame, Omission

FORMATS: tuple[CaptureFormat, ...] = (
    seven_scenes.FORMAT,
    tum.FORMAT,
    arkitscenes.FORMAT,
    nerfstudio.FORMAT,
    polycam.FORMAT,
    stray_scanner.FORMAT,
    record3d.FORMAT,
    scanner_app.FORMAT,
    trajectories.OPEN3D,
    trajectories.REPLICA,
    ros_bag.FORMAT,
    split_folders.FORMAT,
)
MAX_FRAMES = 300  # a longer recording is thinned evenly, unless a step is given
_MAX_SUBFOLDERS = 10_000
_LONGEST_NAME = 120  # bytes of a scene's or frame's name: longer ones are cut in the middle
_OTHER_PROPORTIONS = 0.03  # images of one camera in two sizes: rounding to whole pixels, or to multiples of 8 or 16
_AS_RECORDED = CameraOptions()


def detect(folder: Path) -> CaptureFormat | None:
    """Return the format of the recording in a folder; None if it holds none."""
    return next((capture for capture in FORMATS if capture.matches(folder)), None)


def find_captures(root: Path, without_poses: bool = False) -> dict[str, Path]:
    """Find the recordings at `root` and up to two folders below it.

    Folders of posed images count too, but only below `root`: one at `root` itself is a single scan, which `load_scene`
    reads as it is. A .sens that lies elsewhere than in scans/<id>/ is a recording as well.

    Args:
        root: The folder.
        without_poses: Find folders of colour and depth images instead, whose poses are to be estimated.

    Returns:
        Scene id to folder, or to a .sens file. The id is made from the path below `root`.

    Raises:
        DataError: Two recordings would get the same id.
    """
    captures: dict[str, Path] = {}
    for folder in [root, *_subfolders(root), *(inner for sub in _subfolders(root) for inner in _subfolders(sub))]:
        if any(folder.is_relative_to(capture) for capture in captures.values()):
            continue
        found = _unposed_recording(folder, root) if without_poses else _recordings(folder, root)
        for name, path in found.items():
            name = _as_file_name(name)
            if name in captures:
                what = f"two recordings would be called {name}: {captures[name]}"
                raise DataError(what, where=path, remedy="rename one")
            captures[name] = path
    return captures


def _recordings(folder: Path, root: Path) -> dict[str, Path]:
    """Return the recordings that a folder is or holds, by the names that their paths below `root` give them."""
    if detect(folder) is not None or (folder != root and is_posed(folder)):
        return {_name_of_folder(folder, root): folder}
    if is_posed(folder):
        return {}
    relative = folder.relative_to(root).parts
    return {_name_of_file(path, relative): path for path in recording_files(folder)}


def _unposed_recording(folder: Path, root: Path) -> dict[str, Path]:
    return {_name_of_folder(folder, root): folder} if unposed.FORMAT.matches(folder) else {}


def _name_of_folder(folder: Path, root: Path) -> str:
    return "_".join(folder.relative_to(root).parts) or folder.resolve().name


def holds_video(root: Path) -> bool:
    """Return whether a recording at or below `root` keeps its images in a video or a bag."""
    formats = [detect(path) for path in find_captures(root).values()]
    return any(capture is not None and capture.extract is not None for capture in formats)


def sens_files(folder: Path) -> list[Path]:
    """Return the .sens files of a folder, in any case of the suffix, by name."""
    return [path for path in recording_files(folder) if path.suffix.lower() == ".sens"]


def recording_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are recordings by themselves, by name: .sens files and bags."""
    return sorted(path for path in folder.iterdir() if is_recording_file(path) and is_regular(path))


def is_recording_file(path: Path) -> bool:
    """Return whether a file of this name is a recording by itself."""
    suffix = path.suffix.lower()
    return suffix == ".sens" or any(suffix in capture.suffixes for capture in FORMATS)


def _name_of_file(path: Path, relative: tuple[str, ...]) -> str:
    """Return the name of a recording: the file's, behind the folders it lies in unless the last has that name too."""
    return "_".join((*relative, path.stem) if relative[-1:] != (path.stem,) else relative)


def read_capture(
    folder: Path,
    frame_step: int | None = None,
    options: CameraOptions = _AS_RECORDED,
) -> tuple[tuple[Frame, ...], list[Omission], list[str], Alignment]:
    """Read the frames of a recording.

    Args:
        folder: The recording: a folder, or a file that is one by itself.
        frame_step: Keep every n-th frame. By default all, or as many as leave at most MAX_FRAMES.
        options: What the user says of the camera; it counts before the folder's files, and these before the format.

    Returns:
        The frames in capture order, the omissions, the notes, and what is known of the world frame.

    Raises:
        MissingError: Neither the recording nor the user gives the camera.
        DataError: The folder holds no known recording, or a file that lists its frames is broken.
    """
    capture = unposed.FORMAT if options.estimates_poses else detect(folder)
    if capture is None:
        raise unreadable(folder)
    notes: list[str] = []
    entries = list(capture.list_frames(folder, notes))
    step = frame_step or max(1, -(-len(entries) // MAX_FRAMES))
    if step > 1:
        notes.append(f"one frame in {step} is used, of {len(entries)}")
    kept = 1 if options.estimates_poses else step  # poses are estimated from all frames
    names = [_as_file_name(Path(entry.name).name) for entry in entries]
    if len(set(names)) < len(names):  # several cameras number their frames alike: the folder tells them apart
        names = [_as_file_name(entry.name) for entry in entries]
    root = folder if folder.is_dir() else folder.parent
    camera = _find_camera(root, entries, notes)
    if any(entry.camera is None for entry in entries):
        require_camera(root, camera, options)
    given = camera is not None or options.intrinsics is not None
    frames, omissions = [], []
    seen: set[str] = set()
    named = [replace(entry, name=name) for name, entry in zip(names, entries, strict=True)][::kept]
    for entry in capture.extract(folder, named) if capture.extract else named:
        name = entry.name
        if given and entry.camera_note:
            entry = without_depth_camera(entry)
        try:
            if name in seen:
                raise DataError("listed twice")
            seen.add(name)
            frames.append(_read_frame(entry, root, given))
        except DataError as error:
            omissions.append(Omission(f"frame {name}", error.what))
    usable = keep_commonest_depth_size(frames, omissions)
    notes += _camera_notes(entries, root, None if options.intrinsics else camera, given)
    usable = with_camera(usable, camera, options, notes)
    if not given:
        _refuse_wrong_assumption(usable, entries, root)
    if options.estimates_poses:
        usable = unposed.with_estimated_poses(usable, folder, notes)[::step]
    return usable, omissions, notes, _alignment(root, capture)


def _find_camera(folder: Path, entries: list[FrameEntry], notes: list[str]) -> CameraFile | None:
    """Return the camera of the folder. A file of another form does not matter if the recording has its cameras."""
    try:
        return find_camera(folder)
    except DataError as error:
        if any(entry.camera is None or entry.camera_note for entry in entries):
            raise
        notes.append(f"not used as the camera: {error.what}" + (f" ({Path(error.where).name})" if error.where else ""))
        return None


def _refuse_wrong_assumption(frames: tuple[Frame, ...], entries: list[FrameEntry], folder: Path) -> None:
    """Raise DataError if a camera was assumed and the depth shows that it is another."""
    if not any(entry.camera_note for entry in entries):
        return
    cause = likely_cause(frames)
    if cause is not None and cause.kind == "intrinsics":
        what = f"the recording gives no intrinsics, and the usual ones are wrong: {cause.text}"
        raise DataError(what, where=folder, remedy="add calib.txt (fx fy cx cy), or give --intrinsics FX FY CX CY")


def _camera_notes(entries: list[FrameEntry], folder: Path, camera: CameraFile | None, given: bool) -> list[str]:
    """Return the notes of the cameras in use: assumed ones, or a file that counts before the recording's own."""
    if not given:
        return [Note(note, "assumption") for note in sorted({entry.camera_note for entry in entries} - {""})]
    if camera is not None and any(entry.camera is not None and not entry.camera_note for entry in entries):
        return [f"the camera is that of {camera.path.relative_to(folder)}, not the recording's own"]
    return []


def _as_file_name(name: str) -> str:
    """Return the name with everything replaced that a file's name should not contain. Letters of all scripts stay."""
    name = unicodedata.normalize("NFC", name)
    kept = "".join(c if c in "_.-" or unicodedata.category(c)[0] in "LMN" else "\0" for c in name)
    name = re.sub("\0+", "_", kept).lstrip(".") or "_"
    data = name.encode()
    if len(data) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        name = f"{data[:half].decode(errors='ignore')}_{data[-half:].decode(errors='ignore')}"
    return name


def _read_frame(entry: FrameEntry, folder: Path, given: bool) -> Frame:
    """Return the frame; DataError with a reason that does not repeat its name if it cannot be used.

    If a file or the user gives the camera, `with_camera` sets it afterwards.
    """
    if isinstance(entry.pose, str):
        raise DataError(entry.pose)
    if entry.depth is None:
        raise DataError("no depth image")
    files = [("colour image", entry.color), ("depth image", entry.depth)]
    if entry.confidence is not None:
        files.append(("confidence image", entry.confidence.image.path))
    for what, path in files:
        if not is_regular(path):
            raise DataError(f"no {what}")
        if escapes_root(path, folder):
            raise DataError(f"its {what} lies outside the recording")
    if fault := pose_fault(entry.pose):
        raise DataError(fault)
    depth = FileSlice(entry.depth, root=folder)
    if entry.depth_codec is not None and entry.depth_size is not None:
        codec, size = entry.depth_codec, entry.depth_size
    else:
        codec, size = depth_header(depth, str(depth.path))
    is_registered = entry.depth_camera is None
    frame = Frame(
        name=entry.name,
        color=FileSlice(entry.color, root=folder),
        depth=depth,
        scan_from_camera=entry.pose,
        depth_intrinsics=_depth_intrinsics(entry, size) if is_registered and not given else np.eye(4),
        depth_size=size,
        depth_codec=codec,
        depth_unit_m=check_depth_unit(entry.unit_m, depth.path, 0.1 if codec in ("png", "pgm") else 1.0),
        depth_void=entry.void,
        confidence=entry.confidence,
    )
    if entry.depth_camera is None:
        return frame
    assert entry.camera is not None and entry.camera_size is not None, "a depth camera beside no colour camera"
    return in_color_camera(frame, entry.depth_camera, pinhole_matrix(*entry.camera), entry.camera_size)


def _depth_intrinsics(entry: FrameEntry, depth_size: tuple[int, int]) -> np.ndarray:
    """Return the (4, 4) intrinsics in pixels of the depth image, scaled from the image that the camera is given for."""
    assert entry.camera is not None, "read_capture refuses a recording without a camera"
    height, width = entry.camera_size or depth_size
    if abs(width * depth_size[0] / (height * depth_size[1]) - 1) > _OTHER_PROPORTIONS:
        what = f"depth of {depth_size[1]}x{depth_size[0]} has other proportions than the camera's {width}x{height}"
        raise DataError(f"{what}: give the depth camera's own intrinsics")
    matrix = pinhole_matrix(*entry.camera)
    return check_intrinsics(resized_intrinsics(matrix, (height, width), depth_size), "camera")


def _alignment(folder: Path, capture: CaptureFormat) -> Alignment:
    """Return what the folder says of the world frame, else what the format knows."""
    if (given := read_alignment(folder)) is not None:
        return given
    return z_up(capture.name) if capture.z_up else UNKNOWN


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    return [folder / name for name in sorted(names)][:_MAX_SUBFOLDERS]
