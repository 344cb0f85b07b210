"""Reads result files for the viewer.

samples     <date>_samples_<task>.jsonl of `lmms-eval --log_samples`, or a folder of such files, of which the newest
            for each task is read
ask         output of `video3d ask --json`
boxes       [[cx, cy, cz, dx, dy, dz], ...], or {"<scene id>": [...]}; world frame, metres
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import Number, OneOf, Text, check, fits
from video3d_plugin.tasks import of_host_name
from video3d_plugin.tasks.kinds import ANY_BOX, POINT
from video3d_plugin.tasks.records import read_records
from video3d_plugin.view.items import Item, item_of_asked, item_of_boxes, item_of_record

_REMEDY = "give a samples file or folder of lmms-eval --log_samples, the output of video3d ask --json, or boxes as JSON"
ASK_FORMAT = "video3d ask"
_TEXT = (Text(), int, None)
# Fields of an item of `video3d ask --json`.
_ASK_ITEM: dict[str, Any] = {
    "task": Text(512),
    "question": Text(),
    **dict.fromkeys(("id?", "answer?", "status?", "reason?", "measure?"), _TEXT),
    "expected?": ([Text()], None),
    "verdict?": (OneOf(("right", "wrong")), None),
    "score?": (Number(), None),
    "point?": (POINT, ANY_BOX, None),
    "truth?": ([ANY_BOX], None),
    "predicted?": ([{"box": ANY_BOX, "score?": (Number(), None), "confidence?": (Number(0, 1.001), None)}], None),
    "proposals?": ([ANY_BOX], None),
    "scores?": ([(Number(), None)], None),
}
_FIELD_ERRORS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)  # raised for fields of another type


def read_items(path: Path, scene_id: str) -> list[Item]:
    """Read the items about a scene.

    Args:
        path: A file or folder, see the module.
        scene_id: The scene.

    Raises:
        MissingError: There is no such file, or no samples in the folder.
        DataError: The file is damaged or holds nothing about the scene; the message lists the scenes in it.
    """
    if not path.exists():
        raise MissingError("no such file or folder", where=path, remedy=_REMEDY)
    if path.is_dir():
        files = _newest_samples(path)
        if not files:
            raise MissingError(
                "no *_samples_*.jsonl in the folder", where=path, remedy="run lmms-eval with --log_samples"
            )
        return _items_of_scene([record for file in files for record in _records(file)], scene_id, path)
    if path.suffix == ".jsonl":
        return _items_of_scene(_records(path), scene_id, path)
    content = read_json(path, (dict, list), _REMEDY)
    if isinstance(content, dict) and content.get("format") == ASK_FORMAT:
        return _ask_items(content, scene_id, path)
    if isinstance(content, dict):
        rows = content.get(scene_id, content.get(f"scannet/{scene_id}"))
        if rows is None:
            few = ", ".join(name[:80] for name in list(content)[:5])
            raise DataError(f"no boxes of {scene_id}", where=path, remedy=f"it has: {few}; {_REMEDY}")
        content = rows
    return [item_of_boxes(_plain_boxes(content, path), path.name)]


def _records(path: Path) -> list[dict[str, Any]]:
    records = list(read_records(path))
    if not records:
        raise DataError("no sample of this package's tasks", where=path, remedy=_REMEDY)
    return records


def _newest_samples(folder: Path) -> list[Path]:
    """The newest samples file of each task and model: their names begin with the date."""
    by_task = {(p.parent, p.name.split("_samples_", 1)[1]): p for p in sorted(folder.rglob("*_samples_*.jsonl"))}
    return sorted(p for (_, name), p in by_task.items() if of_host_name(name.removesuffix(".jsonl")) is not None)


def _items_of_scene(records: list[dict[str, Any]], scene_id: str, path: Path) -> list[Item]:
    items = []
    for record in records:
        if record.get("scene_id") != scene_id:
            continue
        try:
            items.append(item_of_record(record))
        except _FIELD_ERRORS as error:
            what = f"the record of {record.get('task')} {str(record.get('id'))!r:.60} is not complete: {error!r:.80}"
            raise DataError(what, where=path, remedy="run lmms-eval again") from error
    if not items:
        scenes = Counter(str(record.get("scene_id")) for record in records)
        few = ", ".join(f"{name[:80]} ({count})" for name, count in sorted(scenes.items())[:5])
        raise DataError(f"no sample of scene {scene_id}", where=path, remedy=f"it has: {few}")
    return items


def _ask_items(content: Mapping[str, Any], scene_id: str, path: Path) -> list[Item]:
    items = content.get("items")
    if content.get("scene_id") != scene_id:
        raise DataError(f"is about {content.get('scene_id')!r:.60}, not {scene_id}", where=path)
    if not isinstance(items, list) or not items:
        raise DataError("holds no items", where=path, remedy="run video3d ask --json again")
    result = []
    for number, item in enumerate(items, 1):
        check(item, _ASK_ITEM, path, "run video3d ask --json again", at=f"item {number} is not complete: ")
        result.append(item_of_asked(item))
    return result


def _plain_boxes(rows: Any, path: Path) -> list[list[float]]:
    rows = [rows] if fits(rows, ANY_BOX) else rows
    check(rows, [ANY_BOX], path, _REMEDY, name="boxes")
    return [[float(value) for value in box] for box in rows]
