"""Shared by the readers of annotation files: checked items, boxes by object id, and counts of omitted items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import check, fits, shown
from video3d_plugin.scene import Scene
from video3d_plugin.tasks.kinds import ANNOTATION
from video3d_plugin.tasks.object_classes import Labels

Item = dict[str, Any]
Doc = dict[str, Any]
Box = tuple[float, ...]
THRESHOLD = 0.5  # of the reference's process_scan2cap.py
UNKNOWN = "unknown"  # group of an item for which the annotation file has none
_REMEDY = "expected the benchmark's official file"


@dataclass(frozen=True)
class SceneBoxes:
    """The boxes of a scene, in the world frame, in metres.

    Attributes:
        boxes: (6,) boxes of the annotated objects by id.
        proposals: (N, 6) predicted boxes.
    """

    boxes: Mapping[int, Box]
    proposals: np.ndarray

    @classmethod
    def of(cls, scene: Scene) -> SceneBoxes:
        """Return the boxes of a scene."""
        return cls({instance.object_id: instance.box for instance in scene.instances}, scene.proposals)


@dataclass
class Context:
    """What is needed to make documents and questions of annotations.

    Attributes:
        scenes: Boxes of the available scenes.
        labels: ScanNet's label table; None if it is not available.
        threshold: Smallest IoU with an object at which a proposal stands for it (Scan2Cap).
        skipped: Number of omitted items by reason and by the scene or object. They are counted and not listed, since
            official files have tens of thousands.
    """

    scenes: Mapping[str, SceneBoxes]
    labels: Labels | None = None
    threshold: float = THRESHOLD
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def skip(self, reason: str, concerns: str) -> None:
        """Count an omitted item.

        Args:
            reason: Why it is omitted.
            concerns: The scene or object.
        """
        self.skipped[reason, concerns] += 1

    def has_scene(self, scene_id: str) -> bool:
        """Return whether a scene is available; if not, count an omitted item."""
        if scene_id in self.scenes:
            return True
        self.skip("scene is not among the prepared ones", scene_id)
        return False

    def boxes_of(self, scene_id: str, object_ids: Iterable[int]) -> list[Box] | None:
        """Return the boxes of objects. If one has none, count an omitted item and return None.

        Args:
            scene_id: An available scene.
            object_ids: Ids of its objects.
        """
        boxes = self.scenes[scene_id].boxes
        ids = list(object_ids)
        for object_id in ids:
            if object_id not in boxes:
                self.skip("object has no annotated box", f"{scene_id} object {object_id}")
                return None
        return [boxes[object_id] for object_id in ids]

    def boxes_if_there(self, scene_id: str, object_ids: Iterable[int]) -> list[Box] | None:
        """Like `boxes_of`, for a scene that may not be available: then count an omitted item and return None."""
        return self.boxes_of(scene_id, object_ids) if self.has_scene(scene_id) else None


def read_items(path: Path, fields: Mapping[str, Any], key: str | None = None) -> list[Item]:
    """Read the items of an annotation file.

    Args:
        path: A JSON list, or with `key` a JSON object that holds the list.
        fields: Required fields, by name: a type or a tuple of types.
        key: Name of the list in the object.

    Raises:
        DataError: The file is not such a list, or an item is not valid; the message names the first such item.
    """
    content = read_json(path, list if key is None else dict, _REMEDY)
    items = content if key is None else content.get(key)
    if not isinstance(items, list):
        raise DataError(f"no list of {key}", where=path, remedy=_REMEDY)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise DataError(f"item {index} is a {type(item).__name__}", where=path, remedy=_REMEDY)
        for name, kind in fields.items():
            if name not in item:
                raise DataError(f"item {index} has no {name!r}", where=path, remedy=_REMEDY)
            if not isinstance(item[name], kind) or isinstance(item[name], bool) != (kind is bool):
                raise DataError(f"item {index} has {name} = {shown(item[name])}", where=path, remedy=_REMEDY)
        check(item, ANNOTATION, path, _REMEDY, at=f"item {index}: ")
    return items


def check_lists(items: list[Item], name: str, kind: type, path: Path) -> None:
    """Check that a field of all items is a list of one type, or absent.

    Args:
        items: Items of an annotation file.
        name: The field.
        kind: Type of the list's elements.
        path: The file, for the error message.

    Raises:
        DataError: The field of an item is something else.
    """
    for index, item in enumerate(items):
        values = item.get(name, [])
        if not fits(values, [kind]):
            raise DataError(f"item {index} has {name} = {shown(values)}", where=path, remedy=_REMEDY)


def object_number(text: Any, path: Path, index: int) -> int:
    """Convert ScanNet's object id to a number. Annotation files write "5" or 5.

    Args:
        text: The id.
        path: The file, for the error message.
        index: The item, for the error message.

    Raises:
        DataError: It is not an object id.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise DataError(f"item {index} has object id {shown(text)}", where=path, remedy=_REMEDY)
