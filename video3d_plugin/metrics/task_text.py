"""Scan2Cap, ScanQA and SQA3D as tasks: from an evaluation document and a prediction to a record, and to numbers.

Conventions by prefix: none official, `v3d_` Video-3D-LLM, `leo_` LEO, `llava3d_` LLaVA-3D, `chatscene_` Chat-Scene,
`llm_` SQA3D's script for language models, `benchmark_` Scan2Cap's benchmark form. See `captions` and `answers`.

A missing answer, on which ScanQA's official script stops, counts as an empty one in the plain numbers; Video-3D-LLM
scores the lines it finds, so `v3d_` leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema import Text, fits
from video3d_plugin.metrics import answers, captions
from video3d_plugin.metrics.answers import clean_answer
from video3d_plugin.metrics.boxes import LARGEST_M, as_box, iou
from video3d_plugin.metrics.java import JavaMissing, ptb_tokenize_pairs
from video3d_plugin.metrics.ngrams import NAMES, Scorer
from video3d_plugin.metrics.scan2cap_benchmark import BenchmarkCaption, BenchmarkObject, benchmark
from video3d_plugin.metrics.task_base import LONGEST_ANSWER, Scores, Task, Unpacked

LEO_NAMES = ("bleu4", "meteor", "rouge", "cider")
Pairs = tuple[dict[str, str], dict[str, list[str]]]


class _Numbers:
    """Collects values and the reasons for missing ones over several corpora."""

    def __init__(self, score: Scorer) -> None:
        self.score = score
        self.values: dict[str, float | None] = {}
        self.missing: dict[str, str] = {}

    def add(self, pairs: Callable[[], Pairs], prefix: str, suffix: str = "", names: Sequence[str] = NAMES) -> None:
        """Score the corpus that `pairs` makes; where making it needs a Java that is not there, all of it is missing."""
        try:
            scores = self.score(*pairs())
        except JavaMissing as error:
            gone = [f"{prefix}{name}{suffix}" for name in names]
            self.values.update(dict.fromkeys(gone))
            self.missing.update(dict.fromkeys(gone, str(error)))
            return
        self.values.update(scores.named(prefix, suffix, names))
        self.missing.update({k: v for k, v in scores.why(prefix, suffix).items() if k in self.values})


def _text_of(prediction: Unpacked, key: str) -> tuple[str, str]:
    """Status and text; a mapping holds it under `key`."""
    if prediction.is_missing:
        return "missing", ""
    text = prediction.text if prediction.fields is None else prediction.fields.get(key)
    if not is_words(text):
        return "unreadable", ""
    text = "" if text is None else str(text)
    return ("ok" if text.strip() else "empty"), text


def is_words(value: object) -> bool:
    """Whether a value is text short enough to be scored, a number (an answer may be 5), or nothing."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value is None or abs(value) < LARGEST_M
    return isinstance(value, str) and len(value) <= LONGEST_ANSWER


# Scan2Cap


def scan2cap_record(doc: Mapping, prediction: Unpacked) -> dict:
    """The caption counts for the box it came with or, where it came as mere text, for the box the model was given."""
    status, caption = _text_of(prediction, "caption")
    given = prediction.fields if prediction.fields is not None and "box" in prediction.fields else None
    box = given["box"] if given is not None else doc.get("input_box", doc.get("box"))
    tokens = None if prediction.fields is None else prediction.fields.get("tokens")
    try:
        box = None if box is None else as_box(box, "caption's box").tolist()
        if tokens is not None and not fits(tokens, [Text(512)]):
            raise DataError("the caption's tokens are no list of words")
    except DataError:
        box, status, tokens = None, "unreadable", None
    object_name = doc.get("object_name", "")
    record = {
        "id": f"{doc['scene_id']}|{doc['object_id']}|{object_name}",
        "scene_id": doc["scene_id"],
        "object_id": str(doc["object_id"]),
        "object_name": object_name,
        "status": status,
        "caption": caption,
        "box": box,
        "gt_box": [float(v) for v in doc["gt_box"]],
        "iou": None if box is None else iou(box, doc["gt_box"]),
        "references": list(doc["references"]),
        "reference_tokens": _reference_tokens(doc),
    }
    if tokens is not None:
        record["tokens"] = list(tokens)
    return record


def _reference_tokens(doc: Mapping) -> list[list[str]]:
    """The annotation file's tokens; where a description has none, it is split in their manner."""
    tokens = doc.get("reference_tokens", doc.get("token")) or [None] * len(doc["references"])
    return [list(t or captions.scanrefer_tokens(text)) for t, text in zip(tokens, doc["references"], strict=True)]


def captioned(record: Mapping) -> captions.Captioned:
    return captions.Captioned(
        key=record["id"],
        caption=record["caption"],
        iou=record["iou"],
        descriptions=record["references"],
        reference_tokens=record["reference_tokens"],
        tokens=record.get("tokens"),
    )


def scan2cap_scores(records: Sequence[dict], score: Scorer) -> Scores:
    known = [r for r in records if not r.get("extra")]
    items = [captioned(r) for r in known]
    lines = [captioned(r) for r in known if r["status"] != "missing"]
    numbers = _Numbers(score)
    for at in (0.5, 0.25):
        numbers.add(partial(captions.official_pairs, items, at), "", f"@{at:g}")
    numbers.add(lambda: captions.v3d_pairs(lines), "v3d_", "@0.5")
    numbers.add(lambda: captions.leo_pairs(items), "leo_", "@0.5", LEO_NAMES)
    for at in (0.5, 0.25):
        numbers.add(partial(captions.chatscene_pairs, items, at), "chatscene_", f"@{at:g}")
    values, missing = benchmark(*_benchmark_inputs(known), score)
    counts = {"no_box": sum(r["box"] is None for r in known)}
    return Scores({**numbers.values, **values}, counts, {**numbers.missing, **missing})


def _benchmark_inputs(records: Sequence[dict]) -> tuple[dict[str, list[BenchmarkCaption]], list[BenchmarkObject]]:
    """Each caption with a box is a prediction of its scene, each object is ground truth."""
    predictions: dict[str, list[BenchmarkCaption]] = {}
    for r in records:
        if r["box"] is not None and r["status"] != "missing":
            sentence = captions.official_sentence(captioned(r).caption_tokens())
            predictions.setdefault(r["scene_id"], []).append(BenchmarkCaption(r["box"], sentence))
    objects = [BenchmarkObject(r["scene_id"], r["object_id"], r["gt_box"], r["reference_tokens"]) for r in records]
    return predictions, objects


# ScanQA


def scanqa_record(doc: Mapping, prediction: Unpacked) -> dict:
    """`answers_top10`, best first, where the model ranks answers (official: EM@10)."""
    status, answer = _text_of(prediction, "answer")
    given = prediction.fields.get("answers") if prediction.fields is not None else None
    ranked = given if isinstance(given, list | tuple) else [given] if given is not None else []
    top10 = [str(a) for a in ranked[:10]] if all(a is not None and is_words(a) for a in ranked[:10]) else []
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


def scanqa_scores(records: Sequence[dict], score: Scorer) -> Scores:
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
        chosen = [em[r["id"]] for r in known if answers.scanqa_question_type(r["question"]) == kind]
        values[f"em@1_{kind}"] = answers.percent(chosen)
    missing = {} if ranked else {"em@10": "not every answer is a ranked list"}
    values |= _refined(known, "leo_", answers.leo_match, clean_answer, clean_answer)
    values |= _refined(known, "llava3d_", answers.llava3d_match, clean_answer, clean_answer)
    values |= _refined(known, "chatscene_", answers.chatscene_match, _chatscene_clean, str)
    numbers = _Numbers(score)
    numbers.add(lambda: ptb_tokenize_pairs(*_answer_pairs(known, str, str)), "")
    numbers.add(lambda: _answer_pairs(lines, lambda a: a.rstrip("."), str), "v3d_")
    numbers.add(lambda: _answer_pairs(known, clean_answer, clean_answer), "leo_", names=LEO_NAMES)
    numbers.add(lambda: ptb_tokenize_pairs(*_answer_pairs(known, clean_answer, clean_answer)), "llava3d_")
    numbers.add(lambda: ptb_tokenize_pairs(*_answer_pairs(known, _chatscene_clean, str)), "chatscene_")
    counts = {"without_reference": sum(not r["answers"] for r in records)}
    return Scores({**values, **numbers.values}, counts, {**missing, **numbers.missing})


def _chatscene_clean(answer: str) -> str:
    return clean_answer(answers.chatscene_prepare(answer))


def _refined(
    records: Sequence[dict],
    prefix: str,
    match: Callable[[str, list[str]], tuple[int, int]],
    clean: Callable[[str], str],
    clean_reference: Callable[[str], str],
) -> dict[str, float | None]:
    """EM and refined EM. A missing answer is wrong: refined EM would find an empty one in any reference."""
    wrong = (0, 0)
    pairs = [
        wrong if r["status"] == "missing" else match(clean(r["answer"]), [clean_reference(a) for a in r["answers"]])
        for r in records
    ]
    return {
        f"{prefix}em": answers.percent([p[0] for p in pairs]),
        f"{prefix}em_refined": answers.percent([p[1] for p in pairs]),
    }


def _answer_pairs(records: Sequence[dict], clean: Callable[[str], str], clean_reference: Callable[[str], str]) -> Pairs:
    return (
        {r["id"]: clean(r["answer"]) for r in records},
        {r["id"]: [clean_reference(a) for a in r["answers"]] for r in records},
    )


# SQA3D


def sqa3d_record(doc: Mapping, prediction: Unpacked) -> dict:
    status, answer = _text_of(prediction, "answer")
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


def _sqa3d_types(record: Mapping) -> tuple[str, str]:
    """The question's type by its first word, and by its first letters.

    Video-3D-LLM's files state the second. Where they have situation and question in one text, it stands for both.
    """
    by_word = answers.question_type_by_first_word(record["question"])
    by_letters = answers.question_type_by_prefix(record["question"])
    if (stated := record.get("question_type")) in answers.SQA3D_TYPES:
        by_word, by_letters = by_word if record.get("situation") else stated, stated
    return by_word, by_letters


def sqa3d_scores(records: Sequence[dict], score: Scorer) -> Scores:
    """`em` by the first word of the question (official), `v3d_em` and `leo_` by its first letters."""
    known = [r for r in records if not r.get("extra")]
    lines = [r for r in known if r["status"] != "missing"]
    cleaned = {r["id"]: (clean_answer(r["answer"]), clean_answer(r["reference"])) for r in known}
    equal = {key: int(a == b) for key, (a, b) in cleaned.items()}
    types = {r["id"]: _sqa3d_types(r) for r in known}
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
    numbers = _Numbers(score)
    numbers.add(lambda: _reference_pairs(cleaned), "leo_", names=LEO_NAMES)
    numbers.add(lambda: ptb_tokenize_pairs(*_reference_pairs(cleaned)), "chatscene_")
    counts = {kind: first_word.count(kind) for kind in answers.SQA3D_TYPES}
    return Scores({**values, **numbers.values}, counts, numbers.missing)


def _reference_pairs(cleaned: Mapping[str, tuple[str, str]]) -> Pairs:
    return {key: a for key, (a, _) in cleaned.items()}, {key: [b] for key, (_, b) in cleaned.items()}


_CAPTION_SCORES = ("cider@0.5", "bleu4@0.5", "meteor@0.5", "rouge@0.5")
_ANSWER_SCORES = ("em@1", "bleu4", "meteor", "rouge", "cider")
scan2cap = Task("scan2cap", _CAPTION_SCORES, scan2cap_record, scan2cap_scores, text_keys=("caption",))
scanqa = Task("scanqa", _ANSWER_SCORES, scanqa_record, scanqa_scores, text_keys=("answer", "answers"))
sqa3d = Task("sqa3d", ("em",), sqa3d_record, sqa3d_scores, text_keys=("answer",))
