"""`video3d sample SCENE`: compare the frames that samplers select, and how much of the scan they cover."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from video3d_plugin.cli.common import add_json_argument, add_scene_arguments, checked_path, open_scene, positive
from video3d_plugin.cli.progress import stage, status
from video3d_plugin.errors import DataError
from video3d_plugin.sampling.registry import BUILT_IN

if TYPE_CHECKING:
    from video3d_plugin.sampling.coverage import Coverage
    from video3d_plugin.scene import Scene

EPILOG = """\
Coverage is the share of 10 cm voxels seen in any frame of the scan that the selected frames see.

examples:
  video3d sample my_scan/ --save frames.png
  video3d sample my_scan/ --sampler uniform mc-ratio95 --max-frames 16
"""


@dataclass(frozen=True)
class Sampled:
    """The frames that one sampler selects.

    Attributes:
        sampler: Name of the sampler.
        frames: Frame indices, in the order of the recording.
        covered: Share of the scan's voxels that these frames see, 0 to 1.
        seen: Indices of these voxels in the coverage's table.
    """

    sampler: str
    frames: tuple[int, ...]
    covered: float
    seen: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    add_scene_arguments(parser)
    parser.add_argument(
        "--sampler", nargs="+", metavar="NAME", help="frame samplers to compare (default: all that are installed)"
    )
    parser.add_argument(
        "--max-frames", type=positive, default=32, metavar="N", help="largest number of frames (default: %(default)s)"
    )
    parser.add_argument("--save", type=Path, metavar="FILE.png", help="write a picture of what is seen, from above")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the comparison, write the picture; return the exit status."""
    from video3d_plugin.sampling import registry

    for name in args.sampler or ():
        registry.check_without_question(name, "this table")  # before the work, not after it
    names = args.sampler or [name for name in registry.usable() if not registry.reads_question(name)]
    for name in names:
        registry.get(name)  # unknown names are an error before any work is done
    if args.save is not None:
        if args.save.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise DataError(
                "not a picture's name", where=args.save, remedy="choose a name that ends in .png, .jpg or .webp"
            )
        checked_path(args.save)
    scene = open_scene(args)
    stage("selecting frames")
    coverage, results = sample_all(scene, names, args.max_frames, skip_broken=not args.sampler)
    print(_json(scene, results) if args.json else table(scene, results))
    if args.save is not None:
        from video3d_plugin.view.sampling_picture import write_picture

        with status("drawing the picture"):
            write_picture(args.save, scene, coverage, results)
        if not args.json:
            print(f"\n{args.save}")
    return 0


def sample_all(
    scene: Scene, names: list[str], max_frames: int, skip_broken: bool = False
) -> tuple[Coverage, list[Sampled]]:
    """Run samplers on a scan. Every frame is read once, however many samplers there are.

    Args:
        scene: The scan.
        names: Names of samplers.
        max_frames: Largest number of frames.
        skip_broken: Whether to leave out, with a warning, an add-on's sampler that fails.

    Returns:
        The scan's voxel coverage, and the frames that each sampler selects.
    """
    from video3d_plugin.data.inputs import sample, scene_coverage

    coverage = scene_coverage(scene)
    with tqdm(total=len(scene.frames), desc="frames", disable=None, delay=1) as bar:
        coverage.frame_points = _counted(coverage.frame_points, bar)
        everything = _union(coverage, range(len(scene.frames)))
        results = []
        for name in names:
            try:
                frames = sample(scene, name, max_frames, coverage)
            except DataError as error:
                if not skip_broken or name in BUILT_IN:
                    raise
                warnings.warn(f"frame sampler {name!r} is left out: {error}", stacklevel=2)
                continue
            seen = _union(coverage, frames)
            results.append(Sampled(name, tuple(frames), len(seen) / max(len(everything), 1), seen))
    return coverage, results


def _counted(function: Callable[..., Any], bar: tqdm) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        bar.update()
        return function(*arguments)

    return counted


def _union(coverage: Coverage, frames: Any) -> np.ndarray:
    seen = np.zeros(len(coverage.table.cells), bool)
    for index in frames:
        seen[coverage.seen(int(index))] = True
    return np.flatnonzero(seen)


def table(scene: Scene, results: list[Sampled]) -> str:
    """Return the comparison as text: one row for each sampler, with the names of its frames."""
    wide = max(len(r.sampler) for r in results)
    total = len(scene.frames)
    counts = [f"{len(set(r.frames))} of {total} frames" for r in results]
    room = max(map(len, counts), default=0)
    lines = [f"{scene.scene_id}: {total} frames", f"{'sampler':<{wide}}  {'selected':<{room}}  coverage  which"]
    for r, count in zip(results, counts, strict=True):
        names = [scene.frames[i].name for i in dict.fromkeys(r.frames)]
        head = f"{r.sampler:<{wide}}  {count:>{room}}  {r.covered:8.1%}  "
        lines += _wrapped(head, names)
    return "\n".join(lines)


def _wrapped(head: str, words: list[str], width: int = 118) -> list[str]:
    lines, line = [], head
    for word in words:
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line.rstrip())
            line = " " * len(head)
        line += word + " "
    return [*lines, line.rstrip()]


def _json(scene: Scene, results: list[Sampled]) -> str:
    content = {
        "scene_id": scene.scene_id,
        "frames": len(scene.frames),
        "samplers": {
            r.sampler: {"frames": [scene.frames[i].name for i in r.frames], "coverage": round(r.covered, 6)}
            for r in results
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False)
