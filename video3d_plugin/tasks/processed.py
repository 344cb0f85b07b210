"""Video-3D LLM's processed files (`*_llava_style.json`): read where official files are not there, and written.

    {"id": 0, "video": "scannet/scene0011_00", "conversations": [{"value": prompt, "from": "human"}, {"value": answer,
     "from": "gpt"}], "box": ..., "metadata": {"question_type": ..., "ann_id": ..., "object_id": ...}}

They carry less than the official files: no object names and no tokens, so the official ScanRefer groups and Scan2Cap's
official references cannot be computed from them, and SQA3D's situation and question are one text. Items come out like
official ones with those fields empty; boxes are taken from the scans, not from these files.

Written are the conversations that the reference trains and evaluates on (LaVi-Lab/Video-3D-LLM at 3ff70e8, scripts/3d/
preprocessing/process_*.py). `id` is the item's place in the official file, so items of scenes that are not there leave
gaps. The context's scenes then hold boxes as Python floats and proposals in float64, as in the reference's own files.
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
    """One item of a processed file, and where it stands."""

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
        join: All items -> those that belong together joined.
    """

    pattern: str
    read: Callable[[Conversation], list[Item]]
    write: Callable[[list[Item], str, Context], list[Item]]
    join: Callable[[list[Item]], list[Item]] = lambda items: items

    def load(self, task: str, path: Path) -> list[Item]:
        """Items like those that the benchmark's own reader gives for the official file.

        Raises:
            DataError: An item is not one of this benchmark; it is named.
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
                what = f"item {index} is not of the kind {task}: {error!r}"
                raise DataError(what, where=path, remedy=_REMEDY) from None
        return self.join(items)


def description_of(prompt: str) -> str:
    """The description in a grounding prompt; IndexError where there is none."""
    return prompt.split(_DESCRIPTION, 1)[1].split(_SEVERAL, 1)[0]


def referring_item(conversation: Conversation, description: str) -> Item:
    """An item as ScanRefer's file has them: one description of one object."""
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
    """One item of a processed file."""
    return {
        "id": number,
        "video": f"scannet/{scene_id}",
        "conversations": [{"value": prompt, "from": "human"}, {"value": answer, "from": "gpt"}],
        **more,
    }


def referring_metadata(task: str, item: Mapping[str, Any], object_id: Any) -> dict[str, Any]:
    """Metadata of an item about annotated objects."""
    kind = item.get("eval_type", UNKNOWN)
    return {"dataset": task, "question_type": kind, "ann_id": item["ann_id"], "object_id": object_id}
