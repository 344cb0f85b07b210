"""A Scene as JSON: the scene files of a data folder. Exact: floats survive the round trip bit by bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.text import read_json
from video3d_plugin.errors import DataError
from video3d_plugin.sampling.coverage import Selection
from video3d_plugin.scene import Blob, Frame, Instance, Omission, Question, Scene

FORMAT = 2  # of every file of the folder but the store's and the selections; 1: frames without `void`
_REMEDY = "run `video3d prepare` again"


def scene_to_json(scene: Scene, root: Path, folder: Path) -> dict[str, Any]:
    """JSON value of a scene for a data folder; blobs below `root` are named from there, others by their full path."""
    cameras: list[list[float]] = []
    frames = []
    for frame in scene.frames:
        camera = _flat(frame.depth_intrinsics)
        if camera not in cameras:
            cameras.append(camera)
        frames.append(
            {
                "name": frame.name,
                "color": _blob_to_json(frame.color, root),
                "depth": _blob_to_json(frame.depth, root),
                "pose": _flat(frame.scan_from_camera),
                "camera": cameras.index(camera),
                "size": list(frame.depth_size),
                "codec": frame.depth_codec,
                "unit": frame.depth_unit_m,
                "void": frame.depth_void,
            }
        )
    return {
        "format": FORMAT,
        "scene_id": scene.scene_id,
        "root": root_to_json(root, folder),
        "world_from_scan": _flat(scene.world_from_scan),
        "depth_intrinsics": cameras,
        "frames": frames,
        "instances": [[i.object_id, i.label, list(i.box)] for i in scene.instances],
        "proposals": [[float(value) for value in box] for box in scene.proposals],
        "omissions": [[o.what, o.reason] for o in scene.omissions],
        "notes": list(scene.notes),
    }


def scene_from_json(value: dict[str, Any], folder: Path, where: Path) -> Scene:
    """The inverse of `scene_to_json`; DataError if the record is not one of this format."""
    if value.get("format") != FORMAT:
        raise DataError(
            f"scene record of format {value.get('format')!r}, expected {FORMAT}", where=where, remedy=_REMEDY
        )
    try:
        root = _root_from_json(value["root"], folder)
        cameras = [_matrix(camera) for camera in value["depth_intrinsics"]]
        frames = tuple(
            Frame(
                name=frame["name"],
                color=_blob_from_json(frame["color"], root),
                depth=_blob_from_json(frame["depth"], root),
                scan_from_camera=_matrix(frame["pose"]),
                depth_intrinsics=cameras[frame["camera"]],
                depth_size=(frame["size"][0], frame["size"][1]),
                depth_codec=frame["codec"],
                depth_unit_m=frame["unit"],
                depth_void=frame["void"],
            )
            for frame in value["frames"]
        )
        return Scene(
            scene_id=value["scene_id"],
            frames=frames,
            world_from_scan=_matrix(value["world_from_scan"]),
            instances=tuple(Instance(number, label, tuple(box)) for number, label, box in value["instances"]),
            proposals=np.array(value["proposals"], np.float32).reshape(-1, 6),
            omissions=tuple(Omission(what, reason) for what, reason in value["omissions"]),
            notes=tuple(value["notes"]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"broken scene record: {error!r}", where=where, remedy=_REMEDY) from error


def root_to_json(root: Path, folder: Path) -> list[str] | None:
    """Below what a scene's frames are named: None for the data folder itself, which may be moved alone; else the full
    path and that from the data folder, because both may be moved together."""
    if root == folder:
        return None
    return [root.as_posix(), Path(os.path.relpath(root, folder)).as_posix()]


def _root_from_json(value: list[str] | None, folder: Path) -> Path:
    if value is None:
        return folder
    for path in value:
        check_path(path)
    absolute, relative = Path(value[0]), (folder / value[1]).resolve()
    return relative if not absolute.is_dir() and relative.is_dir() else absolute


def question_to_json(question: Question) -> dict[str, Any]:
    return {
        "task": question.task,
        "item_id": question.item_id,
        "scene_id": question.scene_id,
        "prompt": question.prompt,
        "answer": question.answer,
        "coords": [list(point) for point in question.coords],
        "targets": None if question.targets is None else list(question.targets),
        "metadata": dict(question.metadata),
    }


def question_from_json(value: dict[str, Any]) -> Question:
    return Question(
        task=value["task"],
        item_id=value["item_id"],
        scene_id=value["scene_id"],
        prompt=value["prompt"],
        answer=value["answer"],
        coords=tuple((x, y, z) for x, y, z in value["coords"]),
        targets=None if value["targets"] is None else tuple(value["targets"]),
        metadata=value["metadata"],
        grounding=value["targets"] is not None,  # whatever the text of an answer is
    )


def selection_to_json(selection: Selection) -> dict[str, Any]:
    return {"order": list(selection.order), "gains": list(selection.gains), "visible": selection.visible}


def selection_from_json(value: dict[str, Any]) -> Selection:
    """The inverse of `selection_to_json`; KeyError, TypeError or ValueError if it is none."""
    selection = Selection(tuple(value["order"]), tuple(value["gains"]), value["visible"])
    if not all(isinstance(number, int) for number in (*selection.order, *selection.gains, selection.visible)):
        raise ValueError("not all of it are integers")
    return selection


def read_record(path: Path, kind: type = dict) -> Any:
    """The JSON of one of the folder's own files."""
    return read_json(path, kind, _REMEDY)


def record_if_sound(path: Path) -> dict[str, Any] | None:
    """As `read_record`; None where there is no file, or a damaged one: it is made again."""
    if not path.is_file():
        return None
    try:
        return read_record(path)
    except DataError:
        return None


def _flat(matrix: np.ndarray) -> list[float]:
    return [float(value) for value in np.asarray(matrix, np.float64).ravel()]


def _matrix(values: list[float]) -> np.ndarray:
    return np.array(values, np.float64).reshape(4, 4)


def _blob_to_json(blob: Blob, root: Path) -> list[Any]:
    path = blob.path
    if path.is_relative_to(root):
        path = path.relative_to(root)
    return [path.as_posix(), blob.offset, blob.size]


def _blob_from_json(value: list[Any], root: Path) -> Blob:
    path, offset, size = value
    check_path(path)
    if not isinstance(offset, int) or offset < 0 or not (size is None or isinstance(size, int) and size >= 0):
        raise ValueError(f"bytes {size!r:.20} from {offset!r:.20}")
    return Blob(root / path, offset, size)


def check_path(text: Any) -> None:
    """ValueError unless `text` can be the name of a file."""
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"path {text!r:.40}")
    text.encode("utf-8")  # UnicodeEncodeError is a ValueError
