"""Describes a split for a model card: counts, types, number of words, and a hash that identifies it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

from video3d_plugin.errors import MissingError
from video3d_plugin.metrics.answers import question_type_by_prefix
from video3d_plugin.mini.rooms.guessing import FILES, read_annotations


def describe_split(root: str | Path, split: str = "val") -> dict:
    """Return counts by benchmark and type, the number of different words, and a hash of the split's annotations.

    Args:
        root: Folder that `make_benchmark` wrote.
        split: Name of the split.

    Returns:
        Counts by benchmark; "sha256" over the annotation files; "made_with", the seed and settings of the generator.

    Raises:
        MissingError: If the split has no annotations.
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
