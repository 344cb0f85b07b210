"""What benchmark questions are about: object ids and viewpoints, read from the annotations in the data folder.

The curriculum needs more of an annotation than a training question holds. A data folder keeps the annotation of every
training question as an evaluation doc of the train split, and the question's item id names it.

Metadata that `annotated_questions` adds to questions:

    object_ids  ids of the objects that a question of ScanQA or Scan2Cap is about
    situation   the text of the situation in a question of SQA3D
    viewpoint   where the asker stands and a point one metre ahead (world, metres); () if the annotation has no pose
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import atan2, cos, sin
from typing import TYPE_CHECKING, Any

from video3d_plugin.scene import Question
from video3d_plugin.training.dataset import training_questions

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder

Doc = dict[str, Any]


def annotated_questions(folder: DataFolder, tasks: Sequence[str]) -> list[Question]:
    """Return the training questions of a data folder, with the metadata that the curriculum uses.

    Args:
        folder: A prepared data folder.
        tasks: Names of the benchmarks.

    Returns:
        The questions in the order of `tasks`; see the module for their metadata.
    """
    return [
        question
        for task in tasks
        for question in _ANNOTATE.get(task, _unchanged)(folder, training_questions(folder, [task]))
    ]


def _unchanged(folder: DataFolder, questions: list[Question]) -> list[Question]:
    return questions


def _scan2cap(folder: DataFolder, questions: list[Question]) -> list[Question]:
    """The item id is "scene|object|description"."""
    return [replace(q, metadata={"object_ids": [int(q.item_id.rsplit("|", 2)[1])]}) for q in questions]


def _scanqa(folder: DataFolder, questions: list[Question]) -> list[Question]:
    return _with_docs(folder, "scanqa", questions, lambda doc, number: {"object_ids": list(doc["object_ids"])})


def _sqa3d(folder: DataFolder, questions: list[Question]) -> list[Question]:
    def metadata(doc: Doc, number: int) -> dict[str, Any]:
        situation = [*doc["alternative_situation"], doc["situation"]][number]
        return {"situation": situation, "viewpoint": viewpoint(doc["position"], doc["rotation"])}

    return _with_docs(folder, "sqa3d", questions, metadata)


def _with_docs(
    folder: DataFolder, task: str, questions: Iterable[Question], metadata: Callable[[Doc, int], dict[str, Any]]
) -> list[Question]:
    """Set the metadata of questions whose item id is "<id of the doc>_<number>"; a question without a doc keeps its."""
    by_id = {str(doc["item_id"]): doc for doc in folder.docs(task, "train")}
    result = []
    for question in questions:
        name, _, number = question.item_id.rpartition("_")
        doc = by_id.get(name)
        result.append(question if doc is None else replace(question, metadata=metadata(doc, int(number))))
    return result


_ANNOTATE = {"scan2cap": _scan2cap, "scanqa": _scanqa, "sqa3d": _sqa3d}


def viewpoint(position: Sequence[float], rotation: Sequence[float]) -> tuple[tuple[float, float, float], ...]:
    """Return where the asker of an SQA3D question stands, and a point one metre ahead.

    Args:
        position: (3,) world, metres; empty if not annotated.
        rotation: (4,) quaternion x, y, z, w, of which the turn about z counts; empty if not annotated. The identity
            faces +y.

    Returns:
        The two points, or () without a pose.
    """
    if not position or not rotation:
        return ()
    x, y, z = position
    yaw = 2 * atan2(rotation[2], rotation[3])
    return (x, y, z), (x - sin(yaw), y + cos(yaw), z)
