"""SQA3D (arXiv 2210.07474): answer a question from a situation in the scene.

Two files for each split, v1_balanced_questions_{train,val,test}_scannetv2.json and v1_balanced_sqa_annotations_*:

    questions    {"questions": [{"scene_id": "scene0050_00", "situation": "I am standing by the ottoman ...",
                  "alternative_situation": [...], "question": "What instrument in front of me is ebony and ivory?",
                  "question_id": 220602000002}]}
    annotations  {"annotations": [{"scene_id": ..., "question_id": ..., "answers": [{"answer": "piano"}],
                  "position": {"x": .., "y": .., "z": 0}, "rotation": {"_x": .., "_y": .., "_z": .., "_w": ..}}]}

Official scorer: https://github.com/SilongYong/SQA3D/tree/a98da8f
Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, scripts/3d/preprocessing/process_sqa3d.py, which trains on every alternative
situation and evaluates on the situation.

Conventions by prefix: none official, `v3d_` Video-3D-LLM, `leo_` LEO, `llava3d_` LLaVA-3D, `chatscene_` Chat-Scene,
`llm_` the script for language models. Fields of a document for scoring: question_id, scene_id, situation, question,
answer, and question_type if the file has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.metrics import answers
from video3d_plugin.metrics.answers import clean_answer, question_type_by_prefix
from video3d_plugin.metrics.java import ptb_tokenize_pairs
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.prompts import SITUATED_PROMPT
from video3d_plugin.scene import Question
from video3d_plugin.tasks import kinds
from video3d_plugin.tasks.annotations import Context, Doc, Item, check_lists, read_items
from video3d_plugin.tasks.kinds import ID, REFERENCE, SAID, SENTENCE
from video3d_plugin.tasks.predictions import ParsedPrediction, text_of
from video3d_plugin.tasks.processed import Conversation, ProcessedFiles, conversation_item
from video3d_plugin.tasks.scoring import LEO_NAMES, CorpusNumbers, Pairs, Scores, match_score
from video3d_plugin.tasks.spec import PredictionFiles, Record, TaskSpec
from video3d_plugin.tasks.systems import MAX_COVERAGE, UNIFORM, peer_numbers

NAME = "sqa3d"
_QUESTION = {"scene_id": str, "situation": str, "question": str, "question_id": (int, str)}
_ANNOTATION = {"question_id": (int, str), "answers": list}
_REMEDY = "both files must be of the same release and split"
_BEFORE, _AFTER = SITUATED_PROMPT.split("{situation} {question}")


# Annotation files


def read(paths: Sequence[Path]) -> list[Item]:
    """Read both files (`TaskSpec.read`): questions with `answer`, `position` (3,) and `rotation` (4,) xyzw."""
    question_items = read_items(paths[0], _QUESTION, key="questions")
    check_lists(question_items, "alternative_situation", str, paths[0])
    by_id = {item["question_id"]: item for item in question_items}
    items = []
    for index, annotation in enumerate(read_items(paths[1], _ANNOTATION, key="annotations")):
        question = by_id.get(annotation["question_id"])
        if question is None:
            what = f"item {index}: no question {annotation['question_id']!r} in {paths[0].name}"
            raise DataError(what, where=paths[1], remedy=_REMEDY)
        texts = annotation["answers"]
        if len(texts) != 1 or not isinstance(texts[0], dict) or not isinstance(texts[0].get("answer"), str):
            raise DataError(f"item {index} has not exactly one answer", where=paths[1], remedy=_REMEDY)
        items.append(
            {
                **question,
                "alternative_situation": list(question.get("alternative_situation", [])),
                "answer": texts[0]["answer"],
                "position": _numbers(annotation.get("position"), ("x", "y", "z")),
                "rotation": _numbers(annotation.get("rotation"), ("_x", "_y", "_z", "_w")),
            }
        )
    return items


def _numbers(value: object, names: Sequence[str]) -> list[float]:
    """The values by name; [] if they are not complete and finite, since no metric needs them."""
    if not isinstance(value, dict) or not all(isinstance(value.get(name), int | float) for name in names):
        return []
    try:
        numbers = [float(value[name]) for name in names]
    except OverflowError:  # an integer beyond all floats
        return []
    return numbers if all(map(isfinite, numbers)) else []


def docs(items: list[Item], split: str, context: Context) -> list[Doc]:
    """Make a document of each question and its situation (`TaskSpec.docs`)."""
    return [
        {
            "task": NAME,
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
            "prompt": item.get("prompt") or _prompt(item["situation"], item["question"]),
        }
        for item in items
        if context.has_scene(item["scene_id"])
    ]


def questions(items: list[Item], split: str, context: Context) -> list[Question]:
    """Make a question of each alternative situation, then of the situation itself (`TaskSpec.questions`)."""
    return [
        Question(
            task=NAME,
            item_id=f"{item['question_id']}_{index}",
            scene_id=item["scene_id"],
            prompt=item.get("prompt") or _prompt(situation, item["question"]),
            answer=item["answer"],
        )
        for item in items
        if context.has_scene(item["scene_id"])
        for index, situation in enumerate([*item["alternative_situation"], item["situation"]])
    ]


def _prompt(situation: str, question: str) -> str:
    return SITUATED_PROMPT.format(situation=situation, question=question)


def read_processed(conversation: Conversation) -> list[Item]:
    """Read an item of a processed file (`ProcessedFiles.read`)."""
    return [
        {
            "scene_id": conversation.scene_id,
            "question_id": conversation.item["id"],
            "situation": "",
            "alternative_situation": [],
            "question": conversation.prompt.removeprefix(_BEFORE).removesuffix(_AFTER),
            "question_type": str(conversation.item["metadata"]["question_type"]),
            "answer": conversation.answer,
            "position": [],
            "rotation": [],
            "prompt": conversation.prompt,
        }
    ]


def write_processed(items: list[Item], split: str, context: Context) -> list[Item]:
    """Make the items of a processed file (`ProcessedFiles.write`)."""
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        metadata = {"dataset": NAME, "question_type": question_type_by_prefix(item["question"])}
        alternatives = item["alternative_situation"] if split == "train" else []
        for situation in [*alternatives, item["situation"]]:
            prompt, number = _prompt(situation, item["question"]), item["question_id"]
            result.append(conversation_item(number, item["scene_id"], prompt, item["answer"], metadata=metadata))
    return result


# Records and numbers


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """Make the record of a question (`TaskSpec.make_record`)."""
    status, answer = text_of(prediction, "answer")
    return {
        "id": str(doc["question_id"]),
        "scene_id": doc.get("scene_id", ""),
        "situation": doc.get("situation", ""),
        "question": doc["question"],
        "question_type": doc.get("question_type"),
        "reference": doc["answer"],
        "status": status,
        "answer": answer,
    }


def _types(record: Mapping[str, Any]) -> tuple[str, str]:
    """The question's type by its first word, and by its first letters.

    Video-3D-LLM's files state the latter. It is used for both if they hold situation and question as one text.
    """
    by_word = answers.question_type_by_first_word(record["question"])
    by_letters = question_type_by_prefix(record["question"])
    if (stated := record.get("question_type")) in answers.SQA3D_TYPES:
        by_word, by_letters = by_word if record.get("situation") else stated, stated
    return by_word, by_letters


def score_records(records: Sequence[Record], score: Scorer) -> Scores:
    """Compute the metrics (`TaskSpec.score_records`).

    The official `em` groups questions by the first word, `v3d_em` and `leo_` by the first letters.
    """
    known = [r for r in records if not r.get("extra")]
    lines = [r for r in known if r["status"] != "missing"]
    cleaned = {r["id"]: (clean_answer(r["answer"]), clean_answer(r["reference"])) for r in known}
    equal = {key: int(a == b) for key, (a, b) in cleaned.items()}
    types = {r["id"]: _types(r) for r in known}
    first_word, prefix = [t[0] for t in types.values()], {key: t[1] for key, t in types.items()}
    em = [equal[r["id"]] if r["status"] != "missing" else 0 for r in known]
    values = answers.by_type(em, first_word, "em")
    values |= answers.by_type([equal[r["id"]] for r in lines], [prefix[r["id"]] for r in lines], "v3d_em")
    for name, match in (
        ("leo_", answers.leo_match), ("llava3d_", answers.llava3d_match), ("chatscene_", answers.chatscene_match)
    ):  # fmt: skip
        pairs = [
            match(cleaned[r["id"]][0], [cleaned[r["id"]][1]]) if r["status"] != "missing" else (0, 0) for r in known
        ]
        values |= answers.by_type([p[0] for p in pairs], list(prefix.values()), f"{name}em")
        values |= answers.by_type([p[1] for p in pairs], list(prefix.values()), f"{name}em_refined")
    lenient = [answers.lenient_match(cleaned[r["id"]][0], r["reference"]) for r in lines]
    values["llm_acc"] = answers.percent(lenient + [0 for r in records if r.get("extra")])
    numbers = CorpusNumbers(score)
    numbers.add(lambda: _pairs(cleaned), "leo_", names=LEO_NAMES)
    numbers.add(lambda: ptb_tokenize_pairs(*_pairs(cleaned)), "chatscene_")
    counts = {kind: first_word.count(kind) for kind in answers.SQA3D_TYPES}
    return Scores({**values, **numbers.values}, counts, numbers.missing)


def _pairs(cleaned: Mapping[str, tuple[str, str]]) -> Pairs:
    return {key: a for key, (a, _) in cleaned.items()}, {key: [b] for key, (_, b) in cleaned.items()}


def item_score(record: Record) -> float:
    """Return 1 for an exact match, 0.5 for Chat-Scene's refined match, else 0."""
    return match_score(record, [record["reference"]])


# Files of predictions, report and viewer


def reference_doc(item: Mapping[str, Any]) -> Doc:
    """Make a document of a line of Video-3D-LLM's output (`PredictionFiles.reference_doc`).

    The line states the question's type, but not the question.
    """
    scene, sample = str(item.get("scene", "")), str(item.get("sample_id", ""))
    ids = {"question_id": sample, "scene_id": scene, "question": ""}
    return {**ids, "question_type": str(item.get("question_type", "")), "answer": item["gt_response"]}


def show(record: Record) -> dict[str, Any]:
    """Return the fields for the viewer (`TaskSpec.show`)."""
    return {
        "question": f"{record['situation']} {record['question']}".strip(),
        "answer": record["answer"],
        "expected": [str(record["reference"])],
        "verdict": "right" if item_score(record) == 1 else "wrong",
    }


PUBLISHED = {
    UNIFORM: {
        "v3d_em": 58.6,
        **{f"v3d_em_{n}": v for n, v in zip(answers.SQA3D_TYPES, (51.1, 72.4, 55.5, 69.8, 51.3, 56.0), strict=True)},
    },
    MAX_COVERAGE: {"v3d_em": 57.7},
    **peer_numbers(
        ("v3d_em",),
        {
            "GPT4Scene-HDM": (59.4,), "3DRS": (60.6,), "Ross3D": (63.0,), "VEGA-3D": (61.3,), "VeBrain": (61.6,),
            "LLaVA-3D": (60.1,), "Chat-Scene": (54.6,), "LEO": (50.0,),
        },
    ),
}  # fmt: skip

TASK = TaskSpec(
    name=NAME,
    files={
        split: (
            f"v1_balanced_questions_{split}_scannetv2.json",
            f"v1_balanced_sqa_annotations_{split}_scannetv2.json",
        )
        for split in ("train", "val", "test")
    },
    eval_split="test",
    read=read,
    docs=docs,
    doc_fields={
        "question_id": ID,
        "question": SENTENCE,
        "situation": SENTENCE,
        "answer": SENTENCE,
        "question_type?": kinds.NAME,
    },
    questions=questions,
    processed=ProcessedFiles("sqa3d_{}_llava_style.json", read_processed, write_processed),
    plain_prompt="{situation} {question}\nAnswer the question using a single word or phrase.",
    text_keys=("answer",),
    make_record=make_record,
    score_records=score_records,
    record_fields={"question": REFERENCE, "answer": SAID, "reference": REFERENCE},
    headline=("em",),
    metrics=(
        *(f"em{kind}" for kind in ("", *(f"_{n}" for n in answers.SQA3D_TYPES))),
        *("v3d_em", "leo_em_refined"),
        "count_missing",
    ),
    id_fields=(("question_id",), ("scene_id", "situation", "question")),
    predictions=PredictionFiles(reference_kind=REFERENCE, reference_doc=reference_doc),
    question_count=3519,
    published=PUBLISHED,
    bars=tuple((n, f"em_{n}") for n in answers.SQA3D_TYPES),
    example_fields=(
        ("situation", "situation"),
        ("question", "question"),
        ("prediction", "answer"),
        ("answer", "reference"),
    ),
    item_score=item_score,
    score_meaning="1 exact, 0.5 refined match",
    show=show,
)
