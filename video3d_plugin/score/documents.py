"""Ground truth for offline scoring: from a prepared data folder, or from the official files alone.

ScanRefer, Multi3DRefer and Scan2Cap need boxes, which their annotation files do not hold. They come from, in this
order: the items themselves (`bbox` or `gt_box`, as in ScanRefer_filtered_*_gt_bbox.json), then a file of boxes:

    {scene_id: {object_id: box}}  or  {"scannet/<scene_id>": [box of object 0, box of object 1, ...]}

where a box is (6,) or eight corners. The second form is scannet_*_gt_box.json of LaVi-Lab/Video-3D-LLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.schema import Number, Table, Text, check, fault, shown
from video3d_plugin.metrics.boxes import LARGEST_M, as_box
from video3d_plugin.metrics.scanrefer_groups import Labels

_PLACE = Number(-LARGEST_M, LARGEST_M)
BOX_OR_CORNERS = ([_PLACE] * 6, [[_PLACE] * 3] * 8)
NEED_BOXES = ("scanrefer", "multi3drefer", "scan2cap")


class _AnyScene(Mapping):
    """Scenes by id; one that is not known is there and empty, so that its questions are read all the same."""

    def __init__(self, scenes: dict[str, Any], empty: Any) -> None:
        self._scenes, self._empty = scenes, empty

    def __getitem__(self, scene_id: str) -> Any:
        return self._scenes.get(scene_id, self._empty)

    def __contains__(self, scene_id: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._scenes)

    def __len__(self) -> int:
        return len(self._scenes)


def docs_of_folder(task: str, data: Path, split: str) -> list[dict]:
    """The evaluation documents of a folder made by `video3d prepare`."""
    from video3d_plugin.data.folder import DataFolder

    return DataFolder.open(data).docs(task, split)


def docs_of_files(
    task: str,
    annotations: Sequence[Path],
    boxes: Path | None = None,
    proposals: Path | None = None,
    labels: Path | None = None,
    split: str = "val",
) -> tuple[list[dict], dict[str, int]]:
    """Documents of the official files, and how many items were left out, by reason.

    proposals: for Scan2Cap, boxes by scene from which the oracle chooses one for an object whose prediction has none.
    """
    from video3d_plugin.data.annotations import BENCHMARKS, Context, SceneBoxes

    for path in annotations:
        if not path.is_file():
            raise MissingError("no such annotation file", where=path)
    benchmark = BENCHMARKS[task]
    expected = max(len(names) for names in benchmark.file_names.values())
    if len(annotations) != expected:
        names = ", ".join(next(iter(benchmark.file_names.values())))
        raise DataError(
            f"{task} needs {expected} annotation file(s), {len(annotations)} given", remedy=f"such as {names}"
        )
    items = benchmark.load(annotations)
    known = _boxes_of_items(items)
    for scene, of_scene in (read_boxes(boxes) if boxes else {}).items():
        known[scene] = {**of_scene, **known.get(scene, {})}
    if task in NEED_BOXES and items and not known:
        raise MissingError(
            f"{task}'s annotation file holds no boxes",
            where=annotations[0],
            remedy="give --boxes FILE, or --data DATA made by `video3d prepare`",
        )
    chosen = {s: np.array(list(b.values())) for s, b in (read_boxes(proposals) if proposals else {}).items()}
    nothing = np.zeros((0, 6))
    scenes = {s: SceneBoxes(known.get(s, {}), chosen.get(s, nothing)) for s in {*known, *chosen}}
    context = Context(_AnyScene(scenes, SceneBoxes({}, nothing)), Labels.read(labels) if labels else None)
    docs = benchmark.docs(items, split, context)
    left_out: dict[str, int] = {}
    for (reason, _), count in context.skipped.items():
        left_out[reason] = left_out.get(reason, 0) + count
    return docs, left_out


def _boxes_of_items(items: Sequence[Mapping]) -> dict[str, dict[int, tuple[float, ...]]]:
    known: dict[str, dict[int, tuple[float, ...]]] = {}
    for item in items:
        box = item.get("gt_box", item.get("bbox"))
        if box is not None and "object_number" in item:
            known.setdefault(item["scene_id"], {})[item["object_number"]] = _box(box, item["scene_id"])
    return known


def _box(box: Any, where: object) -> tuple[float, ...]:
    if found := fault(box, (*BOX_OR_CORNERS, [BOX_OR_CORNERS[0]])):
        raise DataError(f"{where}: box{' '.join(found)}")
    return tuple(as_box(box, f"{where}: box").tolist())


def read_boxes(path: Path) -> dict[str, dict[int, tuple[float, ...]]]:
    """{scene_id: {object_id: (6,) box}} of a file of boxes; an object without a box (null) is not in it."""
    from video3d_plugin.files.json import read_json

    remedy = "expected {scene_id: {object_id: box}}"
    content = read_json(path, dict, remedy)
    check(content, Table((Table((BOX_OR_CORNERS, None)), [(BOX_OR_CORNERS, None)]), name=Text(512)), path, remedy)
    known: dict[str, dict[int, tuple[float, ...]]] = {}
    for scene, boxes in content.items():
        pairs = boxes.items() if isinstance(boxes, dict) else enumerate(boxes)
        name = scene.rsplit("/", 1)[-1]
        known[name] = {
            _object_id(i, path, scene): _box(box, f"{path}, {shown(scene)}, object {shown(i)}")
            for i, box in pairs
            if box is not None
        }
    return known


def _object_id(text: str | int, path: Path, scene: str) -> int:
    """The number of an object, which JSON writes as text; 01 and 1 are not the same entry."""
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) < 10 and str(int(text)) == text):
        raise DataError(f"{shown(scene)} has an object {shown(text)}", where=path, remedy="expected a number, like 12")
    return int(text)
