"""Baselines that do not look at a scene: answers guessed from the question's words, objects guessed from their class.

    for task, scores in baselines("rooms", "val").items(): print(task, scores)

They show how much a benchmark's questions give away.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from math import log
from pathlib import Path

from video3d_plugin.errors import MissingError
from video3d_plugin.metrics.answers import question_type_by_prefix
from video3d_plugin.mini.rooms.objects import COLORS, KINDS
from video3d_plugin.mini.rooms.question_kinds import question_kind

Scores = dict[str, float]
Item = tuple[str, str, list[str]]  # scene, text, right answers


def baselines(source_root: str | Path, split: str = "val") -> dict[str, Scores]:
    """Score the guesses on a split.

    With a train split in the same folder, guesses are learned from it; without one, from the other scenes of `split`.

    For scanqa and sqa3d: exact match of the most frequent answer to all questions ("questions"), to questions of the
    same template (object names and colours masked), to the same question in any room; and with a train split of naive
    Bayes on the words of situation and question. The scores by kind (`question_kinds`) end in "_KIND"; sqa3d has those
    by SQA3D's types too.

    For scanrefer: a random object, and a random object of the right class, on all and on "multiple".

    For multi3drefer: F1 of the answer "none", and of all objects of the right class; with a train split, how often
    naive Bayes tells none from some by the words (mean over both; 50 is chance).

    For scan2cap: CIDEr (x 100, all boxes right) of the description of another object: any, one of the same class, one
    of the same class and stated colour. Empty without pycocoevalcap (extra `eval`).

    Args:
        source_root: Folder that `make_benchmark` wrote.
        split: Name of the split.

    Returns:
        Percentages by task and guess.

    Raises:
        MissingError: If the split has no annotations.
    """
    root = Path(source_root)
    return {
        "scanqa": _scanqa(root, split),
        "sqa3d": _sqa3d(root, split),
        "scanrefer": _scanrefer(root, split),
        "multi3drefer": _multi3drefer(root, split),
        "scan2cap": _scan2cap(root, split),
    }


def read_annotations(root: Path, name: str, split: str):
    """Return the parsed official file of one benchmark.

    Args:
        root: Folder that `make_benchmark` wrote.
        name: Key of FILES.
        split: Name of the split.

    Raises:
        MissingError: If the file is not there.
    """
    sqa_split = {"val": "test"}.get(split, split)
    path = root / "annotations" / name.format(split=split, sqa=sqa_split)
    if not path.is_file():
        raise MissingError("no such annotation file", where=path, remedy="make_benchmark with 'annotations' in write")
    return json.loads(path.read_text())


FILES = {
    "scanrefer": "ScanRefer_filtered_{split}.json",
    "multi3drefer": "multi3drefer_{split}.json",
    "scanqa": "ScanQA_v1.0_{split}.json",
    "sqa3d_questions": "v1_balanced_questions_{sqa}_scannetv2.json",
    "sqa3d_annotations": "v1_balanced_sqa_annotations_{sqa}_scannetv2.json",
}
_NOUNS = sorted({n for k in KINDS.values() for n in (*k.nouns, k.plural)}, key=lambda n: (-len(n), n))
_NOUN, _COLOR = re.compile(rf"\b({'|'.join(_NOUNS)})\b"), re.compile(rf"\b({'|'.join(COLORS)})\b")


def template(question: str) -> str:
    """Return a question with object names and colours masked: what its form alone gives away.

    >>> template("What color is the red coffee table next to the bed?")
    'what color is the NOUN next to the NOUN?'
    """
    masked = _COLOR.sub("COLOR", _NOUN.sub("NOUN", _question(question)))
    return masked.replace("COLOR NOUN", "NOUN")


def _question(text: str) -> str:
    """The question alone, of "situation | question"."""
    return text.split(" | ")[-1].lower()


def most_frequent(
    learn: Iterable[Item],
    score: list[Item],
    key: Callable[[str], str],
    alone: bool,
) -> list[bool]:
    """Return for each item whether the most frequent answer to questions of the same key is right.

    Args:
        learn: Items (scene, question, answers) that answers are counted on.
        score: Items to score.
        key: Groups questions; a key that was not learned gets the most frequent answer of all.
        alone: `learn` is `score` itself: the item's own scene is left out of the counts.
    """
    by_key: dict[str, Counter] = defaultdict(Counter)
    by_scene: dict[tuple[str, str], Counter] = defaultdict(Counter)
    everything: Counter = Counter()
    for scene, question, answers in learn:
        by_key[key(question)][answers[0]] += 1
        by_scene[scene, key(question)][answers[0]] += 1
        everything[answers[0]] += 1
    right = []
    for scene, question, answers in score:
        counts = by_key[key(question)] - (by_scene[scene, key(question)] if alone else Counter())
        counts = counts or everything
        guess = min(counts, key=lambda a, c=counts: (-c[a], a)) if counts else ""
        right.append(guess in answers)
    return right


def naive_bayes(learn: Iterable[Item], score: list[Item]) -> list[bool]:
    """Return for each item whether the answer that naive Bayes predicts from words and word pairs is right.

    A stronger guess than `most_frequent`, since it weighs every word, but as blind.

    Args:
        learn: Items (scene, question, answers) to learn from; not those of `score`.
        score: Items to score.
    """
    words: dict[str, Counter] = defaultdict(Counter)
    prior: Counter = Counter()
    for _, text, answers in learn:
        words[answers[0]].update(_features(text))
        prior[answers[0]] += 1
    known = len({f for counts in words.values() for f in counts})
    total = {answer: counts.total() for answer, counts in words.items()}
    right = []
    for _, text, answers in score:
        features = _features(text)
        best = max(
            sorted(prior),
            default="",
            key=lambda a, f=features: (
                log(prior[a]) + sum(log((words[a][x] + 0.5) / (total[a] + 0.5 * known)) for x in f)
            ),
        )
        right.append(best in answers)
    return right


def _features(text: str) -> list[str]:
    single = re.findall(r"[a-z]+", text.lower())
    return single + [f"{a} {b}" for a, b in zip(single, single[1:], strict=False)]


def _percent(values: list) -> float:
    return round(100 * sum(values) / len(values), 2) if values else 0.0


def _text_scores(root: Path, split: str, task: str) -> tuple[Scores, dict[str, list[bool]], list[Item]]:
    """(scores of the guesses on all questions and by kind; by guess, which questions it gets right; the items)."""
    load = {"scanqa": load_scanqa, "sqa3d": load_sqa3d}[task]
    score = load(root, split)
    try:
        learn = load(root, "train") if split != "train" else score
    except MissingError:
        learn = score
    keys = {"most_frequent": lambda q: "", "per_template": template, "per_question": _question}
    right = {name: most_frequent(learn, score, key, learn is score) for name, key in keys.items()}
    if learn is not score:
        right["naive_bayes"] = naive_bayes(learn, score)
    scores: Scores = {"questions": len(score)} | {name: _percent(values) for name, values in right.items()}
    of, to_learn = _by_kind(task, score), _by_kind(task, learn)
    for kind in sorted(of):
        of_kind = [score[number] for number in of[kind]]
        scores[f"questions_{kind}"] = len(of_kind)
        scores[f"per_template_{kind}"] = _percent([right["per_template"][number] for number in of[kind]])
        if learn is not score:
            same = [learn[number] for number in to_learn.get(kind, [])]
            scores[f"naive_bayes_{kind}"] = _percent(naive_bayes(same, of_kind))
    return scores, right, score


def _by_kind(task: str, items: list[Item]) -> dict[str, list[int]]:
    """Indices of the items of each kind."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, (_, text, _) in enumerate(items):
        numbers[question_kind(task, _question(text))].append(number)
    return numbers


def load_scanqa(root: Path, split: str) -> list[Item]:
    """Read the questions of ScanQA with their answers."""
    items = read_annotations(root, FILES["scanqa"], split)
    return [(i["scene_id"], i["question"], i["answers"]) for i in items]


def load_sqa3d(root: Path, split: str) -> list[Item]:
    """Read the questions of SQA3D, each after its situation, with their answers."""
    questions = read_annotations(root, FILES["sqa3d_questions"], split)["questions"]
    answers = read_annotations(root, FILES["sqa3d_annotations"], split)["annotations"]
    return [
        (q["scene_id"], f"{q['situation']} | {q['question']}", [a["answers"][0]["answer"]])
        for q, a in zip(questions, answers, strict=True)
    ]


def _scanqa(root: Path, split: str) -> Scores:
    return _text_scores(root, split, "scanqa")[0]


def _sqa3d(root: Path, split: str) -> Scores:
    scores, right, items = _text_scores(root, split, "sqa3d")
    kinds = [question_type_by_prefix(_question(text)) for _, text, _ in items]
    for kind in sorted(set(kinds)):
        scores[f"per_template_{kind}"] = _percent(
            [r for r, k in zip(right["per_template"], kinds, strict=True) if k == kind]
        )
    return scores


def _objects(root: Path, scene_id: str) -> Counter:
    """Number of objects of each class in a scene, without the shell, from its aggregation file."""
    path = root / "scans" / scene_id / f"{scene_id}.aggregation.json"
    if not path.is_file():
        raise MissingError("no aggregation file", where=path, remedy="make_benchmark with 'mesh' in write")
    groups = json.loads(path.read_text())["segGroups"]
    return Counter(group["label"] for group in groups if group["label"] not in ("wall", "floor"))


def _scanrefer(root: Path, split: str) -> Scores:
    items = read_annotations(root, FILES["scanrefer"], split)
    counts = {scene: _objects(root, scene) for scene in sorted({i["scene_id"] for i in items})}
    rows = [(i["eval_type"], counts[i["scene_id"]], i["object_name"].replace("_", " ")) for i in items]
    multiple = [(c, label) for kind, c, label in rows if kind == "multiple"]
    return {
        "descriptions": len(rows),
        "multiple_share": _percent([kind == "multiple" for kind, _, _ in rows]),
        "random_object": _percent([1 / c.total() for _, c, _ in rows]),
        "random_of_class": _percent([1 / c[label] for _, c, label in rows]),
        "multiple_random_object": _percent([1 / c.total() for c, _ in multiple]),
        "multiple_random_of_class": _percent([1 / c[label] for c, label in multiple]),
    }


def _multi3drefer(root: Path, split: str) -> Scores:
    items = read_annotations(root, FILES["multi3drefer"], split)
    counts = {scene: _objects(root, scene) for scene in sorted({i["scene_id"] for i in items})}
    of_class = []
    for item in items:
        named, targets = counts[item["scene_id"]][item["object_name"]], len(item["object_ids"])
        of_class.append(1.0 if named == targets == 0 else 2 * targets / (named + targets))
    scores: Scores = {
        "queries": len(items),
        "none_always": _percent([not i["object_ids"] for i in items]),
        "all_of_class": _percent(of_class),
    }
    try:
        learn = read_annotations(root, FILES["multi3drefer"], "train") if split != "train" else []
    except MissingError:
        learn = []
    if learn:
        predicted = naive_bayes(_none_or_some(learn), _none_or_some(items))
        parts = [
            [t for t, i in zip(predicted, items, strict=True) if bool(i["object_ids"]) == some]
            for some in (True, False)
        ]
        scores["none_by_words"] = round(sum(_percent(p) for p in parts) / 2, 2)
    return scores


def _none_or_some(items: list[dict]) -> list[Item]:
    return [(i["scene_id"], i["description"], ["some" if i["object_ids"] else "none"]) for i in items]


def _scan2cap(root: Path, split: str) -> Scores:
    """Each object is described as another one is, drawn in file order from the train split or from other scenes."""
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        return {}
    items = read_annotations(root, FILES["scanrefer"], split)
    try:
        learn = read_annotations(root, FILES["scanrefer"], "train")
    except MissingError:
        learn = items
    references: dict[str, list[str]] = defaultdict(list)
    first: dict[str, dict] = {}
    for item in items:
        key = f"{item['scene_id']}|{item['object_id']}"
        references[key].append(_caption(item))
        first.setdefault(key, item)
    scores: Scores = {"objects": len(references)}
    for name, same in (("of_any", _nothing), ("of_class", _class), ("of_class_and_color", _class_and_color)):
        pools: dict[tuple, list[dict]] = defaultdict(list)
        for item in learn:
            pools[same(item)].append(item)
        guesses = {}
        for number, (key, item) in enumerate(first.items()):
            others = [o for o in pools[same(item)] if o["scene_id"] != item["scene_id"]]
            guesses[key] = [_caption(others[(7919 * number) % len(others)]) if others else "sos eos"]
        scores[name] = round(100 * float(Cider().compute_score(dict(references), guesses)[0]), 2)
    return scores


def _caption(item: dict) -> str:
    return " ".join(["sos", *item["token"][:30], "eos"])


def _nothing(item: dict) -> tuple:
    return ()


def _class(item: dict) -> tuple:
    return (item["object_name"],)


def _class_and_color(item: dict) -> tuple:
    before = item["description"].split(item["object_name"].replace("_", " "))[0]  # the colour before the noun
    return item["object_name"], tuple(c for c in COLORS if c in before)[:1]
