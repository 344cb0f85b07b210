"""`video3d score TASK PREDICTIONS`: compute a benchmark's metrics from a file of predictions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from video3d_plugin.cli.common import add_json_argument, add_metric_arguments
from video3d_plugin.cli.progress import status
from video3d_plugin.files.schema import finite, shown
from video3d_plugin.metrics.ngrams import scorer
from video3d_plugin.score import GroundTruth, Result, score
from video3d_plugin.tasks import get, names
from video3d_plugin.tasks.scoring import UNOFFICIAL_PREFIXES

EPILOG = """\
examples:
  video3d score sqa3d predictions.jsonl --data ~/video3d-data
  video3d score sqa3d predictions.jsonl --annotations v1_balanced_questions_test_scannetv2.json \\
      v1_balanced_sqa_annotations_test_scannetv2.json
"""
# Counts that are printed, where not 0, because something went wrong; other counts are sizes of groups.
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
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument("task", metavar="TASK", help=f"benchmark: {', '.join(names())}")
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="JSON lines, JSON, or lmms-eval samples (file or folder)",
    )
    parser.add_argument(
        "--annotations", type=Path, nargs="+", default=(), metavar="FILE", help="the benchmark's official file(s)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="data folder made by `video3d prepare`, instead of --annotations"
    )
    parser.add_argument("--split", help="split of the data folder (default: the one that papers report)")
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE", help="boxes by scene and object, where the annotations have none"
    )
    parser.add_argument(
        "--proposals", type=Path, metavar="FILE", help="boxes by scene, for captions that have no box of their own"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="scannetv2-labels.combined.tsv, for groups by object class"
    )
    parser.add_argument(
        "--mass",
        type=float,
        metavar="P",
        help="cumulative probability at which box selection ends (default: 0.4)",
    )
    parser.add_argument("--records", type=Path, metavar="FILE", help="write the score of each question, as JSON lines")
    add_metric_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the metrics, write the records; return the exit status."""
    split = args.split or get(args.task).eval_split
    truth = GroundTruth(args.data, args.annotations, args.boxes, args.proposals, args.labels, split)
    without = "left out by --without-meteor" if args.without_meteor else None
    with status("computing the numbers"), scorer(without) as running:
        result = score(args.task, args.predictions, truth, running, args.mass)
    print(as_json(result) if args.json else as_text(result, everything=args.all))
    if args.records:
        _write_lines(args.records, result.records)
    return 0


def as_json(result: Result) -> str:
    """Return the result as JSON."""
    content = {
        "task": result.task,
        "values": result.scores.values,
        "counts": result.scores.counts,
        "missing": result.scores.missing,
        "notes": result.notes,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False)


def as_text(result: Result, everything: bool = False) -> str:
    """Return the result as text: a metric a line, then counts, then reasons for missing metrics.

    Args:
        result: The result.
        everything: Whether to list the metrics of all conventions.
    """
    values = result.scores.values
    shown = [name for name in values if everything or not name.startswith(UNOFFICIAL_PREFIXES)] or list(values)
    width = max(map(len, shown))
    lines = [f"{result.task}: {result.scores.counts.get('questions', 0)} questions, per cent (CIDEr x 100)"]
    for name in shown:
        value = values[name]
        lines.append(f"  {name:<{width}}  " + ("     -" if value is None else f"{value:6.2f}"))
    trouble = {name: n for name, n in result.scores.counts.items() if name in TROUBLE and n}
    lines += [f"  {n} {name.replace('_', ' ')}{_first_unreadable(result, name)}" for name, n in trouble.items()]
    lines += [f"  {n} {what}" for what, n in result.notes.items()]
    reasons: dict[str, list[str]] = {}
    for name, reason in result.scores.missing.items():
        if name in shown:
            reasons.setdefault(reason, []).append(name)
    lines += [f"  not computed: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    if not everything and len(shown) < len(values):
        lines.append(f"  ({len(values) - len(shown)} numbers of other conventions: --all)")
    return "\n".join(lines)


def _first_unreadable(result: Result, count: str) -> str:
    """What to print after the count of unreadable answers, else ""."""
    first = next((record for record in result.records if record["status"] == "unreadable"), None)
    if count != "unreadable" or first is None:
        return ""
    return f" (not understood, scored as wrong), such as {shown(first.get('prediction'))} to {first['id']}"


def _write_lines(path: Path, records: list[dict]) -> None:
    """Write JSON lines in UTF-8; half of a surrogate pair, which UTF-8 cannot encode, is escaped as in JSON."""
    from video3d_plugin.files.atomic import replacing

    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(finite(record), ensure_ascii=False) + "\n" for record in records)
