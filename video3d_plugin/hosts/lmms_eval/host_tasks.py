"""Tasks of lmms-eval itself whose documents name a scene, such as vsibench: which questions can be answered, and how.

A question is asked with the task's own prompt, after the scene. Options of generation, post-processing and metrics
stay those of the task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema import shown
from video3d_plugin.hosts.lmms_eval.questions import QuestionRequest
from video3d_plugin.scene import Question
from video3d_plugin.tokens import IMAGE_TOKEN

SCENE_FIELDS = ("scene_name", "scene_id", "scene")  # in which documents name their scene
SUPPORTED = (
    "supported are this package's tasks, e.g. --tasks video3d_all, and tasks whose documents name a prepared scene in "
    f"{', '.join(SCENE_FIELDS)}, e.g. vsibench and revsi"
)
NOT_PREPARED = "scene is not among the prepared ones"


def question_of_host(task: str, doc_id: Any, doc: Mapping[str, Any], text: str) -> Question:
    """Make the question of a document.

    Args:
        task: Name of the task.
        doc_id: The document's number.
        doc: The document.
        text: The task's own prompt (`doc_to_text`). Nothing in it is a special token.

    Raises:
        DataError: The document names no scene.
    """
    scene_id = next((str(doc[name]) for name in SCENE_FIELDS if isinstance(doc.get(name), str | int)), "")
    if not scene_id:
        raise DataError(f"the questions of {task} name no scene", where="--model video3d", remedy=SUPPORTED)
    return Question(task=task, item_id=str(doc_id), scene_id=scene_id, prompt=f"{IMAGE_TOKEN} {text}")


def without_scene(
    requests: Sequence[QuestionRequest], scene_ids: Collection[str], folder: Path
) -> list[QuestionRequest]:
    """Return the requests whose scenes are not prepared.

    Args:
        requests: Requests of lmms-eval's own tasks.
        scene_ids: The prepared scenes.
        folder: The data folder, for the error message.

    Raises:
        DataError: A task has no question about a prepared scene.
    """
    missing = [request for request in requests if request.question.scene_id not in scene_ids]
    count = Counter(request.question.task for request in requests)
    count.subtract(request.question.task for request in missing)
    for request in missing:
        question = request.question
        if not count[question.task]:
            what = f"no scene of {question.task} is prepared, such as {shown(question.scene_id)}"
            raise DataError(what, where=folder, remedy="prepare its scenes under these names")
    return missing
