"""What the five benchmarks' readers share: checked items, boxes by object id, counted omissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.data.schemas import ANNOTATION
from video3d_plugin.errors import DataError
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import check, fits, shown
from video3d_plugin.metrics.scanrefer_groups import Labels
from video3d_plugin.scene import Question, Scene

Doc = dict[str, Any]
Box = tuple[float, ...]
GROUND_ANSWER = "<ground>"
_REMEDY = "expected the benchmark's official file"


@dataclass(frozen=True)
class SceneBoxes:
    """What annotations need of a scene: boxes (6,) by object id, and proposals (N, 6); world frame, metres."""

    boxes: Mapping[int, Box]
    proposals: np.ndarray

    @classmethod
    def of(cls, scene: Scene) -> SceneBoxes:
        return cls({instance.object_id: instance.box for instance in scene.instances}, scene.proposals)


@dataclass
class Context:
    """The scenes there are, ScanNet's label table (None: not there), and what had to be left out so far.

    An item left out is counted by reason and by what it concerns, not listed: real files hold tens of thousands.
    """

    scenes: Mapping[str, SceneBoxes]
    labels: Labels | None = None
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def skip(self, reason: str, concerns: str) -> None:
        self.skipped[reason, concerns] += 1

    def has_scene(self, scene_id: str) -> bool:
        """Whether the scene is there; counts the item as left out if not."""
        if scene_id in self.scenes:
            return True
        self.skip("scene is not among the prepared ones", scene_id)
        return False

    def boxes_of(self, scene_id: str, object_ids: Iterable[int]) -> list[Box] | None:
        """The boxes of the objects; None, and counted, if one of them has none."""
        known = self.scenes[scene_id].boxes
        ids = list(object_ids)
        for object_id in ids:
            if object_id not in known:
                self.skip("object has no annotated box", f"{scene_id} object {object_id}")
                return None
        return [known[object_id] for object_id in ids]


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is read.

    file_names   split -> names of the files it needs, as officially published
    load         (paths) -> items
    docs         (items, split, context) -> evaluation docs
    questions    (items, split, context) -> training questions
    """

    task: str
    file_names: Mapping[str, tuple[str, ...]]
    load: Callable[[Sequence[Path]], list[Doc]]
    docs: Callable[[list[Doc], str, Context], list[Doc]]
    questions: Callable[[list[Doc], str, Context], list[Question]]


def load_items(path: Path, fields: Mapping[str, type | tuple[type, ...]], key: str | None = None) -> list[Doc]:
    """The list of items in a JSON file (under `key` if given), every one with the given fields of the given types."""
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


def check_lists(items: list[Doc], name: str, kind: type, path: Path) -> None:
    """DataError unless field `name` of every item is a list of the given kind (or absent)."""
    for index, item in enumerate(items):
        values = item.get(name, [])
        if not fits(values, [kind]):
            raise DataError(f"item {index} has {name} = {shown(values)}", where=path, remedy=_REMEDY)


def object_number(text: str | int, path: Path, index: int) -> int:
    """ScanNet's object id as a number; ScanRefer writes "5", Multi3DRefer 5."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise DataError(f"item {index} has object id {shown(text)}", where=path, remedy=_REMEDY)
