"""`video3d report RESULTS`: compare results of lmms-eval with published numbers, as a table and a page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from video3d_plugin.cli.common import add_metric_arguments
from video3d_plugin.errors import DataError
from video3d_plugin.metrics.ngrams import scorer
from video3d_plugin.report import compare
from video3d_plugin.report.page import write_page
from video3d_plugin.report.results import Run, read_results
from video3d_plugin.report.table import as_text

EPILOG = """\
examples:
  video3d report results/
  video3d report before/ after/      also the differences by type and the questions that changed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="folder given to lmms-eval as --output_path; two compare",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="page to write (default: RESULTS/report.html)")
    parser.add_argument(
        "--examples", type=int, default=12, metavar="N", help="worst examples shown of each task (default: %(default)s)"
    )
    add_metric_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table and write the page; return the exit status."""
    with scorer("left out by --without-meteor" if args.without_meteor else None) as score:
        read = [(folder, read_results(folder, score)) for folder in args.results]
    runs = [_named(run, folder) if len(read) > 1 else run for folder, found in read for run in found]
    comparisons = _comparisons(read)
    print(as_text(runs, args.all))
    if len(read) == 2:
        print(f"\n{compare.as_text(runs, comparisons)}")
    folder = args.results[0] if args.results[0].is_dir() else args.results[0].parent
    path = args.html or folder / "report.html"
    write_page(runs, path, max(0, args.examples), comparisons)
    print(f"\n{path}")
    return 0


def _named(run: Run, folder: Path) -> Run:
    """The run with its folder in its name: both folders may hold the same model."""
    return replace(run, model=f"{run.model} ({folder.name})")


def _comparisons(read: Sequence[tuple[Path, list[Run]]]) -> list[compare.Comparison]:
    """The comparison of two folders' runs; empty for another number of folders."""
    if len(read) != 2:
        return []
    for folder, runs in read:
        if len(runs) > 1:
            names = ", ".join(run.model for run in runs)[:300]
            raise DataError(f"holds {len(runs)} runs ({names})", where=folder, remedy="compare folders of one run each")
    return compare.compare(read[0][1][0], read[1][1][0])
