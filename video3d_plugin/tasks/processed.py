"""Reads and writes Video-3D LLM's processed files (`*_llava_style.json`), which may replace official files.

    {"id": 0, "video": "scannet/scene0011_00", "conversations": [{"value": prompt, "from": "human"}, {"value": answer,
     "from": "gpt"}], "box": ..., "metadata": {"question_type": ..., "ann_id": ..., "object_id": ...}}

They hold less than the official files. Without object names and tokens, ScanRefer's official groups and Scan2Cap's
official references cannot be computed; SQA3D's situation and question are one text. Items are read like official ones
with these fields empty. Boxes come from the scans, not from these files.

Written files hold the conversations that the reference trains and evaluates on (LaVi-Lab/Video-3D-LLM at 3ff70e8,
scripts/3d/preprocessing/process_*.py). `id` is the item's position in the official file, so that unavailable scenes
leave gaps. The context's scenes must hold boxes as Python floats and proposals in float64, as in the reference's files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.tasks.annotations import UNKNOWN, Context, Item, object_number, read_items

SUFFIX = "_llava_style.json"
_FIELDS = {"video": str, "conversations": list, "metadata": dict}
_REMEDY = "expected a processed file of Video-3D LLM's released data"
_DESCRIPTION = "following description.\n"
_SEVERAL = "\nThere may be no corresponding object"


@dataclass(frozen=True)
class Conversation:
    """One item of a processed file.

    Attributes:
        item: The item.
        scene_id: Its scene.
        prompt: Text of the question.
        answer: Text of the answer.
        path: The file.
        index: The item's position in it.
    """

    item: Item
    scene_id: str
    prompt: str
    answer: str
    path: Path
    index: int


@dataclass(frozen=True)
class ProcessedFiles:
    """The processed files of one benchmark.

    Attributes:
        pattern: Name of a file; {} is the split.
        read: An item -> items like those of the official file.
        write: (official items, split, context) -> the items of a processed file.
        join: All items that were read -> items, merged where the official file has one.
    """

    pattern: str
    read: Callable[[Conversation], list[Item]]
    write: Callable[[list[Item], str, Context], list[Item]]
    join: Callable[[list[Item]], list[Item]] = lambda items: items

    def load(self, task: str, path: Path) -> list[Item]:
        """Read a processed file as items like those of the official file.

        Args:
            task: Name of the benchmark.
            path: The file.

        Raises:
            DataError: An item does not belong to this benchmark; the message names it.
        """
        items = []
        for index, item in enumerate(read_items(path, _FIELDS)):
            try:
                prompt, answer = (turn["value"] for turn in item["conversations"])
                scene_id = item["video"].rsplit("/", 1)[-1]
                items += self.read(Conversation(item, scene_id, str(prompt), str(answer), path, index))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                if isinstance(error, DataError):
                    raise
                what = f"item {index} does not belong to {task}: {error!r}"
                raise DataError(what, where=path, remedy=_REMEDY) from None
        return self.join(items)


def description_of(prompt: str) -> str:
    """Return the description in a grounding prompt.

    Args:
        prompt: A prompt of ScanRefer or Multi3DRefer.

    Raises:
        IndexError: The prompt holds no description.
    """
    return prompt.split(_DESCRIPTION, 1)[1].split(_SEVERAL, 1)[0]


def referring_item(conversation: Conversation, description: str) -> Item:
    """Make an item of ScanRefer's official form: one description of one object.

    Args:
        conversation: The item of the processed file.
        description: The description.
    """
    metadata = conversation.item["metadata"]
    return {
        "scene_id": conversation.scene_id,
        "object_id": metadata["object_id"],
        "object_number": object_number(metadata["object_id"], conversation.path, conversation.index),
        "object_name": "",
        "ann_id": metadata["ann_id"],
        "description": description,
        "eval_type": str(metadata["question_type"]),
    }


def conversation_item(number: Any, scene_id: str, prompt: str, answer: str, **more: Any) -> Item:
    """Make an item of a processed file.

    Args:
        number: The item's id.
        scene_id: Its scene.
        prompt: Text of the question.
        answer: Text of the answer.
        **more: Further fields.
    """
    return {
        "id": number,
        "video": f"scannet/{scene_id}",
        "conversations": [{"value": prompt, "from": "human"}, {"value": answer, "from": "gpt"}],
        **more,
    }


def referring_metadata(task: str, item: Mapping[str, Any], object_id: Any) -> dict[str, Any]:
    """Make the metadata of an item about annotated objects.

    Args:
        task: Name of the benchmark.
        item: The official item.
        object_id: The object's id, or a list of ids.
    """
    kind = item.get("eval_type", UNKNOWN)
    return {"dataset": task, "question_type": kind, "ann_id": item["ann_id"], "object_id": object_id}
