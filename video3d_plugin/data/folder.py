"""The data folder that `video3d prepare` makes: scenes, evaluation docs, training questions, stored inputs.

video3d.json                      format, tasks
scenes/<id>.json                  frames and where they lie, alignment, boxes, what was left out
surface/<id>.npz                  voxels of the scan's surface (for max-coverage sampling)
selections/<id>.json              the max-coverage selection of frames
docs/<task>_<split>.json          evaluation docs
questions/<task>_<split>.json     training questions
store/<id>/<key>.safetensors      what the model sees of a scene
report.json                       what was left out and why
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video3d_plugin.data import schemas, store
from video3d_plugin.data.inputs import boxes_of, sample, scene_coverage, scene_inputs
from video3d_plugin.data.records import FORMAT, HEAD, question_from_json, read_record, scene_from_json
from video3d_plugin.data.selections import read_selection, write_selection
from video3d_plugin.data.surface import read_cells
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import digest
from video3d_plugin.files.schema import check, shown
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.sampling.coverage import VOXEL_SIZE_M, Coverage
from video3d_plugin.scene import Question, Scene, SceneInputs
from video3d_plugin.tasks import get, kinds, names

_NAME = re.compile(r"\w+", re.ASCII)
VARIABLE = "VIDEO3D_DATA"
_AGAIN = "run `video3d prepare` again"
_HOW = "make one with `video3d prepare SOURCE --output DATA`, or `video3d demo` for made-up rooms"


class _Prepared(NamedTuple):
    scene: Scene
    frames_key: str
    has_surface: bool
    voxel_size_m: float


class DataFolder:
    """A prepared folder, read lazily. Safe to use from several processes and threads at once.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, head: dict[str, Any]):
        self.path, self._head = path, head
        self._scenes: dict[str, _Prepared] = {}
        self._warned = False

    @classmethod
    def open(cls, path: str | Path) -> DataFolder:
        """Open the data folder at `path`.

        Raises:
            MissingError: There is no data folder; the message says how to make one.
            DataError: It has another format, or its head is damaged.
        """
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
                what = f"not the names of a task and a split: {shown(task['task'])}, {shown(task['split'])}"
                raise DataError(what, where=path / HEAD, remedy=_AGAIN)
        return cls(path, head)

    @classmethod
    def from_env(cls) -> DataFolder:
        """Open the folder that the environment variable VIDEO3D_DATA names.

        Raises:
            MissingError: The variable is not set, or names no data folder.
            DataError: As `open`.
        """
        value = os.environ.get(VARIABLE, "")
        if not value:
            raise MissingError(f"no data folder: {VARIABLE} is not set", remedy=f"{_HOW}; then set {VARIABLE}=DATA")
        return cls.open(value)

    @cached_property
    def scene_ids(self) -> tuple[str, ...]:
        """The sorted ids of the folder's scenes."""
        return tuple(sorted(path.stem for path in (self.path / "scenes").glob("*.json")))

    def scene(self, scene_id: str) -> Scene:
        """Return a scene.

        Raises:
            MissingError: The folder has no such scene.
            DataError: Its record is damaged.
        """
        return self._scene(scene_id).scene

    def _scene(self, scene_id: str) -> _Prepared:
        if scene_id not in self._scenes:
            path = self.path / "scenes" / f"{scene_id}.json"
            if scene_id not in self.scene_ids:
                few = ", ".join(self.scene_ids[:5])
                remedy = f"it has {len(self.scene_ids)}: {few}{', ...' if len(self.scene_ids) > 5 else ''}"
                raise MissingError(f"no scene {scene_id!r}", where=self.path, remedy=remedy)
            record = {**_default_root(self._head), **read_record(path)}
            scene = scene_from_json(record, self.path, path)
            if scene.scene_id != scene_id:
                raise DataError(f"is the record of scene {shown(scene.scene_id)}", where=path, remedy=_AGAIN)
            has_surface = record.get("surface") is not None
            voxel_size_m = record.get("voxel_size_m", VOXEL_SIZE_M)
            self._scenes[scene_id] = _Prepared(scene, frames_digest(record), has_surface, voxel_size_m)
        return self._scenes[scene_id]

    def coverage(self, scene_id: str) -> Coverage:
        """Return the scene's coverage, with the stored selection if there is one."""
        scene, frames_key, _, voxel_size_m = self._scene(scene_id)
        stored = read_selection(self.selection_path(scene_id), frames_key, frame_count=len(scene.frames))
        return scene_coverage(scene, lambda: self.surface_cells(scene_id), stored, voxel_size_m)

    def surface_cells(self, scene_id: str) -> np.ndarray | None:
        """Return the (K, 3) int32 voxels of the scan's surface, world frame; None for a scan without a mesh.

        Raises:
            MissingError: The scan has a surface and its file is gone.
            DataError: The file is damaged.
        """
        if not self._scene(scene_id).has_surface:
            return None
        return read_cells(self.path / "surface" / f"{scene_id}.npz")

    def voxel_size_m(self, scene_id: str) -> float:
        """Return the side of the surface's voxels, metres."""
        return self._scene(scene_id).voxel_size_m

    def frames_key(self, scene_id: str) -> str:
        """Return the key of the scene's frames. Selections and stored inputs of other frames have another key."""
        return self._scene(scene_id).frames_key

    def selection_path(self, scene_id: str) -> Path:
        """Return where the scene's max-coverage selection is stored."""
        return self.path / "selections" / f"{scene_id}.json"

    def frames(
        self, scene_id: str, sampler: str = "uniform", max_frames: int = 32, question: Question | None = None
    ) -> list[int]:
        """Sample frames of a scene. The result does not depend on earlier calls.

        A max-coverage selection is stored for the next call. One of more than 32 frames is stored only if it has the
        same candidates as that of 32 and extends the stored one.

        Args:
            scene_id: Id of the scene.
            sampler: Name of a frame sampler.
            max_frames: Largest number of frames.
            question: The question, for a sampler that asks for it.

        Returns:
            Indices of the scene's frames, in capture order.

        Raises:
            MissingError: The folder has no such scene.
            DataError: There is no such sampler, or the scene does not allow it.
        """
        scene, key, *_ = self._scene(scene_id)
        coverage = self.coverage(scene_id)
        indices = sample(scene, sampler, max_frames, coverage, question)
        selection = coverage.computed
        if selection is not None:
            self._try_write(lambda: write_selection(self.selection_path(scene_id), key, selection))
        return indices

    def inputs(
        self,
        scene_id: str,
        spec: InputsSpec,
        sampler: str = "uniform",
        max_frames: int = 32,
        proposals: str | np.ndarray = "pred",
        frames: Sequence[int] | None = None,
    ) -> SceneInputs:
        """Return what the model sees of a scene: from the store, or computed and stored.

        A damaged store file is replaced, with a warning. If the folder cannot be written to, a warning says so once,
        and inputs are computed each time.

        Args:
            scene_id: Id of the scene.
            spec: What the model expects.
            sampler: Name of a frame sampler.
            max_frames: Largest number of frames.
            proposals: "pred", "gt" or (N, 6) boxes; see `inputs.scene_inputs`.
            frames: Indices of the frames to use, as `frames` returned them; then nothing is sampled.

        Raises:
            MissingError: The folder has no such scene.
            DataError: A frame cannot be decoded, or an argument is not valid.
        """
        indices = self.frames(scene_id, sampler, max_frames) if frames is None else list(frames)
        return self._inputs(scene_id, spec, indices, proposals, self._try_write)

    def store_inputs(self, scene_id: str, spec: InputsSpec, **arguments: Any) -> None:
        """Compute and store inputs, unless they are stored.

        Args:
            scene_id: Id of the scene.
            spec: What the model expects.
            **arguments: Sampler, max_frames and proposals as for `inputs`.

        Raises:
            DataError: As `inputs`, or the store cannot be written.
        """
        proposals = arguments.pop("proposals", "pred")
        self._inputs(scene_id, spec, self.frames(scene_id, **arguments), proposals, write=lambda write: write())

    def _inputs(
        self,
        scene_id: str,
        spec: InputsSpec,
        indices: list[int],
        proposals: str | np.ndarray,
        write: Callable[[Callable[[], None]], None],
    ) -> SceneInputs:
        scene, frames_key, *_ = self._scene(scene_id)
        boxes, ids = boxes_of(scene, proposals)
        names = [scene.frames[index].name for index in indices]
        key = store.key_of(frames_key, spec, names, boxes.numpy(), ids.numpy())
        path = self.path / "store" / scene_id / f"{key}.safetensors"
        try:
            stored = store.read(path)
        except DataError as error:
            warnings.warn(f"{error.where}: {error.what}; it is made again")
            stored = None
        if stored is not None:
            return stored
        coverage = self.coverage(scene_id) if spec.clamp_points else None
        inputs = scene_inputs(scene, indices, spec, proposals, coverage=coverage)
        write(lambda: store.write(path, inputs))
        return inputs

    def _try_write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except DataError as error:
            if not self._warned:
                warnings.warn(f"nothing can be stored, so scenes are computed each time: {error}")
                self._warned = True

    def tasks(self) -> dict[tuple[str, str], int]:
        """Return the number of evaluation docs for each (task, split)."""
        return {(t["task"], t["split"]): t["docs"] for t in self._head.get("tasks", [])}

    def docs(self, task: str, split: str) -> list[dict[str, Any]]:
        """Return the evaluation docs of a task and split.

        Returns:
            One dictionary a question: the official fields, ground-truth boxes (world frame, metres) and the prompt.

        Raises:
            MissingError: The folder has no annotations of this task and split.
            DataError: The file is damaged.
        """
        path, record = self._items("docs", task, split)
        check(record, {"items": [kinds.DOC | _doc_fields(task)]}, path, _AGAIN)
        check(record, {"items": [kinds.DOC_VALUES]}, path, _AGAIN)
        return record["items"]

    def questions(self, task: str, split: str) -> list[Question]:
        """Return the training questions of a task and split; raises as `docs`."""
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


def _default_root(head: dict[str, Any]) -> dict[str, Any]:
    """Return the field `root` of scene records that have none: in older folders it stands in the head."""
    if "source" not in head:
        return {}
    return {
        "root": None if head.get("frames_copied") else [head["source"], head.get("source_relative") or head["source"]]
    }


def _doc_fields(task: str) -> dict[str, Any]:
    """Return the schema of the fields of a task's docs; an empty one if the task's add-on is not installed."""
    return dict(get(task).doc_fields) if task in names() else {}


def frames_digest(record: dict[str, Any]) -> str:
    """Return the digest of what SceneInputs and selections depend on besides boxes.

    Args:
        record: A scene's record. Frame files, poses, cameras and the surface enter the digest.
    """
    names = ("frames_fingerprint", "surface", "world_from_scan", "depth_intrinsics", "frames")
    size = {name: record[name] for name in ("voxel_size_m",) if name in record}  # older records have none
    return digest({name: record.get(name) for name in names} | size)
