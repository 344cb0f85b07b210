"""Prediction files for the benchmarks' own servers, for splits whose answers are not public.

scanqa     [{"scene_id", "question_id", "answer_top10": [answer]}]                 (ATR-DBI/ScanQA 0a9f162, README)
scanrefer  [{"scene_id", "object_id", "ann_id", "bbox": 8x3 corners, "unique_multiple": 0|1, "others": 0|1}]
           (daveredrum/ScanRefer 9d74830, benchmark/predict.py)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes

log = logging.getLogger(__name__)


def writer(task: str, split: str) -> Callable[..., str]:
    """An aggregation for lmms-eval: writes the file and returns where it lies; unanswered questions are counted."""
    make = {"scanqa": _scanqa_item, "scanrefer": _scanrefer_item}.get(task)
    if make is None:
        raise DataError(f"{task} has no submission format", remedy="scanqa and scanrefer have one")

    def write(items: Sequence[dict], args: Any = None) -> str:
        ordered = sorted(items, key=lambda item: str(item["doc"]["item_id"]))
        unanswered = sum(isinstance(item["response"], dict) for item in ordered)
        path = Path(getattr(args, "output_path", None) or ".") / "submissions" / f"{task}_{split}.json"
        _write(path, [make(item["doc"], item["response"]) for item in ordered])
        if unanswered:
            log.warning("%s: %d of %d questions were left unanswered", path, unanswered, len(ordered))
        return str(path)

    return write


def _scanqa_item(doc: dict, response: Any) -> dict:
    answer = "" if isinstance(response, dict) else response
    return {"scene_id": doc["scene_id"], "question_id": doc["question_id"], "answer_top10": [answer]}


def _scanrefer_item(doc: dict, response: Any) -> dict:
    from video3d_plugin.metrics.task_base import unpack
    from video3d_plugin.metrics.task_grounding import predicted_box

    _, box = predicted_box(unpack(response))
    return {
        "scene_id": doc["scene_id"],
        "object_id": doc["object_id"],
        "ann_id": doc["ann_id"],
        "bbox": corners(box or [0.0] * 6),
        "unique_multiple": int(bool(doc["multiple"])),
        "others": int(bool(doc["others"])),
    }


def corners(box: Sequence[float]) -> list[list[float]]:
    """The eight corners of (centre, size)."""
    axes = [(centre - size / 2, centre + size / 2) for centre, size in zip(box[:3], box[3:], strict=True)]
    return [list(corner) for corner in product(*axes)]


def _write(path: Path, content: list[dict]) -> None:
    write_bytes(path, json.dumps(content, indent=1).encode())
