"""Reads and scores files of the Scan2Cap benchmark, which hold the captions of whole scenes.

    {"scene0011_00": [{"caption": "a brown chair ...", "box": 8x3}, ...], ...}

Source: Scan2Cap benchmark/eval.py (daveredrum/Scan2Cap b9e9610). Such a file has no predictions of single questions,
and therefore no records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.json import JSON_BYTES
from video3d_plugin.files.schema import Table, check
from video3d_plugin.files.text import read_text
from video3d_plugin.metrics.dense_captions import DenseCaption, DescribedObject, benchmark
from video3d_plugin.metrics.iou import as_box
from video3d_plugin.metrics.ngrams import Scorer, scorer
from video3d_plugin.tasks.kinds import SAID
from video3d_plugin.tasks.scoring import Scores


def score_file(path: Path, objects: Callable[[], Sequence[DescribedObject]], score: Scorer | None) -> Scores | None:
    """Score a file of captions by scene.

    Args:
        path: A file of predictions.
        objects: Returns the objects of the ground truth.
        score: A running Scorer; None starts one.

    Returns:
        The scores; None if the file has another format.

    Raises:
        DataError: The file is damaged, or its scenes are not those of the ground truth.
    """
    content = _json_object(path)
    if content is None or not all(map(_is_list_of_captions, content.values())):
        return None
    check(content, Table([{"caption": SAID}]), path)
    predictions = {
        scene: [
            DenseCaption(as_box(c["box"], f"{path}, scene {scene!r}, caption {i}").tolist(), c["caption"])
            for i, c in enumerate(of_scene)
        ]
        for scene, of_scene in content.items()
    }
    targets = objects()
    scenes = {target.scene_id for target in targets}
    counts = {
        "questions": len(targets),
        "predictions": sum(len(of_scene) for scene, of_scene in predictions.items() if scene in scenes),
        "scenes_missing": len(scenes - set(predictions)),
        "scenes_extra": len(set(predictions) - scenes),
    }
    if counts["scenes_missing"] == len(scenes):
        raise DataError("no scene of the predictions is in the annotations", where=path)
    if score is not None:
        values, missing = benchmark(predictions, targets, score)
    else:
        with scorer() as running:
            values, missing = benchmark(predictions, targets, running)
    return Scores(values, counts, missing)


def _json_object(path: Path) -> dict[str, Any] | None:
    """The content of a file that is one JSON object and not empty, else None."""
    if not path.is_file() or path.suffix == ".jsonl":
        return None
    text = read_text(path, JSON_BYTES)
    try:
        content = json.loads(text)
    except ValueError:
        return None
    except RecursionError:
        raise DataError("nested too deeply", where=path) from None
    return content if isinstance(content, dict) and content else None


def _is_list_of_captions(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(c, dict) and {"caption", "box"} <= set(c) for c in value)
