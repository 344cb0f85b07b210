"""Video-3D LLM's processed files (`*_llava_style.json`), read where the official ones are not there.

    {"id": 0, "video": "scannet/scene0011_00", "conversations": [{"value": prompt, "from": "human"}, {"value": answer,
     "from": "gpt"}], "box": ..., "metadata": {"question_type": ..., "ann_id": ..., "object_id": ...}}

They carry less than the official files: no object names and no tokens, so the official ScanRefer groups and Scan2Cap's
official references cannot be computed from them, and SQA3D's situation and question are one text. Items come out
like official ones with those fields empty; boxes are taken from the scans, not from these files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from video3d_plugin.data.annotations.base import Doc, load_items, object_number
from video3d_plugin.errors import DataError
from video3d_plugin.tokens import IMAGE_TOKEN

FILES = {
    "scanrefer": "scanrefer_vg_{}_llava_style.json",
    "multi3drefer": "multi3drefer_{}_llava_style.json",
    "scan2cap": "scan2cap_{}_llava_style.json",
    "scanqa": "scanqa_{}_llava_style.json",
    "sqa3d": "sqa3d_{}_llava_style.json",
}
# The splits that the reference's scripts write; it has no answers for the others.
SPLITS = {task: ("train", "val") for task in FILES} | {"sqa3d": ("train", "val", "test")}
SUFFIX = "_llava_style.json"
_FIELDS = {"video": str, "conversations": list, "metadata": dict}
_REMEDY = "expected a processed file of Video-3D LLM's released data"
_DESCRIPTION = "following description.\n"
_ZERO_HINT = "\nThere may be no corresponding object"


def load(task: str, path: Path) -> list[Doc]:
    """Items like those that the benchmark's own reader gives for the official file."""
    items = []
    for index, item in enumerate(load_items(path, _FIELDS)):
        try:
            prompt, answer = (turn["value"] for turn in item["conversations"])
            scene_id = item["video"].rsplit("/", 1)[-1]
            items += _READERS[task](item, scene_id, str(prompt), str(answer), path, index)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"item {index} is not of the kind {task}: {error!r}", where=path, remedy=_REMEDY) from None
    return _joined(items) if task == "scanqa" else items


def _described(prompt: str) -> str:
    return prompt.split(_DESCRIPTION, 1)[1].split(_ZERO_HINT, 1)[0]


def _refers(item: Doc, scene_id: str, path: Path, index: int, description: str) -> Doc:
    metadata = item["metadata"]
    return {
        "scene_id": scene_id,
        "object_id": metadata["object_id"],
        "object_number": object_number(metadata["object_id"], path, index),
        "object_name": "",
        "ann_id": metadata["ann_id"],
        "description": description,
        "eval_type": str(metadata["question_type"]),
    }


def _scanrefer(item: Doc, scene_id: str, prompt: str, answer: str, path: Path, index: int) -> list[Doc]:
    return [_refers(item, scene_id, path, index, _described(prompt))]


def _multi3drefer(item: Doc, scene_id: str, prompt: str, answer: str, path: Path, index: int) -> list[Doc]:
    metadata = item["metadata"]
    return [
        {
            "scene_id": scene_id,
            "object_ids": [object_number(value, path, index) for value in metadata["object_id"]],
            "ann_id": metadata["ann_id"],
            "eval_type": str(metadata["question_type"]),
            "description": _described(prompt),
        }
    ]


def _scan2cap(item: Doc, scene_id: str, prompt: str, answer: str, path: Path, index: int) -> list[Doc]:
    said = item.get("annotations", [answer])
    return [_refers(item, scene_id, path, index, str(description)) for description in said]


def _scanqa(item: Doc, scene_id: str, prompt: str, answer: str, path: Path, index: int) -> list[Doc]:
    question = prompt.removeprefix(f"{IMAGE_TOKEN} ").removesuffix(" Answer the question simply.")
    answers = [str(value) for value in item["metadata"].get("answers", [answer])]
    number = str(item["id"]).removeprefix("scanqa_").rsplit("_", 1)[0]
    return [{"scene_id": scene_id, "question_id": number, "question": question, "answers": answers}]


def _sqa3d(item: Doc, scene_id: str, prompt: str, answer: str, path: Path, index: int) -> list[Doc]:
    text = prompt.removeprefix(f"{IMAGE_TOKEN} ").removesuffix(" Answer the question using a single word or phrase.")
    return [
        {
            "scene_id": scene_id,
            "question_id": item["id"],
            "situation": "",
            "alternative_situation": [],
            "question": text,
            "question_type": str(item["metadata"]["question_type"]),
            "answer": answer,
            "position": [],
            "rotation": [],
            "prompt": prompt,
        }
    ]


def _joined(items: list[Doc]) -> list[Doc]:
    """Training files have an item an answer: the answers of a question belong together again."""
    by_id: dict[Any, Doc] = {}
    for item in items:
        if (known := by_id.setdefault(item["question_id"], item)) is not item:
            known["answers"] += item["answers"]
    return list(by_id.values())


_READERS: dict[str, Callable[..., list[Doc]]] = {
    "scanrefer": _scanrefer,
    "multi3drefer": _multi3drefer,
    "scan2cap": _scan2cap,
    "scanqa": _scanqa,
    "sqa3d": _sqa3d,
}
