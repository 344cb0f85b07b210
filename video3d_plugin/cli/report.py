"""`video3d report RESULTS`: compare results of lmms-eval with published numbers, as a table and a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from video3d_plugin.cli.common import add_metric_arguments
from video3d_plugin.metrics.ngrams import scorer
from video3d_plugin.report.page import write_page
from video3d_plugin.report.results import read_results
from video3d_plugin.report.table import as_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder given to lmms-eval as --output_path")
    parser.add_argument("--html", type=Path, metavar="FILE", help="page to write (default: RESULTS/report.html)")
    parser.add_argument(
        "--examples", type=int, default=12, metavar="N", help="worst examples shown of each task (default: %(default)s)"
    )
    add_metric_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table and write the page; return the exit status."""
    with scorer("left out by --without-meteor" if args.without_meteor else None) as score:
        runs = read_results(args.results, score)
    print(as_text(runs, args.all))
    folder = args.results if args.results.is_dir() else args.results.parent
    path = args.html or folder / "report.html"
    write_page(runs, path, max(0, args.examples))
    print(f"\n{path}")
    return 0
