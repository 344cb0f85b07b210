"""What benchmarks share whose items refer to one object of a scene: ScanRefer, Nr3D and Sr3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video3d_plugin.prompts import GROUND_ANSWER, grounding_prompt
from video3d_plugin.scene import Question
from video3d_plugin.tasks.annotations import Item


def item_id(item: Mapping[str, Any]) -> str:
    """Return the id of a description: scene, object and `ann_id`, the description's number."""
    return f"{item['scene_id']}|{item['object_id']}|{item['ann_id']}"


def referring_question(task: str, item: Item) -> Question:
    """Make the training question of a description; its target is the object."""
    return Question(
        task=task,
        item_id=item_id(item),
        scene_id=item["scene_id"],
        prompt=grounding_prompt(item["description"]),
        answer=GROUND_ANSWER,
        targets=(item["object_number"],),
    )
