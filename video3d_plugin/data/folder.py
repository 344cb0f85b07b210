"""The data folder that `video3d prepare` makes: scenes, evaluation docs, training questions, ready inputs.

video3d.json            format, tasks
scenes/<id>.json        frames and where they lie, alignment, boxes, what was left out
surface/<id>.npz        voxels of the scan's surface (for max-coverage sampling)
selections/<id>.json    the max-coverage choice of frames
docs/<task>_<split>.json, questions/<task>_<split>.json
store/<id>/<key>.safetensors
report.json             what was left out and why
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video3d_plugin.data import schemas, store
from video3d_plugin.data.inputs import boxes_of, sample, scene_coverage, scene_inputs
from video3d_plugin.data.records import (
    FORMAT,
    question_from_json,
    read_record,
    scene_from_json,
    selection_from_json,
    selection_to_json,
)
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.archive import open_npz
from video3d_plugin.files.atomic import digest, write_json
from video3d_plugin.files.schema import check, shown
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.sampling.coverage import Coverage, Selection
from video3d_plugin.scene import Question, Scene, SceneInputs
from video3d_plugin.tasks import get, kinds, names

_NAME = re.compile(r"\w+", re.ASCII)
VARIABLE = "VIDEO3D_DATA"
HEAD = "video3d.json"
_SELECTION_FORMAT = 3  # 2: a computed choice may be one for more frames, made among other candidates
_LARGEST_SURFACE = 1 << 31  # bytes; a large scan's voxels are a few million
_AGAIN = "run `video3d prepare` again"
_HOW = "make one with `video3d prepare SOURCE --output DATA`, or `video3d demo` for made-up rooms"


class _Prepared(NamedTuple):
    scene: Scene
    frames_key: str
    has_surface: bool


class DataFolder:
    """A prepared folder, read lazily. Safe to use from several processes and threads at once."""

    def __init__(self, path: Path, head: dict[str, Any]):
        self.path, self._head = path, head
        self._scenes: dict[str, _Prepared] = {}
        self._warned = False

    @classmethod
    def open(cls, path: str | Path) -> DataFolder:
        """The folder at `path`; MissingError, saying how to make one, if it is none."""
        path = Path(path).resolve()
        if not (path / HEAD).is_file():
            raise MissingError("not a prepared data folder", where=path, remedy=_HOW)
        head = read_record(path / HEAD)
        if head.get("format") != FORMAT:
            what = f"data folder of format {shown(head.get('format'))}, this version reads {FORMAT}"
            raise DataError(what, where=path, remedy=_AGAIN)
        check(head, schemas.HEAD, path / HEAD, _AGAIN)
        for task in head.get("tasks", ()):
            if not (_NAME.fullmatch(task["task"]) and _NAME.fullmatch(task["split"])):
                what = f"no name of a task: {shown(task['task'])}, {shown(task['split'])}"
                raise DataError(what, where=path / HEAD, remedy=_AGAIN)
        return cls(path, head)

    @classmethod
    def from_env(cls) -> DataFolder:
        """The folder that the environment variable VIDEO3D_DATA names."""
        value = os.environ.get(VARIABLE, "")
        if not value:
            raise MissingError(f"no data folder: {VARIABLE} is not set", remedy=f"{_HOW}; then set {VARIABLE}=DATA")
        return cls.open(value)

    @cached_property
    def scene_ids(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in (self.path / "scenes").glob("*.json")))

    def scene(self, scene_id: str) -> Scene:
        """The scene; MissingError for one that is not in the folder."""
        return self._scene(scene_id).scene

    def _scene(self, scene_id: str) -> _Prepared:
        if scene_id not in self._scenes:
            path = self.path / "scenes" / f"{scene_id}.json"
            if scene_id not in self.scene_ids:
                few = ", ".join(self.scene_ids[:5])
                remedy = f"it has {len(self.scene_ids)}: {few}{', ...' if len(self.scene_ids) > 5 else ''}"
                raise MissingError(f"no scene {scene_id!r}", where=self.path, remedy=remedy)
            record = {**_root_of_all(self._head), **read_record(path)}
            scene = scene_from_json(record, self.path, path)
            if scene.scene_id != scene_id:
                raise DataError(f"the record of {shown(scene.scene_id)}", where=path, remedy=_AGAIN)
            has_surface = record.get("surface") is not None
            self._scenes[scene_id] = _Prepared(scene, frames_digest(record), has_surface)
        return self._scenes[scene_id]

    def coverage(self, scene_id: str) -> Coverage:
        """What the scene's frames see; uses the stored selection where there is one."""
        scene, frames_key, _ = self._scene(scene_id)
        known = read_selection(self.selection_path(scene_id), frames_key, frame_count=len(scene.frames))
        return scene_coverage(scene, lambda: self.surface_cells(scene_id), known)

    def surface_cells(self, scene_id: str) -> np.ndarray | None:
        """(K, 3) int32 voxels of the scan's surface, 0.1 m; None for a scan without a mesh.

        MissingError or DataError if the scan has one and its file is gone or damaged.
        """
        if not self._scene(scene_id).has_surface:
            return None
        return _read_cells(self.path / "surface" / f"{scene_id}.npz")

    def frames_key(self, scene_id: str) -> str:
        """Identifies the scene's frames; what was made from other frames carries another key."""
        return self._scene(scene_id).frames_key

    def selection_path(self, scene_id: str) -> Path:
        return self.path / "selections" / f"{scene_id}.json"

    def frames(self, scene_id: str, sampler: str = "uniform", max_frames: int = 32) -> list[int]:
        """Indices of the frames that a sampler chooses, whatever was asked for before.

        A max-coverage choice is stored for the next time; one of more than 32 frames only where it has the candidates
        of that for 32 and goes on from the stored one.
        """
        scene, key, _ = self._scene(scene_id)
        coverage = self.coverage(scene_id)
        chosen = sample(scene, sampler, max_frames, coverage)
        selection = coverage.made
        if selection is not None:
            self._try(lambda: write_selection(self.selection_path(scene_id), key, selection))
        return chosen

    def inputs(
        self,
        scene_id: str,
        spec: InputsSpec,
        sampler: str = "uniform",
        max_frames: int = 32,
        proposals: str | np.ndarray = "pred",
    ) -> SceneInputs:
        """What the model sees of a scene: from the store, or computed and stored.

        A damaged store file is made again; a folder that cannot be written to is said once and works without.
        """
        return self._inputs(scene_id, spec, sampler, max_frames, proposals, self._try)

    def store_inputs(self, scene_id: str, spec: InputsSpec, **arguments: Any) -> None:
        """Make sure that `inputs` with these arguments comes from the store; DataError where it cannot be written."""
        names = {"sampler": "uniform", "max_frames": 32, "proposals": "pred", **arguments}
        self._inputs(scene_id, spec, **names, write=lambda write: write())

    def _inputs(
        self,
        scene_id: str,
        spec: InputsSpec,
        sampler: str,
        max_frames: int,
        proposals: str | np.ndarray,
        write: Callable[[Callable[[], None]], None],
    ) -> SceneInputs:
        scene, frames_key, _ = self._scene(scene_id)
        chosen = self.frames(scene_id, sampler, max_frames)
        boxes, ids = boxes_of(scene, proposals)
        names = [scene.frames[index].name for index in chosen]
        key = store.key_of(frames_key, spec, names, boxes.numpy(), ids.numpy())
        path = self.path / "store" / scene_id / f"{key}.safetensors"
        try:
            ready = store.read(path)
        except DataError as error:
            warnings.warn(f"{error.where}: {error.what}; it is made again")
            ready = None
        if ready is not None:
            return ready
        made = scene_inputs(scene, chosen, spec, proposals)
        write(lambda: store.write(path, made))
        return made

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except DataError as error:
            if not self._warned:
                warnings.warn(f"nothing can be stored, so scenes are computed each time: {error}")
                self._warned = True

    def tasks(self) -> dict[tuple[str, str], int]:
        """{(task, split): number of evaluation docs}."""
        return {(t["task"], t["split"]): t["docs"] for t in self._head.get("tasks", [])}

    def docs(self, task: str, split: str) -> list[dict[str, Any]]:
        """Evaluation docs: the official fields, ground-truth boxes (world frame, metres) and the prompt."""
        path, record = self._items("docs", task, split)
        check(record, {"items": [kinds.DOC | _doc_fields(task)]}, path, _AGAIN)
        check(record, {"items": [kinds.DOC_VALUES]}, path, _AGAIN)
        return record["items"]

    def questions(self, task: str, split: str) -> list[Question]:
        """Training questions."""
        path, record = self._items("questions", task, split)
        check(record, {"items": [schemas.QUESTION]}, path, _AGAIN)
        return [question_from_json(item) for item in record["items"]]

    def _items(self, kind: str, task: str, split: str) -> tuple[Path, dict[str, Any]]:
        if (task, split) not in self.tasks():
            have = ", ".join(f"{t} {s}" for t, s in self.tasks()) or "none"
            remedy = f"it has: {have}; put the official files into SOURCE/annotations and prepare again"
            raise MissingError(f"no annotations of {task} {split}", where=self.path, remedy=remedy)
        path = self.path / kind / f"{task}_{split}.json"
        return path, read_record(path)


def _root_of_all(head: dict[str, Any]) -> dict[str, Any]:
    """What the head of a folder says of scenes whose records do not say where their frames lie: those of before each
    did. Nothing in a new folder."""
    if "source" not in head:
        return {}
    return {
        "root": None if head.get("frames_copied") else [head["source"], head.get("source_relative") or head["source"]]
    }


def _doc_fields(task: str) -> dict[str, Any]:
    """Kinds of the fields of the task's documents; none of a task whose add-on is not installed here."""
    return dict(get(task).doc_fields) if task in names() else {}


def frames_digest(record: dict[str, Any]) -> str:
    """Identifies what SceneInputs and selections depend on besides boxes: frame files, poses, cameras, surface."""
    names = ("frames_fingerprint", "surface", "world_from_scan", "depth_intrinsics", "frames")
    return digest({name: record.get(name) for name in names})


def _read_cells(path: Path) -> np.ndarray:
    """(K, 3) int32 voxels of a file of surface/; MissingError, DataError if it is gone or damaged."""
    if not path.is_file():
        raise MissingError("the scan's surface is gone", where=path, remedy=_AGAIN)
    try:
        with open_npz(path, _LARGEST_SURFACE, _AGAIN) as archive:
            cells = archive["cells"]
        if not isinstance(cells, np.ndarray) or cells.ndim != 2 or cells.shape[1] != 3 or cells.dtype != np.int32:
            raise ValueError("not (K, 3) int32 voxels")
        return cells
    except (DataError, MissingError):
        raise
    except Exception as error:  # a damaged zip raises many types
        raise DataError(f"damaged: {error!s:.200}", where=path, remedy=_AGAIN) from error


def read_selection(
    path: Path, frames_key: str, released: bool | None = None, frame_count: int | None = None
) -> Selection | None:
    """The stored max-coverage choice, if it was made for these frames (and, where asked for, read or computed).

    A computed one of format 2 counts as none: it may have been made among other candidates. A damaged file, or one
    that names a frame of `frame_count` or more, counts as none, with a warning.
    """
    if not path.is_file():
        return None
    try:
        record = read_record(path)
        if record.get("frames") != frames_key or released not in (None, record.get("released")):
            return None
        if record.get("format") != _SELECTION_FORMAT and not record.get("released"):
            return None
        return selection_from_json(record, frame_count)
    except ValueError:  # DataError is one
        warnings.warn(f"{path}: damaged: max-coverage frames are chosen anew (a released choice: {_AGAIN})")
        return None


def write_selection(path: Path, frames_key: str, selection: Selection, released: bool = False) -> None:
    """Store a choice; `released` says that it was read, not computed."""
    head = {"format": _SELECTION_FORMAT, "frames": frames_key, "released": released}
    write_json(path, {**head, **selection_to_json(selection)})
