"""Files with results, read for the viewer: samples of lmms-eval, `video3d ask --json`, or plain boxes.

samples     <date>_samples_<task>.jsonl of `lmms-eval --log_samples`, or a folder with such files (the newest a task)
ask         what `video3d ask --json` printed
boxes       [[cx, cy, cz, dx, dy, dz], ...], or {"<scene id>": [...]} with boxes by scene; world frame, metres
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import Number, OneOf, Text, check, fits
from video3d_plugin.metrics.boxes import LARGEST_M
from video3d_plugin.metrics.records import RECORD, read_records
from video3d_plugin.view.items import Item, item_of_asked, item_of_boxes, item_of_record

_HOW = "give a samples file or folder of lmms-eval --log_samples, the output of video3d ask --json, or boxes as JSON"
ASK_FORMAT = "video3d ask"
_TEXT = (Text(), int, None)
_POINT = [Number(-LARGEST_M, LARGEST_M)] * 3
_BOX = _POINT * 2
# An item of what `video3d ask --json` printed.
_ASKED: dict[str, Any] = {
    "task": Text(512),
    "question": Text(),
    **dict.fromkeys(("id?", "answer?", "status?", "reason?", "measure?"), _TEXT),
    "expected?": ([Text()], None),
    "verdict?": (OneOf(("right", "wrong")), None),
    "score?": (Number(), None),
    "point?": (_POINT, _BOX, None),
    "truth?": ([_BOX], None),
    "predicted?": ([{"box": _BOX, "score?": (Number(), None), "confidence?": (Number(0, 1.001), None)}], None),
    "proposals?": ([_BOX], None),
    "scores?": ([(Number(), None)], None),
}
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, OverflowError)  # what a field of another kind raises


def read_items(path: Path, scene_id: str) -> list[Item]:
    """The items in `path` that are about this scene; DataError, saying which scenes there are, where none is."""
    if not path.exists():
        raise MissingError("no such file or folder", where=path, remedy=_HOW)
    if path.is_dir():
        files = _newest(path)
        if not files:
            raise MissingError("no *_samples_*.jsonl in it", where=path, remedy="run lmms-eval with --log_samples")
        return _of_scene([record for file in files for record in _records(file)], scene_id, path)
    if path.suffix == ".jsonl":
        return _of_scene(_records(path), scene_id, path)
    content = read_json(path, (dict, list), _HOW)
    if isinstance(content, dict) and content.get("format") == ASK_FORMAT:
        return _asked(content, scene_id, path)
    if isinstance(content, dict):
        rows = content.get(scene_id, content.get(f"scannet/{scene_id}"))
        if rows is None:
            few = ", ".join(name[:80] for name in list(content)[:5])
            raise DataError(f"no boxes of {scene_id}", where=path, remedy=f"it has: {few}; {_HOW}")
        content = rows
    return [item_of_boxes(_plain_boxes(content, path), path.name)]


def _records(path: Path) -> list[dict[str, Any]]:
    records = list(read_records(path))
    if not records:
        raise DataError("no sample of this package's tasks in it", where=path, remedy=_HOW)
    return records


def _newest(folder: Path) -> list[Path]:
    """The newest samples file of each task of each model: names begin with the date."""
    by_task = {(p.parent, p.name.split("_samples_", 1)[1]): p for p in sorted(folder.rglob("*_samples_*.jsonl"))}
    ours = [p for (_, name), p in by_task.items() if name.startswith(tuple(RECORD))]
    return sorted(ours)


def _of_scene(records: list[dict[str, Any]], scene_id: str, path: Path) -> list[Item]:
    items = []
    for record in records:
        if record.get("scene_id") != scene_id:
            continue
        try:
            items.append(item_of_record(record))
        except _BROKEN as error:
            what = f"the record of {record.get('task')} {str(record.get('id'))!r:.60} is not whole: {error!r:.80}"
            raise DataError(what, where=path, remedy="run lmms-eval again") from error
    if not items:
        scenes = Counter(str(record.get("scene_id")) for record in records)
        few = ", ".join(f"{name[:80]} ({count})" for name, count in sorted(scenes.items())[:5])
        raise DataError(f"no sample of scene {scene_id}", where=path, remedy=f"it has: {few}")
    return items


def _asked(content: Mapping[str, Any], scene_id: str, path: Path) -> list[Item]:
    items = content.get("items")
    if content.get("scene_id") != scene_id:
        raise DataError(f"is about {content.get('scene_id')!r:.60}, not {scene_id}", where=path)
    if not isinstance(items, list) or not items:
        raise DataError("holds no items", where=path, remedy="run video3d ask --json again")
    read = []
    for number, item in enumerate(items, 1):
        check(item, _ASKED, path, "run video3d ask --json again", at=f"item {number} is not whole: ")
        read.append(item_of_asked(item))
    return read


def _plain_boxes(rows: Any, path: Path) -> list[list[float]]:
    rows = [rows] if fits(rows, _BOX) else rows
    check(rows, [_BOX], path, _HOW, name="boxes")
    return [[float(value) for value in box] for box in rows]
