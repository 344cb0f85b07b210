"""A benchmark of questions with one answer each, made of one annotation file a split: the usual case, in one call.

    [{"scene_id": "scene0011_00", "question_id": "17", "question": "How many chairs are there?", "answer": "3"}, ...]

`dataclasses.replace` changes what is different in a benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.scene import Question
from video3d_plugin.tasks.annotations import Context, Doc, Item, read_items
from video3d_plugin.tasks.kinds import ID, REFERENCE, SAID, SENTENCE
from video3d_plugin.tasks.predictions import ParsedPrediction, text_of
from video3d_plugin.tasks.scoring import Scores, match_score
from video3d_plugin.tasks.spec import Record, TaskSpec
from video3d_plugin.tokens import IMAGE_TOKEN

FIELDS = {"scene_id": str, "question_id": (str, int), "question": str, "answer": str}


def question_answering(
    name: str,
    files: Mapping[str, str],
    prompt: str,
    score: Callable[[Sequence[Record]], Mapping[str, float | None]],
    metrics: Sequence[str],
    **more: Any,
) -> TaskSpec:
    """The TaskSpec of a benchmark of questions with one answer each.

    Args:
        name: Of the benchmark.
        files: Split to the name of its annotation file.
        prompt: What the model is asked; {question} is filled in, and any other text field of an item.
        score: (records) -> numbers by name, in per cent. A record has `question`, `answer` (the model's), `reference`
            (the right one) and `status`; of no records, a number is None.
        metrics: Names of the numbers, the main one first.
        more: Other fields of TaskSpec.
    """

    def read(paths: Sequence[Path]) -> list[Item]:
        return read_items(paths[0], FIELDS)

    def docs(items: list[Item], split: str, context: Context) -> list[Doc]:
        return [
            {**item, "task": name, "split": split, "item_id": str(item["question_id"]), "prompt": _filled(prompt, item)}
            for item in items
            if context.has_scene(item["scene_id"])
        ]

    def questions(items: list[Item], split: str, context: Context) -> list[Question]:
        return [
            Question(name, str(item["question_id"]), item["scene_id"], _filled(prompt, item), item["answer"])
            for item in items
            if context.has_scene(item["scene_id"])
        ]

    def score_records(records: Sequence[Record], _score: Scorer) -> Scores:
        return Scores(dict(score([record for record in records if not record.get("extra")])))

    fields: dict[str, Any] = {
        "name": name,
        "files": {split: (file,) for split, file in files.items()},
        "read": read,
        "docs": docs,
        "doc_fields": {"question_id": ID, "question": SENTENCE, "answer": SENTENCE},
        "questions": questions,
        "plain_prompt": prompt.replace(IMAGE_TOKEN, "").strip(),
        "text_keys": ("answer",),
        "make_record": make_record,
        "score_records": score_records,
        "record_fields": {"question": REFERENCE, "answer": SAID, "reference": REFERENCE},
        "headline": (metrics[0],),
        "metrics": (*metrics, "count_missing"),
        "id_fields": (("question_id",),),
        "example_fields": (("question", "question"), ("said", "answer"), ("answer", "reference")),
        "item_score": item_score,
        "score_meaning": "1 exact, 0.5 refined match",
        "show": show,
    }
    return TaskSpec(**(fields | more))


def _filled(prompt: str, item: Item) -> str:
    return prompt.format(**{key: value for key, value in item.items() if isinstance(value, str)})


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """The record of one question."""
    status, answer = text_of(prediction, "answer")
    return {
        "id": str(doc["question_id"]),
        "scene_id": doc["scene_id"],
        "question": doc["question"],
        "reference": doc["answer"],
        "status": status,
        "answer": answer,
    }


def item_score(record: Record) -> float:
    """1 where the answer is the reference, 0.5 where one holds the other, else 0."""
    return match_score(record, [record["reference"]])


def show(record: Record) -> dict[str, Any]:
    """What the viewer says of a record."""
    return {
        "question": record["question"],
        "answer": record["answer"],
        "expected": [str(record["reference"])],
        "verdict": "right" if item_score(record) == 1 else "wrong",
    }
