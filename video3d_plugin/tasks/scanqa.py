"""ScanQA (arXiv 2112.10482): answer a question about the scene.

ScanQA_v1.0_{train,val,test_w_obj,test_wo_obj}.json:

    {"scene_id": "scene0011_00", "question_id": "val-scene0011-0", "question": "What color is the chair?",
     "answers": ["dark brown", "brown"], "object_ids": [4, 5], "object_names": ["chair", "chair"]}

The two test splits have scene_id, question_id and question only.

Official scorer: https://github.com/ATR-DBI/ScanQA/blob/0a9f162/scripts/score.py
Prompt: LaVi-Lab/Video-3D-LLM 3ff70e8, scripts/3d/preprocessing/process_scanqa.py

Conventions by prefix: none official, `v3d_` Video-3D-LLM, `leo_` LEO, `llava3d_` LLaVA-3D, `chatscene_` Chat-Scene. A
missing answer, for which the official script fails, counts as an empty one in the metrics without a prefix.
Video-3D-LLM scores the lines of its output, so that `v3d_` metrics omit missing answers.

Fields of a document for scoring: question_id, scene_id, question, answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from video3d_plugin.metrics import answers
from video3d_plugin.metrics.answers import clean_answer
from video3d_plugin.metrics.java import ptb_tokenize_pairs
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.prompts import ANSWER_PROMPT
from video3d_plugin.scene import Question
from video3d_plugin.tasks.annotations import Context, Doc, Item, check_lists, read_items
from video3d_plugin.tasks.kinds import ID, REFERENCE, SAID, SENTENCE
from video3d_plugin.tasks.predictions import ParsedPrediction, is_text, text_of
from video3d_plugin.tasks.processed import Conversation, ProcessedFiles, conversation_item
from video3d_plugin.tasks.scoring import LEO_NAMES, CorpusNumbers, Pairs, Scores
from video3d_plugin.tasks.spec import PredictionFiles, Record, TaskSpec
from video3d_plugin.tasks.systems import MAX_COVERAGE, UNIFORM, peer_numbers

NAME = "scanqa"
_FIELDS = {"scene_id": str, "question_id": str, "question": str}
_HIDDEN = ("test_w_obj", "test_wo_obj")
_BEFORE, _AFTER = ANSWER_PROMPT.split("{question}")


# Annotation files


def read(paths: Sequence[Path]) -> list[Item]:
    """Read the annotation file (`TaskSpec.read`); items of the test splits have no answers."""
    with_answers = "test_w" not in paths[0].name
    items = read_items(paths[0], {**_FIELDS, "answers": list} if with_answers else _FIELDS)
    for name, kind in (("answers", str), ("object_ids", int), ("object_names", str)):
        check_lists(items, name, kind, paths[0])
    return items


def docs(items: list[Item], split: str, context: Context) -> list[Doc]:
    """Make a document of each question (`TaskSpec.docs`); answers is empty in the test splits."""
    return [
        {
            "task": NAME,
            "split": split,
            "item_id": item["question_id"],
            "scene_id": item["scene_id"],
            "question_id": item["question_id"],
            "question": item["question"],
            "answers": list(item.get("answers", [])),
            "object_ids": list(item.get("object_ids", [])),
            "object_names": list(item.get("object_names", [])),
            "prompt": ANSWER_PROMPT.format(question=item["question"]),
        }
        for item in items
        if context.has_scene(item["scene_id"])
    ]


def questions(items: list[Item], split: str, context: Context) -> list[Question]:
    """Make a question of each answer (`TaskSpec.questions`), as the reference does for training."""
    return [
        Question(
            task=NAME,
            item_id=f"{item['question_id']}_{index}",
            scene_id=item["scene_id"],
            prompt=ANSWER_PROMPT.format(question=item["question"]),
            answer=answer,
        )
        for item in items
        if context.has_scene(item["scene_id"])
        for index, answer in enumerate(item.get("answers", []))
    ]


def read_processed(conversation: Conversation) -> list[Item]:
    """Read an item of a processed file (`ProcessedFiles.read`)."""
    question = conversation.prompt.removeprefix(_BEFORE).removesuffix(_AFTER)
    texts = [str(value) for value in conversation.item["metadata"].get("answers", [conversation.answer])]
    number = question_id_of_sample(str(conversation.item["id"]))
    return [{"scene_id": conversation.scene_id, "question_id": number, "question": question, "answers": texts}]


def question_id_of_sample(sample_id: str) -> str:
    """Convert the id of an answer (scanqa_val-scene0011-0_1) to that of its question (val-scene0011-0)."""
    prefix = f"{NAME}_"
    return sample_id.removeprefix(prefix).rsplit("_", 1)[0] if sample_id.startswith(prefix) else sample_id


def join_answers(items: list[Item]) -> list[Item]:
    """Merge the answers of a question: processed training files have an item for each answer."""
    by_id: dict[Any, Item] = {}
    for item in items:
        if (first := by_id.setdefault(item["question_id"], item)) is not item:
            first["answers"] += item["answers"]
    return list(by_id.values())


def write_processed(items: list[Item], split: str, context: Context) -> list[Item]:
    """Make the items of a processed file (`ProcessedFiles.write`): every answer for training, else the first one."""
    result = []
    for item in items:
        if not context.has_scene(item["scene_id"]):
            continue
        texts = item.get("answers", [])
        for index, answer in enumerate(texts if split == "train" else texts[:1]):
            metadata = {"dataset": "scanQA", "question_type": "unknow"}  # spelled so in the reference's files
            if split != "train":
                metadata["answers"] = texts
            number, prompt = f"{NAME}_{item['question_id']}_{index}", ANSWER_PROMPT.format(question=item["question"])
            result.append(conversation_item(number, item["scene_id"], prompt, answer, metadata=metadata))
    return result


# Records and numbers


def make_record(doc: Mapping[str, Any], prediction: ParsedPrediction) -> Record:
    """Make the record of a question (`TaskSpec.make_record`), with `answers_top10` if the model ranks answers."""
    status, answer = text_of(prediction, "answer")
    value = prediction.fields.get("answers") if prediction.fields is not None else None
    ranked = value if isinstance(value, list | tuple) else [value] if value is not None else []
    top10 = [str(a) for a in ranked[:10]] if all(a is not None and is_text(a) for a in ranked[:10]) else []
    if ranked and not top10:
        answer, status = "", "unreadable"
    elif top10:
        answer, status = top10[0], "ok" if top10[0].strip() else "empty"
    return {
        "id": str(doc["question_id"]),
        "scene_id": doc.get("scene_id", ""),
        "question": doc.get("question", ""),
        "answers": list(doc.get("answers") or ()),
        "status": status,
        "answer": answer,
        "answers_top10": top10 or None,
    }


def score_records(records: Sequence[Record], score: Scorer) -> Scores:
    """Compute the metrics (`TaskSpec.score_records`)."""
    known = [r for r in records if not r.get("extra") and r["answers"]]
    lines = [r for r in known if r["status"] != "missing"]
    ranked = bool(known) and all(r["answers_top10"] for r in known)
    em = {r["id"]: answers.exact_match(r["answer"], r["answers"]) for r in known}
    values: dict[str, float | None] = {
        "em@1": answers.percent(list(em.values())),
        "em@10": answers.percent([int(bool(set(r["answers_top10"]) & set(r["answers"]))) for r in known])
        if ranked
        else None,
        "v3d_em": answers.percent([em[r["id"]] for r in lines]),
    }
    for kind in answers.SCANQA_TYPES:
        of_kind = [em[r["id"]] for r in known if answers.scanqa_question_type(r["question"]) == kind]
        values[f"em@1_{kind}"] = answers.percent(of_kind)
    missing = {} if ranked else {"em@10": "not every answer is a ranked list"}
    values |= _refined(known, "leo_", answers.leo_match, clean_answer, clean_answer)
    values |= _refined(known, "llava3d_", answers.llava3d_match, clean_answer, clean_answer)
    values |= _refined(known, "chatscene_", answers.chatscene_match, _chatscene_clean, str)
    numbers = CorpusNumbers(score)
    numbers.add(lambda: ptb_tokenize_pairs(*_pairs(known, str, str)), "")
    numbers.add(lambda: _pairs(lines, lambda a: a.rstrip("."), str), "v3d_")
    numbers.add(lambda: _pairs(known, clean_answer, clean_answer), "leo_", names=LEO_NAMES)
    numbers.add(lambda: ptb_tokenize_pairs(*_pairs(known, clean_answer, clean_answer)), "llava3d_")
    numbers.add(lambda: ptb_tokenize_pairs(*_pairs(known, _chatscene_clean, str)), "chatscene_")
    counts = {"without_reference": sum(not r["answers"] for r in records)}
    return Scores({**values, **numbers.values}, counts, {**missing, **numbers.missing})


def _chatscene_clean(answer: str) -> str:
    return clean_answer(answers.chatscene_prepare(answer))


def _refined(
    records: Sequence[Record],
    prefix: str,
    match: Callable[[str, list[str]], tuple[int, int]],
    clean: Callable[[str], str],
    clean_reference: Callable[[str], str],
) -> dict[str, float | None]:
    """EM and refined EM. A missing answer is wrong, though an empty text is contained in every reference."""
    wrong = (0, 0)
    pairs = [
        wrong if r["status"] == "missing" else match(clean(r["answer"]), [clean_reference(a) for a in r["answers"]])
        for r in records
    ]
    return {
        f"{prefix}em": answers.percent([p[0] for p in pairs]),
        f"{prefix}em_refined": answers.percent([p[1] for p in pairs]),
    }


def _pairs(records: Sequence[Record], clean: Callable[[str], str], clean_reference: Callable[[str], str]) -> Pairs:
    return (
        {r["id"]: clean(r["answer"]) for r in records},
        {r["id"]: [clean_reference(a) for a in r["answers"]] for r in records},
    )


def item_score(record: Record) -> float:
    """Return 1 for an exact match, 0.5 for Chat-Scene's refined match, else 0."""
    if record["status"] == "missing":
        return 0.0
    refined = answers.chatscene_match(clean_answer(record["answer"]), [clean_answer(a) for a in record["answers"]])[1]
    return 1.0 if answers.exact_match(record["answer"], record["answers"]) else 0.5 * refined


# Files of predictions, report and viewer


def read_value(value: Any) -> Any:
    """Convert the value of `prediction` in a file: a list holds ranked answers."""
    return {"answers": value} if isinstance(value, list) else value


def submission(doc: Doc, prediction: Any) -> dict[str, Any]:
    """Make an item of the prediction file for the benchmark's server (ScanQA's README)."""
    answer = "" if isinstance(prediction, dict) else prediction
    return {"scene_id": doc["scene_id"], "question_id": doc["question_id"], "answer_top10": [answer]}


def show(record: Record) -> dict[str, Any]:
    """Return the fields for the viewer (`TaskSpec.show`)."""
    return {
        "question": record["question"],
        "answer": record["answer"],
        "expected": [str(text) for text in record["answers"]],
        "verdict": "right" if item_score(record) == 1 else "wrong",
    }


_V3D = ("v3d_em", "v3d_bleu4", "v3d_meteor", "v3d_rouge", "v3d_cider")
PUBLISHED = {
    UNIFORM: dict(zip(_V3D, (30.10, 16.17, 19.84, 49.02, 102.06), strict=True)),
    MAX_COVERAGE: dict(zip(_V3D, (29.50, 16.28, 19.36, 48.19, 100.54), strict=True)),
    **peer_numbers(
        ("v3d_cider", "v3d_em"),
        {
            "GPT4Scene-HDM": (96.3, None), "3DRS": (104.8, 30.3), "Ross3D": (107.0, 30.8), "VEGA-3D": (106.3, 30.4),
            "VeBrain": (101.5, None), "LLaVA-3D": (None, 30.6), "VG-LLM-8B (RGB only)": (98.6, 27.3),
            "Chat-Scene": (87.7, 21.6), "LEO": (101.4, 21.5),
        },
    ),
}  # fmt: skip

TASK = TaskSpec(
    name=NAME,
    files={split: (f"ScanQA_v1.0_{split}.json",) for split in ("train", "val", *_HIDDEN)},
    hidden_splits=_HIDDEN,
    read=read,
    docs=docs,
    doc_fields={"question_id": ID, "question": SENTENCE, "answers": [SENTENCE]},
    questions=questions,
    processed=ProcessedFiles("scanqa_{}_llava_style.json", read_processed, write_processed, join_answers),
    plain_prompt="{question}\nAnswer the question simply.",
    text_keys=("answer", "answers"),
    make_record=make_record,
    score_records=score_records,
    record_fields={"question": REFERENCE, "answers": [REFERENCE], "answer": SAID, "answers_top10": ([SAID], None)},
    headline=("em@1", "bleu4", "meteor", "rouge", "cider"),
    main_metric="cider",
    metrics=(
        *("em@1", "bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge", "cider", "leo_em_refined"),
        *_V3D,
        "count_missing",
    ),
    id_fields=(("question_id",),),
    predictions=PredictionFiles(
        official_names={"answer_top10": "answers", "pred_answers_at10": "answers"},
        read_value=read_value,
        sample_key=question_id_of_sample,
        extra_record=lambda flags: {"answers": []},
    ),
    submission=submission,
    question_count=4675,
    published=PUBLISHED,
    bars=tuple((f"EM@1, {kind.replace('_', ' ')}", f"em@1_{kind}") for kind in answers.SCANQA_TYPES),
    example_fields=(("question", "question"), ("prediction", "answer"), ("answers", "answers")),
    item_score=item_score,
    score_meaning="1 exact, 0.5 refined match",
    show=show,
)
