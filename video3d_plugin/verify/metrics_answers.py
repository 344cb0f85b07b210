"""Goldens of ScanQA and SQA3D: the official evaluators, LEO, LLaVA-3D, Chat-Scene and Video-3D-LLM."""

from __future__ import annotations

from collections.abc import Callable

from video3d_plugin.metrics import answers
from video3d_plugin.metrics.answers import SQA3D_TYPES, clean_answer
from video3d_plugin.metrics.java import JavaMissing, ptb_tokenize, ptb_tokenize_pairs
from video3d_plugin.metrics.ngrams import CorpusScores, Scorer, length_ratio
from video3d_plugin.verify.metrics_captions import coco_names, per_item
from video3d_plugin.verify.metrics_sheet import Sheet

Pairs = tuple[dict[str, str], dict[str, list[str]]]


def _pairs(items: list[dict], clean: Callable, clean_reference: Callable) -> Pairs:
    hypotheses = {str(i): clean(item["pred"]) for i, item in enumerate(items)}
    return hypotheses, {str(i): [clean_reference(a) for a in item["answers"]] for i, item in enumerate(items)}


def _chatscene_clean(text: str) -> str:
    return clean_answer(answers.chatscene_prepare(text))


def verify_scanqa(sheet: Sheet, score: Scorer) -> None:
    """Recompute ScanQA's golden.

    Args:
        sheet: The golden.
        score: Scorer of the n-gram metrics.
    """
    items = sheet.at("items")
    v3d = score(*_pairs(items, lambda a: a.rstrip("."), str))
    try:
        pairs = ptb_tokenize_pairs(*_pairs(items, str, str))
        official, no_ptb = score(*pairs), None
        sheet.check(
            "ptb",
            dict(zip(sheet.at("ptb_strings"), ptb_tokenize(list(sheet.at("ptb_strings"))), strict=True)),
            "ptb_strings",
        )
    except JavaMissing as error:
        pairs, official, no_ptb = None, None, str(error)
        sheet.skip(no_ptb, "ptb_strings")
    for i, item in enumerate(items):
        _scanqa_item(sheet, i, item, v3d, official, pairs, no_ptb)
    _scanqa_official(sheet, items, official, no_ptb)
    _scanqa_v3d(sheet, score, items, "values", v3d)
    _scanqa_v3d(sheet, score, items[5:], "missing_first_5", None)
    _scanqa_leo(sheet, score, items)
    _scanqa_pycoco(sheet, score, "LLaVA3D", items, answers.llava3d_match, clean_answer, clean_answer)
    _scanqa_pycoco(sheet, score, "ChatScene", items, answers.chatscene_match, _chatscene_clean, str)


def _scanqa_item(sheet: Sheet, i: int, item: dict, v3d, official, pairs, no_ptb: str | None) -> None:
    cleaned, references = clean_answer(item["pred"]), [clean_answer(a) for a in item["answers"]]
    golden = item["expected"]
    computed = {
        "official_em1_em10": [
            answers.exact_match(item["pred_top10"][0], item["answers"]),
            int(bool(set(item["pred_top10"]) & set(item["answers"]))),
        ],
        "leo_em_emr": answers.leo_match(cleaned, references),
        "llava3d_em_emr": answers.llava3d_match(cleaned, references),
        "clean_answer_pred": cleaned,
        "clean_answer_refs": references,
        "v3d_per_item": per_item(v3d, i, golden["v3d_per_item"]),
    }
    path = ("items", i, "expected")
    sheet.check("per item", computed, *path, missing=v3d.missing.get("meteor"))
    for name in ("official_per_item", "ptb_pred", "ptb_answers"):
        if official is None:
            sheet.skip(no_ptb, *path, name)
    if official is not None:
        tokenized = {
            "official_per_item": per_item(official, i, golden["official_per_item"]),
            "ptb_pred": [pairs[0][str(i)]],
            "ptb_answers": pairs[1][str(i)],
        }
        sheet.check("per item", tokenized, *path, missing=official.missing.get("meteor"))


def _percent(values: list[int]) -> float:
    return 100 * sum(values) / len(values)


def _scanqa_official(sheet: Sheet, items: list[dict], official: CorpusScores | None, no_ptb: str | None) -> None:
    root = ("expected", "official_ScanQA_score_py_percent")
    em = {
        "Top1 (EM)": _percent([answers.exact_match(i["pred_top10"][0], i["answers"]) for i in items]),
        "Top10 (EM)": _percent([int(bool(set(i["pred_top10"]) & set(i["answers"]))) for i in items]),
    }
    sheet.check("official, EM", em, *root, "EM")
    if official is None:
        sheet.skip(no_ptb, *root, "pycoco")
    else:
        named = {k: None if v is None else 100 * v for k, v in coco_names(official).items()}
        sheet.check("official, n-grams", named, *root, "pycoco", missing=official.missing.get("meteor"))
    reason = "the original stops with an exception; here it scores as wrong and is counted"
    sheet.skip(reason, *root, "empty_prediction")
    sheet.skip(reason, *root, "missing_prediction")


def _scanqa_v3d(sheet: Sheet, score: Scorer, items: list[dict], variant: str, scores: CorpusScores | None) -> None:
    pairs = _pairs(items, lambda a: a.rstrip("."), str)
    scores = scores or score(*pairs)
    meteor = scores.corpus["meteor"]
    computed = {
        "ratio": length_ratio(*pairs),
        "count": len(items),
        "CIDER": 100 * scores.corpus["cider"],
        "BLEU": [100 * scores.corpus[f"bleu{n}"] for n in (1, 2, 3, 4)],
        "METEOR": None if meteor is None else 100 * meteor,
        "Rouge": 100 * scores.corpus["rouge"],
        "EM": _percent([answers.exact_match(i["pred"], i["answers"]) for i in items]) / 100,
    }
    reason = scores.missing.get("meteor")
    sheet.check(f"v3d, {variant}", computed, "expected", "video3dllm", variant, missing=reason)


def _scanqa_leo(sheet: Sheet, score: Scorer, items: list[dict]) -> None:
    pairs = _pairs(items, clean_answer, clean_answer)
    scores = score(*pairs)
    em, refined = zip(*(answers.leo_match(h, pairs[1][k]) for k, h in pairs[0].items()), strict=True)
    computed = {
        "em": _percent(em) / 100,
        "em_refined": _percent(refined) / 100,
        "target_metric": _percent(refined) / 100,
        **_leo_names(scores),
    }
    sheet.check("leo", computed, "expected", "LEO", missing=scores.missing.get("meteor"))


def _leo_names(scores: CorpusScores, suffix: str = "") -> dict[str, float | None]:
    named = {"cider": "cider", "bleu": "bleu4", "meteor": "meteor", "rouge": "rouge"}
    return {f"{theirs}{suffix}": scores.corpus[ours] for theirs, ours in named.items()}


def _scanqa_pycoco(sheet: Sheet, score: Scorer, system: str, items, match, clean, clean_reference) -> None:
    """Recompute LLaVA-3D (91d979d), which cleans both sides, or Chat-Scene (475e106), which cleans predictions only."""
    pairs = _pairs(items, clean, clean_reference)
    em, refined = zip(*(match(h, pairs[1][k]) for k, h in pairs[0].items()), strict=True)
    computed = {"[scanqa] EM1": _percent(em) / 100, "[scanqa] EM1_refined": _percent(refined) / 100}
    reason = _add_pycoco(computed, "scanqa", lambda: score(*ptb_tokenize_pairs(*pairs)))
    sheet.check(system.lower(), computed, "expected", system, missing=reason)


def _add_pycoco(computed: dict, task: str, run: Callable[[], CorpusScores]) -> str | None:
    """Add the n-gram scores after PTB tokenization, None where Java is missing; return the reason for missing ones."""
    try:
        scores = run()
    except JavaMissing as error:
        names = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
        computed.update(dict.fromkeys(f"[{task}] {name}" for name in names))
        return str(error)
    computed.update({f"[{task}] {name}": value for name, value in coco_names(scores).items()})
    return scores.missing.get("meteor")


def verify_sqa3d(sheet: Sheet, score: Scorer) -> None:
    """Recompute SQA3D's golden.

    Args:
        sheet: The golden.
        score: Scorer of the n-gram metrics.
    """
    items = [{**item, "answers": [item["answer"]]} for item in sheet.at("items")]
    sheet.check("clean_answer", {text: clean_answer(text) for text in sheet.at("clean_answer")}, "clean_answer")
    _question_types(sheet)
    cleaned = [(clean_answer(i["pred"]), clean_answer(i["answer"])) for i in items]
    lenient = [answers.lenient_match(p, i["answer"]) for (p, _), i in zip(cleaned, items, strict=True)]
    types = [answers.question_type_by_prefix(i["question"]) for i in items]
    for i, (pair, kind) in enumerate(zip(cleaned, types, strict=True)):
        computed = {
            "official_llm_correct": lenient[i],
            "leo_em_emr": answers.leo_match(pair[0], [pair[1]]),
            "v3d_em": int(pair[0] == pair[1]),
            "type": SQA3D_TYPES.index(kind),
        }
        sheet.check("per item", computed, "items", i, "expected")
    _sqa3d_lenient(sheet, lenient)
    numbers = answers.by_type([int(a == b) for a, b in cleaned], types, "all")
    named = {name.removeprefix("all_"): value for name, value in numbers.items() if value is not None}
    sheet.check("v3d", named, "expected", "video3dllm_percent", "values")
    _sqa3d_systems(sheet, score, items, cleaned, types)


def _question_types(sheet: Sheet) -> None:
    name = "question_type_prefix_rule_LEO_video3dllm"
    sheet.check("question type by prefix", {q: answers.question_type_by_prefix(q) for q in sheet.at(name)}, name)
    name = "question_type_first_word_rule_official_MCAN"
    for question, golden in sheet.at(name).items():
        if isinstance(golden, str):
            sheet.skip(
                'the original stops with an exception; here an empty question is of type "others"', name, question
            )
            continue
        kind = SQA3D_TYPES.index(answers.question_type_by_first_word(question))
        sheet.check("question type by first word", kind, name, question)


def _sqa3d_lenient(sheet: Sheet, lenient: list[int]) -> None:
    """Recompute SQA3D's script for language models, which counts an answer to an unknown question as wrong."""
    variants = {"all": lenient, "first_150_only": lenient[:150], "with_unknown": [*lenient, 0]}
    root = ("expected", "official_SQA3D_LLM_compute_accuracy")
    for variant, values in variants.items():
        if variant not in sheet.at(*root):
            continue
        correct, total = sum(values), len(values)
        accuracy = correct / total
        printed = f"Acc: {correct}/{total} = {accuracy:.4f}"
        computed = {"printed": printed, "correct": correct, "total": total, "acc": accuracy}
        sheet.check(f"official script for language models, {variant}", computed, *root, variant)


def _sqa3d_systems(sheet: Sheet, score: Scorer, items, cleaned, types) -> None:
    """LEO and its descendants. Their counts start at 1e-10, which shifts a type's number by up to 1e-10."""
    pairs = {str(i): p for i, (p, _) in enumerate(cleaned)}, {str(i): [r] for i, (_, r) in enumerate(cleaned)}
    matched = [answers.leo_match(p, [r]) for p, r in cleaned]
    scores = score(*pairs)
    leo = {f"{name}_type{t}": v for name, t, v in _type_numbers(matched, types)}
    overall = [sum(m[k] for m in matched) / len(matched) for k in (0, 1)]
    leo |= {"em_overall": overall[0], "em_refined_overall": overall[1], "target_metric": overall[1]}
    leo |= _leo_names(scores, "_overall")
    sheet.check("leo", leo, "expected", "LEO", missing=scores.missing.get("meteor"))
    for system, match in (("LLaVA3D", answers.llava3d_match), ("ChatScene", answers.chatscene_match)):
        matched = [match(p, [r]) for p, r in cleaned]
        renamed = {"em": "EM", "em_refined": "EM_refined"}
        computed = {f"[sqa3d] {renamed[name]}_type{t}": v for name, t, v in _type_numbers(matched, types)}
        for k, name in enumerate(("EM1", "EM1_refined")):
            computed[f"[sqa3d] {name}"] = sum(m[k] for m in matched) / len(matched)
        reason = (
            _add_pycoco(computed, "sqa3d", lambda: score(*ptb_tokenize_pairs(*pairs)))
            if system == "ChatScene"
            else None
        )
        sheet.check(system.lower(), computed, "expected", system, missing=reason)


def _type_numbers(matched: list[tuple[int, int]], types: list[str]):
    for k, name in enumerate(("em", "em_refined")):
        for t, kind in enumerate(SQA3D_TYPES):
            of_kind = [m[k] for m, of in zip(matched, types, strict=True) if of == kind]
            yield name, t, sum(of_kind) / len(of_kind) if of_kind else 0.0
