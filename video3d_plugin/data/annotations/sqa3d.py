"""SQA3D: answer a question from a situation in the scene. Two files a split, questions and annotations, balanced.

    questions    {"questions": [{"scene_id": "scene0050_00", "situation": "I am standing by the ottoman ...",
                  "alternative_situation": [...], "question": "What instrument in front of me is ebony and ivory?",
                  "question_id": 220602000002}]}
    annotations  {"annotations": [{"scene_id": ..., "question_id": ..., "answers": [{"answer": "piano"}],
                  "position": {"x": .., "y": .., "z": 0}, "rotation": {"_x": .., "_y": .., "_z": .., "_w": ..}}]}

Official: SilongYong/SQA3D a98da8f. Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, process_sqa3d.py, which trains on every
alternative situation and evaluates on the situation.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from video3d_plugin.data.annotations.base import Benchmark, Context, Doc, check_lists, load_items
from video3d_plugin.errors import DataError
from video3d_plugin.metrics.answers import question_type_by_prefix
from video3d_plugin.scene import Question

TASK = "sqa3d"
_QUESTION = {"scene_id": str, "situation": str, "question": str, "question_id": (int, str)}
_ANNOTATION = {"question_id": (int, str), "answers": list}
_REMEDY = "both files must be of the same release and split"


def prompt(situation: str, question: str) -> str:
    return f"<image> {situation} {question} Answer the question using a single word or phrase."


def load(paths: Sequence[Path]) -> list[Doc]:
    """Questions in the annotations' order, each with its `answer`, `position` (3,) and `rotation` (4,) xyzw."""
    asked = load_items(paths[0], _QUESTION, key="questions")
    check_lists(asked, "alternative_situation", str, paths[0])
    by_id = {item["question_id"]: item for item in asked}
    items = []
    for index, annotation in enumerate(load_items(paths[1], _ANNOTATION, key="annotations")):
        question = by_id.get(annotation["question_id"])
        if question is None:
            what = f"item {index}: no question {annotation['question_id']!r} in {paths[0].name}"
            raise DataError(what, where=paths[1], remedy=_REMEDY)
        answers = annotation["answers"]
        if len(answers) != 1 or not isinstance(answers[0], dict) or not isinstance(answers[0].get("answer"), str):
            raise DataError(f"item {index} has not exactly one answer", where=paths[1], remedy=_REMEDY)
        items.append(
            {
                **question,
                "alternative_situation": list(question.get("alternative_situation", [])),
                "answer": answers[0]["answer"],
                "position": _numbers(annotation.get("position"), ("x", "y", "z")),
                "rotation": _numbers(annotation.get("rotation"), ("_x", "_y", "_z", "_w")),
            }
        )
    return items


def _numbers(value: object, names: Sequence[str]) -> list[float]:
    """The values by name, or nothing where they are not given in full and finite: no metric needs them."""
    if not isinstance(value, dict) or not all(isinstance(value.get(name), int | float) for name in names):
        return []
    try:
        numbers = [float(value[name]) for name in names]
    except OverflowError:  # an integer beyond all floats
        return []
    return numbers if all(map(isfinite, numbers)) else []


def docs(items: list[Doc], split: str, context: Context) -> list[Doc]:
    return [
        {
            "task": TASK,
            "split": split,
            "item_id": str(item["question_id"]),
            "scene_id": item["scene_id"],
            "question_id": item["question_id"],
            "situation": item["situation"],
            "alternative_situation": item["alternative_situation"],
            "question": item["question"],
            "question_type": item.get("question_type") or question_type_by_prefix(item["question"]),
            "answer": item["answer"],
            "position": item["position"],
            "rotation": item["rotation"],
            "prompt": item.get("prompt") or prompt(item["situation"], item["question"]),
        }
        for item in items
        if context.has_scene(item["scene_id"])
    ]


def questions(items: list[Doc], split: str, context: Context) -> list[Question]:
    """Every alternative situation, then the situation itself: each one a question with the same answer."""
    return [
        Question(
            task=TASK,
            item_id=f"{item['question_id']}_{index}",
            scene_id=item["scene_id"],
            prompt=item.get("prompt") or prompt(situation, item["question"]),
            answer=item["answer"],
        )
        for item in items
        if context.has_scene(item["scene_id"])
        for index, situation in enumerate([*item["alternative_situation"], item["situation"]])
    ]


BENCHMARK = Benchmark(
    TASK,
    {
        split: (
            f"v1_balanced_questions_{split}_scannetv2.json",
            f"v1_balanced_sqa_annotations_{split}_scannetv2.json",
        )
        for split in ("train", "val", "test")
    },
    load,
    docs,
    questions,
)
