"""Reads a scan or an upload in a worker process of `serve`.

The result holds everything for questions (the model's inputs) and for the viewer, so that the server never opens the
scan's files itself.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# Imported before workers are forked, so that they import next to nothing.
import cv2  # noqa: F401
import numpy as np
import PIL.Image  # noqa: F401
import torch

from video3d_plugin.data.camera_options import CameraOptions
from video3d_plugin.data.frames import KEPT_PIXELS, without_broken_frames
from video3d_plugin.data.inputs import sample, scene_inputs
from video3d_plugin.data.proposals import is_file_source, preload, with_proposals
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.captures import holds_video
from video3d_plugin.data.readers.zipped import unpack
from video3d_plugin.errors import DataError
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.notes import Note, kind_of
from video3d_plugin.sampling import registry
from video3d_plugin.scene import Omission, Scene, SceneInputs
from video3d_plugin.serve import progress
from video3d_plugin.serve.limits import Limits
from video3d_plugin.serve.progress import Progress, Reporter
from video3d_plugin.view.scene_view import SceneView, gather

PAGE_FRAMES = 100
_PROGRAM_EVENTS = ("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "socket.", "ctypes.")


@dataclass(frozen=True)
class SceneSource:
    """A scan of the command line: the arguments of `load_scene`.

    Attributes:
        path: Folder or file of the scan, or a data folder.
        scene_id: The scene in a data folder; None for a scan.
        align: How a scan is levelled: "auto", "none" or a file.
        camera: What the user says of the camera.
    """

    path: Path
    scene_id: str | None = None
    align: str = "auto"
    camera: CameraOptions = field(default_factory=CameraOptions)


@dataclass(frozen=True)
class ModelView:
    """How a model sees scenes.

    Attributes:
        spec: Sizes and voxels of its inputs.
        sampler: Name of its frame sampler.
        max_frames: Maximum number of frames.
        needs_boxes: Whether it has a grounding head, which needs box proposals.
        proposals: Where the proposals come from (see `data.proposals.with_proposals`).
    """

    spec: InputsSpec
    sampler: str
    max_frames: int
    needs_boxes: bool
    proposals: str | None = None


@dataclass(frozen=True)
class ReadScene:
    """A scene that was read.

    Attributes:
        inputs: Arguments of SceneInputs, with tensors as numpy arrays (see `inputs_of`).
        view: What the viewer shows. Its scene has no file paths.
    """

    inputs: dict[str, Any]
    view: SceneView


def prepare(model: ModelView) -> None:
    """Import the add-ons and load the detector that a model's view of scenes needs, before files are denied.

    Args:
        model: How the model sees scenes.

    Raises:
        DataError: The source of proposals cannot be used.
        MissingError: A file of it does not exist.
    """
    registry.get(model.sampler)
    if model.needs_boxes and model.proposals is not None:
        preload(model.proposals)


def read_scan(source: SceneSource, model: ModelView, send: Callable[[Progress], None]) -> ReadScene:
    """Read a scan of the command line.

    Args:
        source: The scan.
        model: How the model sees it.
        send: Called with the progress.

    Raises:
        DataError: The scan cannot be read.
        MissingError: A file is missing.
    """
    prepare(model)
    deny_programs()
    reporter = Reporter(send)
    reporter.begin(progress.OPENING)
    scene = load_scene(source.path, source.scene_id, align=source.align, **asdict(source.camera))
    return _read(scene, model, reporter)


def read_upload(
    archive: Path, folder: Path, name: str, limits: Limits, model: ModelView, send: Callable[[Progress], None]
) -> ReadScene:
    """Unpack, check and read an uploaded recording.

    Boxes in a JSON file are of the server's own scans: with such a source, uploads have the default proposals.

    Args:
        archive: The zip file.
        folder: An existing empty folder to unpack into.
        name: The scene's name.
        limits: Bounds on the archive.
        model: How the model sees the scene.
        send: Called with the progress.

    Raises:
        DataError: The archive is too large, or not a recording with all its files. A prepared data folder is refused,
            since its records name files.
    """
    reporter = Reporter(send)
    reporter.begin(progress.OPENING)
    recording = unpack(archive, folder / name, max_bytes=limits.unpacked_bytes, max_files=limits.files)
    if model.proposals is not None and is_file_source(model.proposals):
        model = replace(model, proposals=None)  # the file has boxes of the server's own scans
    prepare(model)
    deny_programs()
    deny_files_outside(folder)
    if holds_video(recording):
        what = "holds a video or a bag, whose decoders uploads do not reach"
        raise DataError(what, where=archive.name, remedy="zip images: video3d prepare --copy-frames writes them")
    scene = load_scene(recording)
    check_inside(scene, folder)
    if len(scene.frames) > limits.frames:
        what = f"{len(scene.frames)} frames, more than {limits.frames}"
        raise DataError(what, remedy="zip every second frame, or fewer")
    return _read(scene, model, reporter)


def inputs_of(read: ReadScene) -> SceneInputs:
    """Return the model's inputs of a scene that a worker read.

    Args:
        read: The worker's result.
    """
    values: dict[str, Any] = {
        name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in read.inputs.items()
    }
    return SceneInputs(**values)


def check_inside(scene: Scene, folder: Path) -> None:
    """Check that all files of a scene lie inside a folder, links followed.

    Args:
        scene: The scene.
        folder: The folder.

    Raises:
        DataError: A file lies outside; the message names the frame.
    """
    root = folder.resolve()
    for frame in scene.frames:
        for image in frame.files:
            if not image.path.resolve().is_relative_to(root):
                raise DataError(f"frame {frame.name} names a file outside of the upload", remedy="zip the files too")


def deny_programs() -> None:
    """Deny this process, for the rest of its life, to start programs and to open connections from Python."""

    def hook(event: str, args: tuple) -> None:
        if event.startswith(_PROGRAM_EVENTS):
            raise PermissionError(errno.EPERM, f"{event} is not allowed while a scan is read")

    sys.addaudithook(hook)


def deny_files_outside(folder: Path) -> None:
    """Deny this process, for the rest of its life, to open other files than those in a folder and Python modules.

    Python code that opens another file gets PermissionError. This is a second line of defence behind the readers'
    checks.

    Args:
        folder: The folder, which may be read and written. Modules may be read.
    """
    root, modules = os.path.realpath(folder), _module_roots()
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, args: tuple) -> None:
        if event != "open" or isinstance(args[0], int):
            return
        path = os.path.realpath(os.fsdecode(args[0]))
        if _is_below(path, (root,)) or path == os.devnull:
            return
        if not (_is_below(path, modules) and not (args[2] or 0) & writing):
            raise PermissionError(errno.EACCES, "lies outside of the upload", path)

    sys.addaudithook(hook)


def without_paths(text: str, roots: Iterable[str | Path] = ()) -> str:
    """Reduce each absolute path in a text to its last part.

    Args:
        text: A message.
        roots: Folders to remove first, since their names may hold spaces.
    """
    for root in sorted({str(root) for root in roots}, key=len, reverse=True):
        if len(root) > 1:
            text = text.replace(root + os.sep, "").replace(root, Path(root).name)
    return re.sub(r"(?<![\w.<>/\\])(?:[A-Za-z]:)?[/\\]+(?:[^\s/\\:'\"()]+[/\\]+)*(?=[^\s/\\])", "", text)


def _read(scene: Scene, model: ModelView, reporter: Reporter) -> ReadScene:
    scene = without_broken_frames(scene, 4, on_frame=reporter.frames(progress.CHECKING), keep_pixels=KEPT_PIXELS)
    if model.needs_boxes:
        reporter.begin(progress.FINDING)
        scene = with_proposals(scene, model.proposals)
    reporter.begin(progress.SAMPLING)
    frames = sample(scene, model.sampler, model.max_frames)
    inputs = scene_inputs(scene, frames, model.spec)
    on_frame = reporter.frames(progress.SHOWING)
    view = gather(scene, frames, model.sampler, max_frames=PAGE_FRAMES, on_frame=on_frame)
    values = {field.name: getattr(inputs, field.name) for field in fields(SceneInputs)}
    arrays = {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in values.items()}
    return ReadScene(arrays, replace(view, scene=_without_files(scene)))


def _without_files(scene: Scene) -> Scene:
    """The scene for the viewer: frames without their files, notes and reasons without paths of this machine."""
    frames = [frame.with_files(lambda file: replace(file, path=Path())) for frame in scene.frames]
    omissions = tuple(Omission(without_paths(o.what), without_paths(o.reason)) for o in scene.omissions)
    notes = tuple(Note(without_paths(note), kind_of(note)) for note in scene.notes)
    return replace(scene, frames=tuple(frames), omissions=omissions, notes=notes)


def _module_roots() -> tuple[str, ...]:
    """Folders of this package, of the standard library and of the installed packages."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    folders |= {str(Path(__file__).resolve().parents[1]), str(Path(np.__file__).parents[1])}
    return tuple(os.path.realpath(folder) for folder in folders if folder)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def remove(path: Path) -> None:
    """Delete a file or folder of an upload; nothing happens if it does not exist.

    Args:
        path: The file or folder.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
