"""Makes the TaskSpec of a benchmark of questions with one answer each, and one annotation file for each split.

    [{"scene_id": "scene0011_00", "question_id": "17", "question": "How many chairs are there?", "answer": "3"}, ...]

Fields in which a benchmark differs can be changed with `dataclasses.replace`.
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
    """Make the TaskSpec of a benchmark of questions with one answer each.

    Args:
        name: Name of the benchmark.
        files: Name of the annotation file by split.
        prompt: The prompt. {question} and other text fields of an item are filled in.
        score: (records) -> metrics by name, in per cent, or None if there are no records. A record has `question`,
            `answer` (the model's), `reference` (the annotated one) and `status`.
        metrics: Names of the metrics, the main one first.
        **more: Other fields of TaskSpec.
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
        "example_fields": (("question", "question"), ("prediction", "answer"), ("answer", "reference")),
        "item_score": item_score,
        "score_meaning": "1 exact, 0.5 refined match",
        "show": show,
    }
    return TaskSpec(**(fields | more))


def _filled(prompt: str, item: Item) -> str:
    return prompt.format(**{key: value for key, value in item.items() if isinstance(value, str)})


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """Make the record of a question (`TaskSpec.make_record`)."""
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
    """Return 1 if the answer equals the reference, 0.5 if one contains the other, else 0."""
    return match_score(record, [record["reference"]])


def show(record: Record) -> dict[str, Any]:
    """Return what the viewer shows of a record (`TaskSpec.show`)."""
    return {
        "question": record["question"],
        "answer": record["answer"],
        "expected": [str(record["reference"])],
        "verdict": "right" if item_score(record) == 1 else "wrong",
    }
