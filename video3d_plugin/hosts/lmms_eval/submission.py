"""Prediction files for the benchmarks' own servers, for splits whose answers are not public."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.tasks import TaskSpec, usable

log = logging.getLogger(__name__)


def writer(spec: TaskSpec, split: str) -> Callable[..., str]:
    """Return an aggregation function for lmms-eval that writes the prediction file of a benchmark's server.

    Args:
        spec: The benchmark.
        split: The split, part of the file's name.

    Returns:
        A function of the items and lmms-eval's arguments. It writes <output_path>/submissions/<task>_<split>.json,
        logs the number of unanswered questions, and returns the file's path.

    Raises:
        DataError: The benchmark has no submission format.
    """
    make_item = spec.submission
    if make_item is None:
        supported = " and ".join(sorted(name for name, other in usable().items() if other.submission is not None))
        raise DataError(f"{spec.name} has no submission format", remedy=f"{supported} have one")

    def write(items: Sequence[dict], args: Any = None) -> str:
        ordered = sorted(items, key=lambda item: str(item["doc"]["item_id"]))
        unanswered = sum(isinstance(item["response"], dict) for item in ordered)
        path = Path(getattr(args, "output_path", None) or ".") / "submissions" / f"{spec.name}_{split}.json"
        _write(path, [make_item(item["doc"], item["response"]) for item in ordered])
        if unanswered:
            log.warning("%s: %d of %d questions were left unanswered", path, unanswered, len(ordered))
        return str(path)

    return write


def _write(path: Path, content: list[dict]) -> None:
    write_bytes(path, json.dumps(content, indent=1).encode())
