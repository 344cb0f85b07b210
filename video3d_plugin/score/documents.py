"""Ground truth for offline scoring, from a data folder or from official files.

Some benchmarks need boxes (`TaskSpec.needs_boxes`), which their annotation files do not hold. Boxes are taken from the
items (`bbox` or `gt_box`, as in ScanRefer_filtered_*_gt_bbox.json), else from a file of boxes:

    {scene_id: {object_id: box}}  or  {"scannet/<scene_id>": [box of object 0, box of object 1, ...]}

where a box is (6,) or eight corners. The second form is scannet_*_gt_box.json of LaVi-Lab/Video-3D-LLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.schema import Table, Text, check, fault, shown
from video3d_plugin.metrics.iou import as_box
from video3d_plugin.tasks import TaskSpec
from video3d_plugin.tasks.annotations import Context, SceneBoxes
from video3d_plugin.tasks.kinds import ANY_BOX, POINT
from video3d_plugin.tasks.object_classes import Labels
from video3d_plugin.tasks.scannet_tables import shipped_labels

BOX_OR_CORNERS = (ANY_BOX, [POINT] * 8)


class _AnyScene(Mapping):
    """Scenes by id. An unknown scene is present and empty, so that its questions are read nevertheless."""

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
    """Read the evaluation documents of a data folder.

    Args:
        task: Name of the benchmark.
        data: A folder made by `video3d prepare`.
        split: The split.
    """
    from video3d_plugin.data.folder import DataFolder

    return DataFolder.open(data).docs(task, split)


def docs_of_files(
    spec: TaskSpec,
    annotations: Sequence[Path],
    boxes: Path | None = None,
    proposals: Path | None = None,
    labels: Path | None = None,
    split: str = "val",
) -> tuple[list[dict], dict[str, int]]:
    """Make evaluation documents from the official files.

    Args:
        spec: The benchmark.
        annotations: Its official annotation files of one split.
        boxes: A file of boxes of the annotated objects (see the module).
        proposals: A file of boxes; for an object to describe, the one of largest IoU is its given box.
        labels: ScanNet's scannetv2-labels.combined.tsv; None: that of the package.
        split: The split.

    Returns:
        The documents, and the number of items left out by reason.

    Raises:
        MissingError: A file is missing.
        DataError: A file is damaged.
    """
    for path in annotations:
        if not path.is_file():
            raise MissingError("no such annotation file", where=path)
    expected = max(len(names) for names in spec.files.values())
    if len(annotations) != expected:
        names = ", ".join(next(iter(spec.files.values())))
        raise DataError(
            f"{spec.name} needs {expected} annotation file(s), {len(annotations)} given", remedy=f"such as {names}"
        )
    items = spec.read(annotations)
    boxes_by_scene = _boxes_of_items(items)
    for scene, of_scene in (read_boxes(boxes) if boxes else {}).items():
        boxes_by_scene[scene] = {**of_scene, **boxes_by_scene.get(scene, {})}
    if spec.needs_boxes and items and not boxes_by_scene:
        raise MissingError(
            f"{spec.name}'s annotation file holds no boxes",
            where=annotations[0],
            remedy="give --boxes FILE, or --data DATA made by `video3d prepare`",
        )
    proposals_by_scene = {
        scene: np.array(list(of_scene.values()))
        for scene, of_scene in (read_boxes(proposals) if proposals else {}).items()
    }
    no_boxes = np.zeros((0, 6))
    scenes = {
        scene: SceneBoxes(boxes_by_scene.get(scene, {}), proposals_by_scene.get(scene, no_boxes))
        for scene in {*boxes_by_scene, *proposals_by_scene}
    }
    context = Context(_AnyScene(scenes, SceneBoxes({}, no_boxes)), Labels.read(labels) if labels else shipped_labels())
    docs = spec.docs(items, split, context)
    left_out: dict[str, int] = {}
    for (reason, _), count in context.skipped.items():
        left_out[reason] = left_out.get(reason, 0) + count
    return docs, left_out


def _boxes_of_items(items: Sequence[Mapping]) -> dict[str, dict[int, tuple[float, ...]]]:
    result: dict[str, dict[int, tuple[float, ...]]] = {}
    for item in items:
        box = item.get("gt_box", item.get("bbox"))
        if box is not None and "object_number" in item:
            result.setdefault(item["scene_id"], {})[item["object_number"]] = _box(box, item["scene_id"])
    return result


def _box(box: Any, where: object) -> tuple[float, ...]:
    if problem := fault(box, (*BOX_OR_CORNERS, [BOX_OR_CORNERS[0]])):
        raise DataError(f"{where}: box{' '.join(problem)}")
    return tuple(as_box(box, f"{where}: box").tolist())


def read_boxes(path: Path) -> dict[str, dict[int, tuple[float, ...]]]:
    """Read a file of boxes.

    Args:
        path: The file, in one of the forms of the module.

    Returns:
        {scene_id: {object_id: (6,) box}}; objects without a box (null) are left out.

    Raises:
        DataError: The file has another form, or a box is not valid; the message names it.
    """
    from video3d_plugin.files.json import read_json

    remedy = "expected {scene_id: {object_id: box}}"
    content = read_json(path, dict, remedy)
    check(content, Table((Table((BOX_OR_CORNERS, None)), [(BOX_OR_CORNERS, None)]), name=Text(512)), path, remedy)
    result: dict[str, dict[int, tuple[float, ...]]] = {}
    for scene, boxes in content.items():
        pairs = boxes.items() if isinstance(boxes, dict) else enumerate(boxes)
        name = scene.rsplit("/", 1)[-1]
        result[name] = {
            _object_id(i, path, scene): _box(box, f"{path}, {shown(scene)}, object {shown(i)}")
            for i, box in pairs
            if box is not None
        }
    return result


def _object_id(text: str | int, path: Path, scene: str) -> int:
    """The id of an object as a number. JSON keys are text; 01 is refused, since it is not the entry 1."""
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) < 10 and str(int(text)) == text):
        raise DataError(f"{shown(scene)} has an object {shown(text)}", where=path, remedy="expected a number, like 12")
    return int(text)
