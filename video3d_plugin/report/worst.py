"""Which examples to look at: the lowest scores of a task, spread over the questions where many are equally bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from video3d_plugin.metrics import answers
from video3d_plugin.metrics.answers import clean_answer
from video3d_plugin.metrics.captions import official_pairs
from video3d_plugin.metrics.ngrams import Scorer
from video3d_plugin.metrics.task_grounding import plain_choice
from video3d_plugin.metrics.task_text import captioned


def item_scores(task: str, records: Sequence[Mapping]) -> dict[str, float]:
    """{id: score}, higher is better; what each means: `MEANING`."""
    if task == "scan2cap":
        return _cider(records)
    return {record["id"]: _SCORES[task](record) for record in records}


MEANING = {
    "scanrefer": "IoU",
    "multi3drefer": "F1@0.25",
    "scan2cap": "CIDEr x 10 of the official sentence",
    "scanqa": "1 exact, 0.5 refined match",
    "sqa3d": "1 exact, 0.5 refined match",
}


def _scanqa(record: Mapping) -> float:
    if record["status"] == "missing":
        return 0.0
    refined = answers.chatscene_match(clean_answer(record["answer"]), [clean_answer(a) for a in record["answers"]])[1]
    return 1.0 if answers.exact_match(record["answer"], record["answers"]) else 0.5 * refined


def _sqa3d(record: Mapping) -> float:
    exact, refined = answers.chatscene_match(clean_answer(record["answer"]), [clean_answer(record["reference"])])
    return 0.0 if record["status"] == "missing" else max(float(exact), 0.5 * refined)


_SCORES: dict[str, Callable[[Mapping], float]] = {
    "scanrefer": lambda record: record["iou"],
    "multi3drefer": lambda record: plain_choice(record)["m3dref"][0] if record["status"] != "missing" else 0.0,
    "scanqa": _scanqa,
    "sqa3d": _sqa3d,
}


def _cider(records: Sequence[Mapping]) -> dict[str, float]:
    hypotheses, references = official_pairs([captioned(record) for record in records])
    scores = Scorer(without_meteor="one item's score")(hypotheses, references).items["cider"]
    return {} if scores is None else dict(zip(hypotheses, map(float, scores), strict=True))


def worst(task: str, records: Sequence[Mapping], count: int = 12) -> list[tuple[Mapping, float]]:
    """The `count` lowest, by score and then by id; of those that tie at the last place, some from everywhere."""
    if count <= 0:
        return []
    known = {record["id"]: record for record in records if not record.get("extra")}
    scores = item_scores(task, list(known.values()))
    ordered = sorted(scores, key=lambda key: (scores[key], key))
    if len(ordered) > count:
        limit = scores[ordered[count - 1]]
        below = [key for key in ordered if scores[key] < limit]
        tied = [key for key in ordered if scores[key] == limit]
        wanted = count - len(below)
        ordered = below + [tied[i * len(tied) // wanted] for i in range(wanted)]
    return [(known[key], scores[key]) for key in ordered]
