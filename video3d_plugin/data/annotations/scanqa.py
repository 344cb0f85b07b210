"""ScanQA: answer a question about the scene. ScanQA_v1.0_{train,val,test_w_obj,test_wo_obj}.json

    {"scene_id": "scene0011_00", "question_id": "val-scene0011-0", "question": "What color is the chair?",
     "answers": ["dark brown", "brown"], "object_ids": [4, 5], "object_names": ["chair", "chair"]}

The two test splits carry scene_id, question_id and question only. Official scorer: ATR-DBI/ScanQA 0a9f162,
scripts/score.py. Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, process_scanqa.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from video3d_plugin.data.annotations.base import Benchmark, Context, Doc, check_lists, load_items
from video3d_plugin.scene import Question

TASK = "scanqa"
_FIELDS = {"scene_id": str, "question_id": str, "question": str}
_SPLITS = ("train", "val", "test_w_obj", "test_wo_obj")


def prompt(question: str) -> str:
    return f"<image> {question} Answer the question simply."


def load(paths: Sequence[Path]) -> list[Doc]:
    with_answers = "test_w" not in paths[0].name
    items = load_items(paths[0], {**_FIELDS, "answers": list} if with_answers else _FIELDS)
    for name, kind in (("answers", str), ("object_ids", int), ("object_names", str)):
        check_lists(items, name, kind, paths[0])
    return items


def docs(items: list[Doc], split: str, context: Context) -> list[Doc]:
    """A doc a question; answers is empty in the test splits."""
    return [
        {
            "task": TASK,
            "split": split,
            "item_id": item["question_id"],
            "scene_id": item["scene_id"],
            "question_id": item["question_id"],
            "question": item["question"],
            "answers": list(item.get("answers", [])),
            "object_ids": list(item.get("object_ids", [])),
            "object_names": list(item.get("object_names", [])),
            "prompt": prompt(item["question"]),
        }
        for item in items
        if context.has_scene(item["scene_id"])
    ]


def questions(items: list[Doc], split: str, context: Context) -> list[Question]:
    """A question an answer, as the reference trains: a question with two answers is seen with each."""
    return [
        Question(
            task=TASK,
            item_id=f"{item['question_id']}_{index}",
            scene_id=item["scene_id"],
            prompt=prompt(item["question"]),
            answer=answer,
        )
        for item in items
        if context.has_scene(item["scene_id"])
        for index, answer in enumerate(item.get("answers", []))
    ]


BENCHMARK = Benchmark(TASK, {split: (f"ScanQA_v1.0_{split}.json",) for split in _SPLITS}, load, docs, questions)
