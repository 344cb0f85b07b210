"""`video3d view SCENE`: write a page that shows the scan, its boxes and the samples of an evaluation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from video3d_plugin.cli.common import (
    add_model_argument,
    add_proposals_argument,
    add_sampling_arguments,
    add_scene_arguments,
    checked_path,
    checked_proposals,
    open_scene,
    page_path,
    positive,
    save_page,
    status,
)
from video3d_plugin.errors import MissingError

EPILOG = """\
examples:
  video3d view my_scan/
  video3d view DATA/scene0011_00 --boxes results/ --model CHECKPOINT   step through lmms-eval's --log_samples
  video3d view my_scan/ --boxes answers.json                          what video3d ask --json printed
  video3d view my_scan/ --rerun scan.rrd                              for the Rerun viewer (extra rerun)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    add_scene_arguments(parser)
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="RESULTS",
        help="what to show: samples of lmms-eval --log_samples (file or folder), output of `video3d ask --json`, or "
        "boxes as JSON",
    )
    add_proposals_argument(parser, default="scan")
    add_model_argument(parser)
    add_sampling_arguments(parser)
    parser.add_argument(
        "--all-frames", type=positive, default=300, metavar="N", help="largest number of frames shown (default: 300)"
    )
    parser.add_argument("--save", type=Path, metavar="FILE.html", help="page to write (default: SCENE_ID.html)")
    parser.add_argument(
        "--rerun", type=Path, metavar="FILE.rrd", help="write a recording for the Rerun viewer instead of a page"
    )
    parser.add_argument("--no-open", action="store_true", help="do not open the page in a browser")


def run(args: argparse.Namespace) -> int:
    """Write the page or recording; return the exit status."""
    for path, check in ((args.save, page_path), (args.rerun, checked_path)):
        if path is not None:
            check(path)
    if args.rerun:
        from video3d_plugin.view.rerun import require_rerun

        require_rerun()
    proposals = None if (args.proposals, args.classes) == ("scan", None) else checked_proposals(args)
    scene = open_scene(args)
    from video3d_plugin.data.inputs import sample
    from video3d_plugin.data.proposals import with_proposals
    from video3d_plugin.view.results import read_items
    from video3d_plugin.view.scene_view import gather

    items = read_items(args.boxes, scene.scene_id) if args.boxes else []
    if proposals is not None:
        with status("looking for objects"):
            scene = with_proposals(scene, proposals)
    sampler, max_frames = sampling_of(args)
    with status("choosing frames"):
        frames = sample(scene, sampler, max_frames)
    with status("reading frames for the page"):
        view = gather(scene, frames, sampler, max_frames=args.all_frames)
    if args.rerun:
        from video3d_plugin.view.rerun import write_rerun

        write_rerun(args.rerun, view, items)
        print(args.rerun)
        return 0
    path = args.save or Path(f"{scene.scene_id}.html")
    save_page(path, view, items)
    if not args.no_open and not args.save and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


def sampling_of(args: argparse.Namespace) -> tuple[str, int]:
    """Return the frame sampler and the largest number of frames: as given, else those of the checkpoint."""
    from video3d_plugin.loading import MAX_FRAMES, default_checkpoint, trained_view

    if args.model:
        from video3d_plugin.model.checkpoint.folders import local_folders

        trained = trained_view(*local_folders(args.model))
    else:
        try:
            trained = trained_view(default_checkpoint())
        except MissingError:  # an installation without the small model
            trained = {}
    sampler = args.sampler or trained.get("sampler", "uniform")
    return sampler, args.max_frames or trained.get("max_frames", MAX_FRAMES)
