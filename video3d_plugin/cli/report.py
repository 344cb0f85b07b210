"""`video3d report RESULTS`: compare results of lmms-eval with published numbers, as a table and a page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from video3d_plugin.cli.common import add_metric_arguments
from video3d_plugin.cli.progress import status
from video3d_plugin.cli.report_scenes import with_scenes
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.metrics.ngrams import scorer
from video3d_plugin.report import compare
from video3d_plugin.report.page import write_page
from video3d_plugin.report.results import Run, read_results
from video3d_plugin.report.scenes import Scenes, scene_ids
from video3d_plugin.report.table import as_text

EPILOG = """\
examples:
  video3d report results/                          beside published numbers
  video3d report before/ after/                    also the differences by type and the questions that changed
  video3d report results/ --data DATA --view       each example has a link into its scene's page in 3D
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
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="folder of the scenes, prepared or not: names the objects in the examples (default: VIDEO3D_DATA)",
    )
    parser.add_argument(
        "--view",
        action="store_true",
        help="write the viewer's page of each example's scene beside the report, and link to it; 10 to 20 s a scene",
    )
    add_metric_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table, write the page and those of the scenes; return the exit status."""
    data = _data(args)
    without = "left out by --without-meteor" if args.without_meteor else None
    with status("reading the results"), scorer(without) as score:
        read = [(folder, read_results(folder, score)) for folder in args.results]
    names = folder_names(args.results)
    runs = [
        _named(run, name) if len(read) > 1 else run
        for name, (_, found) in zip(names, read, strict=True)
        for run in found
    ]
    comparisons = _comparisons(read)
    print(as_text(runs, args.all))
    if len(read) == 2:
        print(f"\n{compare.as_text(runs, comparisons)}")
    folder = args.results[0] if args.results[0].is_dir() else args.results[0].parent
    count = max(0, args.examples)
    command = " ".join(["video3d report", *map(str, args.results), f"--data {data or 'DATA'} --view"])
    scenes = Scenes(args.html or folder / "report.html", command=command)
    if data is not None:
        scenes = with_scenes(scenes, data, scene_ids(runs, comparisons, count), runs if args.view else ())
    with status("writing the page"):
        write_page(runs, scenes, count, comparisons)
    print(f"\n{scenes.report}")
    return 0


def _data(args: argparse.Namespace) -> Path | None:
    """Return the folder of the scenes, if one is given."""
    data = args.data or (Path(os.environ["VIDEO3D_DATA"]) if os.environ.get("VIDEO3D_DATA") else None)
    if args.view and data is None:
        raise DataError("--view needs the scenes", remedy="add --data DATA, or set VIDEO3D_DATA")
    if args.data is not None and not args.data.exists():
        raise MissingError("no such folder of scenes", where=args.data, remedy="give the folder of video3d prepare")
    return data


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Return names that tell folders apart: their own, or with those of their parents.

    Args:
        folders: Folders of results.
    """
    paths = [folder.resolve() for folder in folders]
    own = [path.name for path in paths]
    return own if len(set(own)) == len(own) else [f"{path.parent.name}/{path.name}" for path in paths]


def _named(run: Run, name: str) -> Run:
    """The run with its folder in its name: both folders may hold the same model."""
    return replace(run, model=f"{run.model} ({name})")


def _comparisons(read: Sequence[tuple[Path, list[Run]]]) -> list[compare.Comparison]:
    """The comparison of two folders' runs; empty for another number of folders."""
    if len(read) != 2:
        return []
    for folder, runs in read:
        if len(runs) > 1:
            names = ", ".join(run.model for run in runs)[:300]
            raise DataError(f"holds {len(runs)} runs ({names})", where=folder, remedy="compare folders of one run each")
    return compare.compare(read[0][1][0], read[1][1][0])
