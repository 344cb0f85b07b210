"""Training items as LLaVA-NeXT's scripts name them: `--data_path` is a yaml, a json, a jsonl, or `folder/{a,b}.json`.

    datasets:
      - json_path: data/processed/scanrefer_vg_train_llava_style.json
        sampling_strategy: all | first:1000 | end:10% | random:999

Items are Video-3D LLM's processed ones (LaVi-Lab/Video-3D-LLM at 3ff70e8; see `annotations.llava_style`), taken as they
are: prompt, answer, object ids, and the centre of `box_input` for <coord>. Nothing is left out: what cannot be used is
an error that names the item.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.data.annotations.base import GROUND_ANSWER, object_number
from video3d_plugin.data.schemas import ANNOTATION, NAME, PATH
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import json_lines, read_json
from video3d_plugin.files.schema import check, fits, shown
from video3d_plugin.files.text import read_text
from video3d_plugin.scene import Question

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder

_IMAGE, _COORD = "<image>", "<coord>"
_GROUNDING = ("scanrefer", "multi3drefer")
# What the reference's training script puts before the question with --add_spatial_instruction (train_3d.py).
SPATIAL_INSTRUCTION = (
    "The video captures 3D spatial information of a scene. Please focus on the spatial relationships in the video "
    "and answer the following questions."
)
_FOUND_FROM = "relative paths are taken from the folder that the script runs in"
_REMEDY = "expected an item of Video-3D LLM's processed training files"


def read_training_files(data_path: str | Path, seed: int = 0) -> list[Question]:
    """All questions that `data_path` names, in its order. `seed` decides what `random:N` takes."""
    return [question for path, how in _files(str(data_path)) for question in _read(path, how, seed)]


def _files(data_path: str) -> list[tuple[Path, str]]:
    """(file, sampling strategy) of every file that is meant."""
    before, brace, names = data_path.removesuffix("}.json").rpartition("{")
    if brace and data_path.endswith("}.json"):
        return [(Path(f"{before}{name.strip()}.json"), "all") for name in names.split(",")]
    path = Path(data_path)
    if path.suffix not in (".yaml", ".yml"):
        return [(path, "all")]
    import yaml

    text = read_text(path, remedy="give --data_path an existing yaml, json or data folder")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:  # the last two: a date or key that is none
        raise DataError(f"not valid YAML: {error!s:.200}", where=path, remedy="see docs/training.md") from None
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not entries or not fits(entries, [{"json_path": PATH, "sampling_strategy?": NAME}]):
        raise DataError("no list `datasets` with a `json_path` each", where=path, remedy="see docs/training.md")
    return [(Path(e["json_path"]), e.get("sampling_strategy", "all")) for e in entries]


def _read(path: Path, how: str, seed: int) -> list[Question]:
    if path.suffix == ".jsonl":
        items = [item for _, item in json_lines(path, remedy=_FOUND_FROM)]
    else:
        items = read_json(path, list, _FOUND_FROM)
    kept = _chosen(items, how, path, seed)
    return [question_of(items[index], path, index) for index in kept]


def _chosen(items: Sequence[Any], how: str, path: Path, seed: int) -> list[int]:
    """Indices that a sampling strategy keeps, as the host reads it: a number, or a percentage rounded up."""
    indices = list(range(len(items)))
    if how == "all":
        return indices
    match = re.fullmatch(r"(first|end|random):([0-9]{1,12})(%?)", how)
    if not match:
        known = "all, first:N, end:N, random:N (or N%)"
        raise DataError(f"sampling_strategy {shown(how)} is not understood", where=path, remedy=f"known: {known}")
    number = math.ceil(int(match[2]) * len(items) / 100) if match[3] else int(match[2])
    if match[1] == "random":
        random.Random(seed).shuffle(indices)
    return indices[max(0, len(indices) - number) :] if match[1] == "end" else indices[:number]


def question_of(item: Any, path: Path, index: int) -> Question:
    """One processed item as a Question."""
    check(item, ANNOTATION, path, _REMEDY, at=f"item {index}: ")
    try:
        turns = {turn["from"]: str(turn["value"]) for turn in item["conversations"]}
        prompt, answer, count = turns["human"], turns["gpt"], len(item["conversations"])
        scene_id = str(item["video"]).rsplit("/", 1)[-1]
        metadata = item.get("metadata") or {}
        task = str(metadata.get("dataset", "")).lower()
        box = item.get("box_input")
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"item {index} has no {error}", where=path, remedy=_REMEDY) from None
    if count != 2:
        raise DataError(f"item {index} has {count} turns", where=path, remedy="one question and one answer an item")
    coords: tuple[tuple[float, float, float], ...] = ()
    if _COORD in prompt:
        coords = (_point(box, path, index),)
    targets = None
    if task in _GROUNDING or answer == GROUND_ANSWER:
        ids = metadata.get("object_id")
        if ids is None:
            raise DataError(f"item {index} grounds, and has no object_id", where=path, remedy=_REMEDY)
        targets = tuple(object_number(one, path, index) for one in (ids if isinstance(ids, list) else [ids]))
        answer = GROUND_ANSWER
    name = f"{path.name} item {index}"
    return Question(task or "training", name, scene_id, _image_first(prompt), answer, coords, targets)


def _point(box: Any, path: Path, index: int) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in (box[0] if isinstance(box[0], list) else box)[:3])
    except (TypeError, ValueError, LookupError):
        raise DataError(f"item {index} has {_COORD} and no box_input", where=path, remedy=_REMEDY) from None
    return x, y, z


def _image_first(prompt: str) -> str:
    """As the host does before tokenising: an <image> that is not at the start goes there, on a line of its own."""
    if prompt.count(_IMAGE) == 1 and not prompt.startswith(_IMAGE):
        return f"{_IMAGE}\n{prompt.replace(_IMAGE, '').strip()}".strip()
    return prompt


def with_spatial_instruction(questions: Iterable[Question]) -> list[Question]:
    """The questions with the reference's instruction between <image> and the question."""
    return [replace(q, prompt=f"{_IMAGE}\n{SPATIAL_INSTRUCTION}\n{q.prompt.replace(_IMAGE, '')}") for q in questions]


def check_scenes(questions: Sequence[Question], folder: DataFolder) -> None:
    """Every question's scene is in the folder, and what a grounding question refers to has a box there."""
    known = set(folder.scene_ids)
    missing = [q for q in questions if q.scene_id not in known]
    if missing:
        raise MissingError(
            f"{missing[0].item_id} asks of {missing[0].scene_id}, which is not in {folder.path} "
            f"({len(missing)} of {len(questions)} items lack their scene)",
            remedy="prepare these scenes too: `video3d prepare SOURCE --output DATA`",
        )
    objects = {q.scene_id: None for q in questions if q.targets}
    boxes = {scene_id: {one.object_id for one in folder.scene(scene_id).instances} for scene_id in objects}
    broken = [q for q in questions if q.targets and not set(q.targets) <= boxes[q.scene_id]]
    if broken:
        lost = sorted(set(broken[0].targets) - boxes[broken[0].scene_id])
        raise DataError(
            f"{broken[0].item_id} refers to object {lost[0]} of {broken[0].scene_id}, which has no annotated box in "
            f"{folder.path} ({len(broken)} of {len(questions)} items)",
            remedy="prepare the scenes with their annotations, or take the items out",
        )
