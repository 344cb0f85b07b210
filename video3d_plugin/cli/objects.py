"""`video3d objects SCENE`: list the objects that are found in a scan, the boxes that `ask --ground` chooses from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin import __version__
from video3d_plugin.cli.common import (
    add_json_argument,
    add_proposals_argument,
    add_scene_arguments,
    checked_proposals,
    open_scene,
    page_path,
    positive,
    save_page,
    status,
)
from video3d_plugin.notes import kind_of

if TYPE_CHECKING:
    from video3d_plugin.scene import Scene

EPILOG = """\
examples:
  video3d objects my_scan/
  video3d objects my_scan/ --save objects.html            a page with the boxes in the point cloud
  video3d objects my_scan/ --json > objects.json
  video3d objects DATA/scene0011_00 --proposals auto      make boxes anew, whatever the scan has
"""
PAGE_FRAMES = 100
_SHOWN_FRAMES = 3  # names in a row of the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    add_scene_arguments(parser)
    add_proposals_argument(parser)
    parser.add_argument(
        "--limit", type=positive, default=50, metavar="N", help="largest number of objects (default: %(default)s)"
    )
    parser.add_argument("--save", type=Path, metavar="FILE.html", help="write a page with the scan and the boxes")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the objects, write the page; return the exit status."""
    if args.save:
        page_path(args.save)
    source = checked_proposals(args)
    scene = open_scene(args)
    from video3d_plugin.data.proposals import first_proposals, with_proposals

    with status("looking for objects"):
        scene = first_proposals(with_proposals(scene, source, args.limit), args.limit)
    print(json.dumps(as_json(scene), indent=1, ensure_ascii=False) if args.json else table(scene))
    if args.save:
        from video3d_plugin.data.inputs import sample
        from video3d_plugin.view.scene_view import gather

        frames = sample(scene, "uniform", min(32, len(scene.frames)))
        with status("reading frames for the page"):
            view = gather(scene, frames, "uniform", max_frames=PAGE_FRAMES)
        save_page(args.save, view, [])
    return 0


def as_json(scene: Scene) -> dict:
    """Return what --json prints: boxes are centre and size in the world frame (z up), metres, best first."""
    return {
        "format": "video3d objects",
        "version": __version__,
        "scene_id": scene.scene_id,
        "notes": list(scene.notes),
        "objects": [
            {
                "label": scene.proposal_labels[i] if scene.proposal_labels else None,
                "score": round(float(scene.proposal_scores[i]), 4) if len(scene.proposal_scores) else None,
                "box": [round(float(value), 4) for value in box],
                "frames": list(scene.proposal_views[i]) if scene.proposal_views else None,
            }
            for i, box in enumerate(scene.proposals)
        ],
    }


def table(scene: Scene) -> str:
    """Return the objects as text: one row for each, best first."""
    notes = "; ".join(note for note in scene.notes if kind_of(note) == "proposals")
    lines = [f"{scene.scene_id}: {len(scene.proposals)} objects" + (f"; {notes}" if notes else "")]
    rows = as_json(scene)["objects"]
    if not rows:
        return lines[0]
    wide = max(5, *(len(row["label"] or "") for row in rows))
    lines.append(f"{'':>3} {'label':<{wide}} {'score':>5}  {'centre x, y, z (m)':<20} {'size x, y, z (m)':<17} frames")
    for number, row in enumerate(rows):
        score = "" if row["score"] is None else f"{row['score']:.2f}"
        centre = " ".join(f"{value:6.2f}" for value in row["box"][:3])
        size = " ".join(f"{value:5.2f}" for value in row["box"][3:])
        label = row["label"] or "-"
        lines.append(f"{number:3d} {label:<{wide}} {score:>5}  {centre} {size} {_frames(row['frames'])}".rstrip())
    return "\n".join(lines)


def _frames(names: list[str] | None) -> str:
    if not names:
        return ""
    more = len(names) - _SHOWN_FRAMES
    return " ".join(names[:_SHOWN_FRAMES]) + (f" and {more} more" if more > 0 else "")
