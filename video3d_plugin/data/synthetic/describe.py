"""What a split holds, for a model card: counts, types, words, and a hash that names it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

from video3d_plugin.data.synthetic.guessing import FILES, read_annotations
from video3d_plugin.errors import MissingError
from video3d_plugin.metrics.answers import question_type_by_prefix


def describe_split(root: str | Path, split: str = "val") -> dict:
    """Counts by benchmark and type, the number of different words, and `sha256` over the split's annotation files.

    `made_with` repeats the seed and settings that make_benchmark recorded. Raises MissingError without annotations.
    """
    root = Path(root)
    content = {name: read_annotations(root, pattern, split) for name, pattern in FILES.items()}
    questions = content["sqa3d_questions"]["questions"]
    texts = [i["description"] for i in (*content["scanrefer"], *content["multi3drefer"])]
    texts += [i["question"] for i in content["scanqa"]] + [a for i in content["scanqa"] for a in i["answers"]]
    texts += [f"{q['situation']} {q['question']}" for q in questions]
    texts += [a["answers"][0]["answer"] for a in content["sqa3d_annotations"]["annotations"]]
    words = Counter(word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower()))
    return {
        "split": split,
        "scenes": len(_scene_list(root, split)),
        "scanrefer": _counted(i["eval_type"] for i in content["scanrefer"]),
        "scanrefer_objects": len({(i["scene_id"], i["object_id"]) for i in content["scanrefer"]}),
        "multi3drefer": _counted(i["eval_type"] for i in content["multi3drefer"]),
        "scanqa": _counted(i["question"].split()[0].lower() for i in content["scanqa"]),
        "sqa3d": _counted(question_type_by_prefix(q["question"]) for q in questions),
        "vocabulary": len(words),
        "sha256": _hash(root, split),
        "made_with": _provenance(root).get(split, {}),
    }


def _counted(names) -> dict[str, int]:
    counts = Counter(names)
    return {"total": counts.total(), **dict(sorted(counts.items()))}


def _scene_list(root: Path, split: str) -> list[str]:
    path = root / f"scannetv2_{split}.txt"
    if not path.is_file():
        raise MissingError("no scene list", where=path, remedy="make it with make_benchmark")
    return path.read_text().split()


def _hash(root: Path, split: str) -> str:
    digest = hashlib.sha256()
    for pattern in FILES.values():
        name = pattern.format(split=split, sqa={"val": "test"}.get(split, split))
        digest.update(name.encode() + b"\0" + (root / "annotations" / name).read_bytes())
    return digest.hexdigest()


def _provenance(root: Path) -> dict:
    path = root / "synthetic_rooms.json"
    return json.loads(path.read_text()) if path.is_file() else {}
