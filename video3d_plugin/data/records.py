"""Scenes and questions as JSON, as a data folder stores them. Floats survive the round trip bit by bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data import schemas
from video3d_plugin.errors import DataError
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import check, fits, shown
from video3d_plugin.geometry.camera_checks import check_boxes, check_intrinsics, is_rigid, pose_fault, world_pose_fault
from video3d_plugin.notes import Note, kind_of
from video3d_plugin.scene import Confidence, DepthCamera, FileSlice, Frame, Instance, Omission, Question, Scene

HEAD = "video3d.json"  # the file that makes a folder a data folder
FORMAT = 2  # of every file of the folder but the store's and the selections; 1: frames without `void`
_REMEDY = "run `video3d prepare` again"


def scene_to_json(scene: Scene, root: Path, folder: Path) -> dict[str, Any]:
    """Convert a scene to a JSON value.

    Args:
        scene: The scene.
        root: Folder with the frames' files; those below it are named relative to it, others by their full path.
        folder: The data folder.
    """
    cameras: list[list[float]] = []
    frames = []
    for frame in scene.frames:
        camera = _flat(frame.depth_intrinsics)
        if camera not in cameras:
            cameras.append(camera)
        frames.append(
            {
                "name": frame.name,
                "color": _slice_to_json(frame.color, root),
                "depth": _slice_to_json(frame.depth, root),
                "pose": _flat(frame.scan_from_camera),
                "camera": cameras.index(camera),
                "size": list(frame.depth_size),
                "codec": frame.depth_codec,
                "unit": frame.depth_unit_m,
                "void": frame.depth_void,
                **_depth_parts_to_json(frame, root),
                **({"turns": frame.quarter_turns} if frame.quarter_turns else {}),
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
        **_details_to_json(scene),
        "omissions": [[o.what, o.reason] for o in scene.omissions],
        "notes": list(scene.notes),
        "note_kinds": [kind_of(note) for note in scene.notes],
    }


def _details_to_json(scene: Scene) -> dict[str, Any]:
    """Return what is known about the proposals besides their boxes; records of Mask3D's have no such fields."""
    details = {
        "proposal_scores": [float(score) for score in scene.proposal_scores],
        "proposal_labels": list(scene.proposal_labels),
        "proposal_views": [list(names) for names in scene.proposal_views],
    }
    return {name: values for name, values in details.items() if values}


def scene_from_json(value: dict[str, Any], folder: Path, where: Path) -> Scene:
    """Convert a JSON value back to a scene.

    Args:
        value: What `scene_to_json` returned.
        folder: The data folder, as it lies now.
        where: The file, for errors.

    Raises:
        DataError: The value is damaged or of another format.
    """
    if value.get("format") != FORMAT:
        raise DataError(
            f"scene record of format {shown(value.get('format'))}, expected {FORMAT}", where=where, remedy=_REMEDY
        )
    check(value, schemas.SCENE, where, _REMEDY)
    root = _root_from_json(value["root"], folder)
    cameras = [check_intrinsics(_matrix(camera), where) for camera in value["depth_intrinsics"]]
    world_from_scan = _matrix(value["world_from_scan"])
    frames = tuple(_frame_from_json(frame, cameras, root, where) for frame in value["frames"])
    if not frames or len({frame.name for frame in frames}) < len(frames) or not is_rigid(world_from_scan):
        what = "no frame" if not frames else "two frames of one name, or an alignment that is no rotation"
        raise DataError(f"broken scene record: {what}", where=where, remedy=_REMEDY)
    for frame in frames:
        if fault := world_pose_fault(world_from_scan @ frame.scan_from_camera):
            raise DataError(f"broken scene record: frame {frame.name}: {fault}", where=where, remedy=_REMEDY)
    boxes = [*value["proposals"], *(box for _, _, box in value["instances"])]
    check_boxes(np.array(boxes, np.float64).reshape(-1, 6), where, "a box")
    scores, labels, views = (value.get(f"proposal_{name}", []) for name in ("scores", "labels", "views"))
    if any(len(details) not in (0, len(value["proposals"])) for details in (scores, labels, views)):
        what = "broken scene record: not one score, label and list of frames for each proposal"
        raise DataError(what, where=where, remedy=_REMEDY)
    kinds = value.get("note_kinds", ["information"] * len(value["notes"]))
    if len(kinds) != len(value["notes"]):
        raise DataError("broken scene record: not one kind for each note", where=where, remedy=_REMEDY)
    return Scene(
        scene_id=value["scene_id"],
        frames=frames,
        world_from_scan=world_from_scan,
        instances=tuple(Instance(number, label, tuple(box)) for number, label, box in value["instances"]),
        proposals=np.array(value["proposals"], np.float32).reshape(-1, 6),
        omissions=tuple(Omission(what, reason) for what, reason in value["omissions"]),
        notes=tuple(map(Note, value["notes"], kinds)),
        proposal_scores=np.array(scores, np.float32),
        proposal_labels=tuple(labels),
        proposal_views=tuple(map(tuple, views)),
    )


def _frame_from_json(frame: dict[str, Any], cameras: list[np.ndarray], root: Path, where: Path) -> Frame:
    pose = _matrix(frame["pose"])
    fault = pose_fault(pose)
    if fault is None and frame["camera"] >= len(cameras):
        fault = f"camera {frame['camera']} of {len(cameras)}"
    if fault is not None:
        raise DataError(f"broken scene record: frame {frame['name']}: {fault}", where=where, remedy=_REMEDY)
    return Frame(
        name=frame["name"],
        color=_slice_from_json(frame["color"], root),
        depth=_slice_from_json(frame["depth"], root),
        scan_from_camera=pose,
        depth_intrinsics=cameras[frame["camera"]],
        depth_size=(frame["size"][0], frame["size"][1]),
        depth_codec=frame["codec"],
        depth_unit_m=frame["unit"],
        depth_void=frame["void"],
        depth_camera=_depth_camera_from_json(frame.get("depth_camera"), where),
        confidence=_confidence_from_json(frame.get("confidence"), root),
        quarter_turns=frame.get("turns", 0),
    )


def _depth_parts_to_json(frame: Frame, root: Path) -> dict[str, Any]:
    """Return what only some frames have: a depth camera of their own, confidence."""
    parts: dict[str, Any] = {}
    if frame.depth_camera is not None:
        camera = frame.depth_camera
        matrices = {"intrinsics": _flat(camera.intrinsics), "color_from_depth": _flat(camera.color_from_depth)}
        parts["depth_camera"] = {**matrices, "size": list(camera.size)}
    if frame.confidence is not None:
        image = _slice_to_json(frame.confidence.image, root)
        parts["confidence"] = {"image": image, "codec": frame.confidence.codec, "least": frame.confidence.least}
    return parts


def _depth_camera_from_json(value: dict[str, Any] | None, where: Path) -> DepthCamera | None:
    if value is None:
        return None
    color_from_depth = _matrix(value["color_from_depth"])
    if not is_rigid(color_from_depth):
        what = "broken scene record: color_from_depth is not a rotation and a translation"
        raise DataError(what, where=where, remedy=_REMEDY)
    intrinsics = check_intrinsics(_matrix(value["intrinsics"]), where)
    return DepthCamera(intrinsics, (value["size"][0], value["size"][1]), color_from_depth)


def _confidence_from_json(value: dict[str, Any] | None, root: Path) -> Confidence | None:
    if value is None:
        return None
    return Confidence(_slice_from_json(value["image"], root), value["codec"], value["least"])


def root_to_json(root: Path, folder: Path) -> list[str] | None:
    """Return how a record names the folder with a scene's frames.

    None for the data folder itself, which may be moved alone. Otherwise the full path and the path relative to the data
    folder, because both may be moved together.
    """
    if root == folder:
        return None
    return [root.as_posix(), Path(os.path.relpath(root, folder)).as_posix()]


def _root_from_json(value: list[str] | None, folder: Path) -> Path:
    if value is None:
        return folder
    absolute, relative = Path(value[0]), (folder / value[1]).resolve()
    return relative if not absolute.is_dir() and relative.is_dir() else absolute


def question_to_json(question: Question) -> dict[str, Any]:
    """Convert a question to a JSON value."""
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
    """Convert a JSON value of schema QUESTION back to a question."""
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


def read_record(path: Path, kind: type = dict) -> Any:
    """Read a JSON file of the data folder whose top level is a `kind`; raises MissingError or DataError."""
    return read_json(path, kind, _REMEDY)


def try_read_record(path: Path, kind: Any = dict) -> dict[str, Any] | None:
    """Read a JSON file of the data folder; None if it does not exist, is damaged or is not of the schema `kind`."""
    if not path.is_file():
        return None
    try:
        record = read_record(path)
    except DataError:
        return None
    return record if fits(record, kind) else None


def _flat(matrix: np.ndarray) -> list[float]:
    return [float(value) for value in np.asarray(matrix, np.float64).ravel()]


def _matrix(values: list[float]) -> np.ndarray:
    return np.array(values, np.float64).reshape(4, 4)


def _slice_to_json(source: FileSlice, root: Path) -> list[Any]:
    path = source.path
    if path.is_relative_to(root):
        path = path.relative_to(root)
    return [path.as_posix(), source.offset, source.size]


def _slice_from_json(value: list[Any], root: Path) -> FileSlice:
    path, offset, size = value
    return FileSlice(root / path, offset, size)
