"""Reads training items as LLaVA-NeXT's scripts name them: a yaml, a json, a jsonl, or `folder/{a,b}.json`.

    datasets:
      - json_path: data/processed/scanrefer_vg_train_llava_style.json
        sampling_strategy: all | first:1000 | end:10% | random:999

Items are Video-3D LLM's processed ones (LaVi-Lab/Video-3D-LLM at 3ff70e8; see `tasks.processed`): prompt, answer,
object ids, and the centre of `box_input` for <coord>. Nothing is left out: an item that cannot be used is an error that
names it. Special tokens are plain text except for the leading <image>, a <coord> if the item has a `box_input`, and
<ground> as the answer of a grounding item.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin.data.schemas import PATH
from video3d_plugin.errors import DataError, MissingError, joined_names
from video3d_plugin.files.json import json_lines, read_json
from video3d_plugin.files.schema import check, fits, shown
from video3d_plugin.files.text import read_text
from video3d_plugin.prompts import GROUND_ANSWER, SPATIAL_INSTRUCTION
from video3d_plugin.scene import Question
from video3d_plugin.tasks import is_grounding, names, needs_point
from video3d_plugin.tasks.annotations import object_number
from video3d_plugin.tasks.kinds import ANNOTATION, NAME
from video3d_plugin.tokens import COORD_TOKEN, IMAGE_TOKEN

if TYPE_CHECKING:
    from video3d_plugin.data.folder import DataFolder

_RELATIVE = "relative paths are resolved from the folder that the script runs in"
_REMEDY = "expected an item of Video-3D LLM's processed training files"


def read_training_files(data_path: str | Path, seed: int = 0) -> list[Question]:
    """Read all questions that a `--data_path` names, in its order.

    Args:
        data_path: A .yaml with `datasets`, a .json, a .jsonl, or `folder/{a,b}.json`.
        seed: Seed of the sampling strategy `random:N`.

    Returns:
        The questions. Points in `coords` are in the world frame, metres.

    Raises:
        MissingError: A file does not exist.
        DataError: A file or an item is broken, or a sampling strategy is unknown.
    """
    return [question for path, strategy in list_files(str(data_path)) for question in _read(path, strategy, seed)]


def list_files(data_path: str) -> list[tuple[Path, str]]:
    """Return (file, sampling strategy) of every file that a `--data_path` names."""
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
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:  # the last two: an invalid date or key
        raise DataError(f"not valid YAML: {error!s:.200}", where=path, remedy="see docs/training.md") from None
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not entries or not fits(entries, [{"json_path": PATH, "sampling_strategy?": NAME}]):
        raise DataError("no list `datasets` with a `json_path` each", where=path, remedy="see docs/training.md")
    return [(Path(e["json_path"]), e.get("sampling_strategy", "all")) for e in entries]


def _read(path: Path, strategy: str, seed: int) -> list[Question]:
    if path.suffix == ".jsonl":
        items = [item for _, item in json_lines(path, remedy=_RELATIVE)]
    else:
        items = read_json(path, list, _RELATIVE)
    return [question_of(items[index], path, index) for index in _sampled(len(items), strategy, path, seed)]


def _sampled(count: int, strategy: str, path: Path, seed: int) -> list[int]:
    """Return the indices that a sampling strategy keeps, as in LLaVA-NeXT: a number, or a percentage rounded up."""
    indices = list(range(count))
    if strategy == "all":
        return indices
    match = re.fullmatch(r"(first|end|random):([0-9]{1,12})(%?)", strategy)
    if not match:
        known = "all, first:N, end:N, random:N (or N%)"
        raise DataError(f"sampling_strategy {shown(strategy)} is not understood", where=path, remedy=f"known: {known}")
    number = math.ceil(int(match[2]) * count / 100) if match[3] else int(match[2])
    if match[1] == "random":
        random.Random(seed).shuffle(indices)
    return indices[max(0, count - number) :] if match[1] == "end" else indices[:number]


def question_of(item: Any, path: Path, index: int) -> Question:
    """Convert a processed item to a Question.

    Args:
        item: The item, a JSON value.
        path: Its file, for errors and for the question's id.
        index: Its place in the file, from 0.

    Raises:
        DataError: The item lacks something.
    """
    check(item, ANNOTATION, path, _REMEDY, at=f"item {index}: ")
    (prompt, answer), *further = _turns(item, path, index)
    try:
        scene_id = str(item["video"]).rsplit("/", 1)[-1]
        metadata = item.get("metadata") or {}
        task = str(metadata.get("dataset", "")).lower()
        box = item.get("box_input")
    except (LookupError, TypeError, AttributeError) as error:
        raise DataError(f"item {index} has no {error}", where=path, remedy=_REMEDY) from None
    if box is not None and any(COORD_TOKEN in user for user, _ in further):
        raise DataError(
            f"item {index} has {COORD_TOKEN} in a later turn", where=path, remedy="put it in the first turn"
        )
    coords: tuple[tuple[float, float, float], ...] = ()
    has_point = needs_point(task) if task in names() else box is not None  # else <coord> is text of somebody's question
    if COORD_TOKEN in prompt and has_point:
        coords = (_point(box, path, index),)
    targets = None
    if is_grounding(task) or (answer == GROUND_ANSWER and task not in names()):
        ids = metadata.get("object_id")
        if ids is None:
            raise DataError(f"item {index} is a grounding item but has no object_id", where=path, remedy=_REMEDY)
        if further:
            what = f"item {index} is a grounding item with {2 + 2 * len(further)} turns"
            raise DataError(what, where=path, remedy="give a grounding item one question and one answer")
        targets = tuple(object_number(one, path, index) for one in (ids if isinstance(ids, list) else [ids]))
        answer = GROUND_ANSWER
    name = f"{path.name} item {index}"
    prompt = _image_first(prompt, path, index)
    return Question(
        task or "training", name, scene_id, prompt, answer, coords, targets,
        grounding=targets is not None, further=tuple(further),
    )  # fmt: skip


def _turns(item: dict[str, Any], path: Path, index: int) -> list[tuple[str, str]]:
    """Return the pairs of a user's and an assistant's turn; a turn of the assistant before the first is left out.

    LLaVA-NeXT leaves it out as well (preprocess_qwen).
    """
    try:
        turns = [(turn["from"], str(turn["value"])) for turn in item["conversations"]]
    except (LookupError, TypeError) as error:
        raise DataError(f"item {index} has no {error}", where=path, remedy=_REMEDY) from None
    if turns and turns[0][0] == "gpt":
        turns = turns[1:]
    roles = [role for role, _ in turns]
    if not roles or roles != ["human", "gpt"] * (len(roles) // 2):
        what = f"item {index} has turns of {joined_names(map(str, roles)) or 'nobody'}"
        raise DataError(what, where=path, remedy="expected human and gpt in turn, beginning with human")
    if any(IMAGE_TOKEN in user for _, user in turns[2::2]):
        raise DataError(f"item {index} shows the scene again in a later turn", where=path, remedy=_REMEDY)
    texts = [text for _, text in turns]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _point(box: Any, path: Path, index: int) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in (box[0] if isinstance(box[0], list) else box)[:3])
    except (TypeError, ValueError, LookupError):
        raise DataError(f"item {index} has {COORD_TOKEN} but no box_input", where=path, remedy=_REMEDY) from None
    return x, y, z


def _image_first(prompt: str, path: Path, index: int) -> str:
    """Move <image> to the start of the prompt, on a line of its own, as LLaVA-NeXT does before tokenisation."""
    if prompt.startswith(IMAGE_TOKEN):
        return prompt
    if (count := prompt.count(IMAGE_TOKEN)) != 1:
        what = f"item {index} has {count} {IMAGE_TOKEN} in its prompt, and none at its start"
        raise DataError(what, where=path, remedy=_REMEDY)
    return f"{IMAGE_TOKEN}\n{prompt.replace(IMAGE_TOKEN, '').strip()}".strip()


def with_spatial_instruction(questions: Iterable[Question]) -> list[Question]:
    """Return the questions with Video-3D LLM's instruction between <image> and the question."""
    return [
        replace(q, prompt=f"{IMAGE_TOKEN}\n{SPATIAL_INSTRUCTION}\n{q.prompt.replace(IMAGE_TOKEN, '', 1)}")
        for q in questions
    ]


def check_scenes(questions: Sequence[Question], folder: DataFolder) -> None:
    """Check that the data folder has every question's scene, and a box for every object that is to be grounded.

    Raises:
        MissingError: A scene is not in the folder.
        DataError: An object has no annotated box.
    """
    scene_ids = set(folder.scene_ids)
    missing = [q for q in questions if q.scene_id not in scene_ids]
    if missing:
        raise MissingError(
            f"{missing[0].item_id} is about {missing[0].scene_id}, which is not in {folder.path} "
            f"({len(missing)} of {len(questions)} items lack their scene)",
            remedy="prepare these scenes too: `video3d prepare SOURCE --output DATA`",
        )
    objects = {q.scene_id: None for q in questions if q.targets}
    boxes = {scene_id: {one.object_id for one in folder.scene(scene_id).instances} for scene_id in objects}
    broken = [q for q in questions if q.targets and not boxes[q.scene_id].issuperset(q.targets)]
    if broken:
        without_box = sorted({*(broken[0].targets or ())} - boxes[broken[0].scene_id])
        raise DataError(
            f"{broken[0].item_id} refers to object {without_box[0]} of {broken[0].scene_id}, which has no annotated "
            f"box in {folder.path} ({len(broken)} of {len(questions)} items)",
            remedy="prepare the scenes with their annotations, or take the items out",
        )
