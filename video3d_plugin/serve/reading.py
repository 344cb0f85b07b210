"""What a worker process does for `serve`: read a scan or an upload, and return all that is shown and asked of it.

Afterwards the server opens none of the scan's files again: questions need the inputs, the page needs the view.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

# imported before the worker is forked, so that reading itself imports next to nothing
import cv2  # noqa: F401
import numpy as np
import PIL.Image  # noqa: F401
import torch

from video3d_plugin.data.frames import without_broken_frames
from video3d_plugin.data.inputs import sample, scene_inputs
from video3d_plugin.data.proposals import with_proposals
from video3d_plugin.data.readers import load_scene
from video3d_plugin.data.readers.zipped import unpack
from video3d_plugin.errors import DataError
from video3d_plugin.sampling import registry
from video3d_plugin.scene import InputsSpec, Omission, Scene, SceneInputs
from video3d_plugin.serve.limits import Limits
from video3d_plugin.view.scene_view import SceneView, gather

PAGE_FRAMES = 100
_PROGRAM_EVENTS = ("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "socket.", "ctypes.")
_DATA_FOLDER_FILE = "video3d.json"


@dataclass(frozen=True)
class SceneSource:
    """Where a scan of the command line lies: the arguments of `load_scene`."""

    path: Path
    scene_id: str | None = None


@dataclass(frozen=True)
class ModelView:
    """How a model sees scenes: its inputs, its frame sampler, and whether it chooses among boxes."""

    spec: InputsSpec
    sampler: str
    max_frames: int
    needs_boxes: bool


@dataclass(frozen=True)
class ReadScene:
    """A scene as the server keeps it.

    inputs: Arguments of SceneInputs, tensors as numpy arrays (see `inputs_of`).
    view: What the viewer shows. Its scene names no files.
    """

    inputs: dict[str, Any]
    view: SceneView


def read_scan(source: SceneSource, model: ModelView) -> ReadScene:
    """Read a scan that the command line names."""
    deny_programs()
    return _read(load_scene(source.path, source.scene_id), model)


def read_upload(archive: Path, folder: Path, name: str, limits: Limits, model: ModelView) -> ReadScene:
    """Unpack, check and read an uploaded recording.

    Args:
        archive: The zip file that arrived.
        folder: An existing empty folder to unpack into.
        name: The scene's name.

    Raises:
        DataError: What is wrong with the archive. It must be a plain recording: a prepared data folder is refused,
            since its records name files, and so is a recording whose files lie elsewhere.
    """
    recording = unpack(archive, folder / name, max_bytes=limits.unpacked_bytes, max_files=limits.files)
    registry.get(model.sampler)  # may import a plug-in's module
    deny_programs()
    deny_files_outside(folder)
    for path in (folder / name).rglob("*"):
        if path.name.lower() == _DATA_FOLDER_FILE:
            what = "holds a data folder that `video3d prepare` made"
            raise DataError(what, where=archive.name, remedy="upload the recording itself")
    scene = load_scene(recording)
    check_inside(scene, folder)
    if len(scene.frames) > limits.frames:
        what = f"{len(scene.frames)} frames, more than {limits.frames}"
        raise DataError(what, remedy="zip every second one, or fewer")
    return _read(scene, model)


def inputs_of(read: ReadScene) -> SceneInputs:
    """The SceneInputs of a scene that a worker read."""
    values = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in read.inputs.items()}
    return SceneInputs(**values)


def check_inside(scene: Scene, folder: Path) -> None:
    """Raise DataError if a file of the scene lies outside of `folder`, links followed."""
    root = folder.resolve()
    for frame in scene.frames:
        for blob in (frame.color, frame.depth):
            if not blob.path.resolve().is_relative_to(root):
                raise DataError(f"frame {frame.name} names a file outside of the upload", remedy="zip the files too")


def deny_programs() -> None:
    """From now on, this process can start no program and open no connection from Python."""

    def hook(event: str, args: tuple) -> None:
        if event.startswith(_PROGRAM_EVENTS):
            raise PermissionError(errno.EPERM, f"{event} is not allowed while a scan is read")

    sys.addaudithook(hook)


def deny_files_outside(folder: Path) -> None:
    """From now on, this process opens only files inside `folder`, and Python's own modules to read.

    Python code that opens anything else gets PermissionError, as if the file were not readable. A second line of
    defence behind the readers' own checks.
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
    """The text with only the last part of each absolute path; `roots` are folders whose names may hold spaces."""
    for root in sorted({str(root) for root in roots}, key=len, reverse=True):
        if len(root) > 1:
            text = text.replace(root + os.sep, "").replace(root, Path(root).name)
    return re.sub(r"(?<![\w.<>/\\])(?:[A-Za-z]:)?[/\\]+(?:[^\s/\\:'\"()]+[/\\]+)*(?=[^\s/\\])", "", text)


def _read(scene: Scene, model: ModelView) -> ReadScene:
    scene = without_broken_frames(scene, threads=4)
    if model.needs_boxes:
        scene = with_proposals(scene)
    chosen = sample(scene, model.sampler, model.max_frames)
    inputs = scene_inputs(scene, chosen, model.spec)
    view = gather(scene, chosen, model.sampler, max_frames=PAGE_FRAMES)
    values = {field.name: getattr(inputs, field.name) for field in fields(SceneInputs)}
    arrays = {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in values.items()}
    return ReadScene(arrays, replace(view, scene=_shown(scene)))


def _shown(scene: Scene) -> Scene:
    """The scene for the page: notes and reasons without this machine's paths, frames without their files."""
    nowhere = [
        replace(frame, color=replace(frame.color, path=Path()), depth=replace(frame.depth, path=Path()))
        for frame in scene.frames
    ]
    omissions = tuple(Omission(without_paths(o.what), without_paths(o.reason)) for o in scene.omissions)
    return replace(scene, frames=tuple(nowhere), omissions=omissions, notes=tuple(map(without_paths, scene.notes)))


def _module_roots() -> tuple[str, ...]:
    """Where this package, the standard library and the installed packages lie."""
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    places |= {str(Path(__file__).resolve().parents[1]), str(Path(np.__file__).parents[1])}
    return tuple(os.path.realpath(place) for place in places if place)


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def remove(path: Path) -> None:
    """Delete a file or folder of an upload, whatever is left of it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
