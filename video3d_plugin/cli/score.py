"""`video3d score TASK PREDICTIONS`: the numbers of a benchmark from a file of predictions, without a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from video3d_plugin.files.schema import finite
from video3d_plugin.metrics.ngrams import scorer
from video3d_plugin.score import GroundTruth, Result, score
from video3d_plugin.tasks import get, names
from video3d_plugin.tasks.scoring import UNOFFICIAL_PREFIXES

# Not counts of something that went wrong, but sizes of groups.
TROUBLE = (
    "missing",
    "empty",
    "unreadable",
    "duplicate",
    "extra",
    "no_box",
    "multi_line",
    "non_ascii",
    "without_reference",
    "scenes_missing",
    "scenes_extra",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help=", ".join(names()))
    parser.add_argument("predictions", type=Path, help="JSON lines, JSON, a samples file of lmms-eval, or a folder")
    parser.add_argument("--annotations", type=Path, nargs="+", default=(), metavar="FILE", help="official file(s)")
    parser.add_argument("--data", type=Path, help="a folder made by `video3d prepare`, in place of --annotations")
    parser.add_argument("--split", help="of the data folder (default: the one that papers report)")
    parser.add_argument("--boxes", type=Path, help="boxes by scene and object, where the annotations have none")
    parser.add_argument("--proposals", type=Path, help="boxes by scene, for captions that come without one")
    parser.add_argument("--labels", type=Path, help="scannetv2-labels.combined.tsv, for groups by class")
    parser.add_argument("--without-meteor", action="store_true", help="do not start METEOR (it takes ten seconds)")
    parser.add_argument("--mass", type=float, help="cumulative mass of the selection of boxes (default: 0.4)")
    parser.add_argument("--all", action="store_true", help="list every convention, not the official numbers alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--records", type=Path, metavar="FILE", help="write what each question scored, as JSON lines")


def run(args: argparse.Namespace) -> int:
    split = args.split or get(args.task).eval_split
    truth = GroundTruth(args.data, args.annotations, args.boxes, args.proposals, args.labels, split)
    with scorer("left out by --without-meteor" if args.without_meteor else None) as running:
        result = score(args.task, args.predictions, truth, running, args.mass)
    print(as_json(result) if args.json else as_text(result, everything=args.all))
    if args.records:
        _write_lines(args.records, result.records)
    return 0


def as_json(result: Result) -> str:
    content = {
        "task": result.task,
        "values": result.scores.values,
        "counts": result.scores.counts,
        "missing": result.scores.missing,
        "notes": result.notes,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False)


def as_text(result: Result, everything: bool = False) -> str:
    """One number a line, then what was counted, then why numbers are missing."""
    values = result.scores.values
    shown = [name for name in values if everything or not name.startswith(UNOFFICIAL_PREFIXES)] or list(values)
    width = max(map(len, shown))
    lines = [f"{result.task}: {result.scores.counts.get('questions', 0)} questions, per cent (CIDEr x 100)"]
    for name in shown:
        value = values[name]
        lines.append(f"  {name:<{width}}  " + ("     -" if value is None else f"{value:6.2f}"))
    trouble = {name: n for name, n in result.scores.counts.items() if name in TROUBLE and n}
    lines += [f"  {n} {name.replace('_', ' ')}" for name, n in trouble.items()]
    lines += [f"  {n} {what}" for what, n in result.notes.items()]
    reasons: dict[str, list[str]] = {}
    for name, reason in result.scores.missing.items():
        if name in shown:
            reasons.setdefault(reason, []).append(name)
    lines += [f"  not computed: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    if not everything and len(shown) < len(values):
        lines.append(f"  ({len(values) - len(shown)} numbers of other conventions: --all)")
    return "\n".join(lines)


def _write_lines(path: Path, records: list[dict]) -> None:
    """JSON lines in UTF-8; half of a surrogate pair, which UTF-8 cannot hold, becomes the escape that JSON has."""
    from video3d_plugin.files.atomic import replacing

    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(finite(record), ensure_ascii=False) + "\n" for record in records)
