"""What the commands share: common options, opening a scan, writing pages, and progress on the terminal."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.cli.progress import status as status
from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.data.camera_options import CameraOptions
    from video3d_plugin.scene import Scene
    from video3d_plugin.view.scene_view import SceneView

SCENE_HELP = (
    "a folder of posed RGB-D frames, a .sens, a .zip, a recording of a known data set, app or robot "
    "(docs/own_scans.md lists them), "
    "DATA/SCENE_ID of a data folder, or a scene id where VIDEO3D_DATA is set"
)


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select a scan; `open_scene` reads them."""
    parser.add_argument("scene", metavar="SCENE", help=SCENE_HELP)
    parser.add_argument("--scene-id", metavar="ID", help="scan to use where SCENE holds several")
    parser.add_argument("--frame-step", type=positive, metavar="N", help="use every N-th frame of the recording")
    add_camera_arguments(parser)
    add_poses_argument(parser)
    add_align_argument(parser)


def add_align_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --align, how a recording without an axis alignment is levelled."""
    parser.add_argument(
        "--align",
        default="auto",
        metavar="auto|none|FILE",
        help="world frame of a recording: found from its format and its frames (auto), its own (none), or given by a "
        "file of 4x4 numbers, world from scan, or of 3: the direction down (default: %(default)s)",
    )


def add_camera_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the arguments that say what a recording does not say of its cameras; `camera_options` reads them."""
    parser.add_argument(
        "--intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="intrinsics in pixels of the depth image (default: those of the recording)",
    )
    parser.add_argument(
        "--depth-unit", type=float, metavar="METRES", help="metres per depth unit (default: that of the recording)"
    )
    parser.add_argument(
        "--color-intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="colour camera, pixels of the colour image; depth, which is of another camera, is brought into it",
    )
    parser.add_argument(
        "--color-from-depth",
        type=Path,
        metavar="FILE",
        help="4x4 transform from the depth camera to the colour camera, metres (default: the recording's, else none)",
    )


def add_poses_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --poses, for recordings without them."""
    parser.add_argument(
        "--poses",
        choices=("recorded", "estimate"),
        default="recorded",
        help="camera poses: those of the recording, or estimated from colour and depth (default: %(default)s)",
    )


def camera_options(args: argparse.Namespace) -> CameraOptions:
    """Return what the arguments of `add_camera_arguments`, and of `add_poses_argument` if there, say of the cameras.

    Raises:
        DataError: A value is not that of a camera.
        MissingError: There is no such file.
    """
    from video3d_plugin.data.camera_options import CameraOptions

    return CameraOptions.checked(
        args.intrinsics,
        args.depth_unit,
        args.color_intrinsics,
        args.color_from_depth,
        getattr(args, "poses", "recorded"),
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select the frames a model sees."""
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        help="frame sampler: uniform, mc, mc-ratio95, ... (default: the checkpoint's; `video3d sample` compares them)",
    )
    parser.add_argument(
        "--max-frames", type=positive, metavar="N", help="largest number of frames (default: the checkpoint's)"
    )


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add --model, a checkpoint."""
    parser.add_argument(
        "--model",
        metavar="CHECKPOINT",
        help="checkpoint folder, or name on the Hugging Face Hub, also owner/name@revision "
        "(default: the small model that is installed)",
    )


def add_proposals_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add --proposals: where the boxes of objects come from; `checked_proposals` reads it."""
    parser.add_argument(
        "--proposals",
        metavar="SOURCE",
        default=default,
        help="boxes of objects: auto, detector:MODEL, NAME or NAME:ARGUMENT of another maker, mask3d (mask files), gt "
        f"(annotated boxes), or a .json of boxes (default: {default or 'those of the scan; auto where it has none'})",
    )
    add_classes_argument(parser)


def add_classes_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --classes, which completes --proposals detector:MODEL; `source_with_classes` reads both."""
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help='names of objects for --proposals detector:MODEL, separated by commas: "chair, coffee table"',
    )


def source_with_classes(source: str | None, classes: str | None) -> str | None:
    """Return the value of --proposals with the names of --classes in it.

    Raises:
        DataError: There are names, and the proposals are of no detector.
    """
    if classes is None:
        return source
    if source is None or not source.startswith("detector:"):
        raise DataError("--classes names objects for a detector", remedy="add --proposals detector:MODEL")
    return f"{source};classes={classes}"


def checked_proposals(args: argparse.Namespace) -> str | None:
    """Return the value of --proposals with --classes, checked before the scan is read.

    Raises:
        DataError: If there is no such source, its add-on cannot be loaded, or it takes no classes.
    """
    from video3d_plugin.data.proposals import check_source

    source = source_with_classes(args.proposals, args.classes)
    if source is not None:
        check_source(source)
    return source


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add --device; None means a GPU where there is one."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_metric_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of commands that compute or list metrics."""
    parser.add_argument("--without-meteor", action="store_true", help="skip METEOR, which takes ten seconds to start")
    parser.add_argument("--all", action="store_true", help="list the numbers of all conventions, not the official only")


def positive(text: str) -> int:
    """Parse a whole number above 0, as an argparse type."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "did you mean X?" for the known word closest to `word`, or "known: ..." where none is close."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def open_scene(args: argparse.Namespace) -> Scene:
    """Open the scan that the arguments name.

    Frames that cannot be decoded are left out. What is left out, what is assumed and what seems wrong goes to stderr,
    and how the scan was levelled.

    Args:
        args: Arguments of `add_scene_arguments`.

    Returns:
        The scene.

    Raises:
        MissingError: If there is no such scan.
        DataError: If it cannot be read.
    """
    from video3d_plugin.data.frames import KEPT_PIXELS, without_broken_frames
    from video3d_plugin.data.readers import load_scene
    from video3d_plugin.data.registration_check import registration_note
    from video3d_plugin.data.remarks import remarks

    camera = camera_options(args)
    with status("reading and levelling the scan"):
        scene = load_scene(
            args.scene,
            args.scene_id,
            frame_step=args.frame_step,
            align=args.align,
            **asdict(camera),
        )
    scene = without_broken_frames(scene, threads=4, progress=True, keep_pixels=KEPT_PIXELS)
    with status("comparing colour with depth"):
        note = registration_note(scene)
    if note is not None:
        scene = replace(scene, notes=(*scene.notes, note))
    for line in remarks(scene):
        print(line, file=sys.stderr)
    return scene


def save_page(path: Path, view: SceneView, items: list, **about: str) -> None:
    """Write the viewer's page and print its path and size on stderr.

    Args:
        path: HTML file to write.
        view: The scan.
        items: Questions, answers and boxes (`view.items`).
        **about: Further facts for the page, such as `model`.
    """
    from video3d_plugin.view.page import write_page

    with status("writing the page"):
        size = write_page(path, view, items, **about)
    print(f"{path} ({size / 1e6:.1f} MB)", file=sys.stderr)


def page_path(path: Path) -> Path:
    """Return the path of a page to write, checked before minutes of work are spent on the page.

    Raises:
        DataError: If the name does not end in .html, or no file can be written there.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise DataError("not a page's name", where=path, remedy="choose a name that ends in .html")
    return checked_path(path)


def checked_path(path: Path) -> Path:
    """Return the path of a file to write.

    Raises:
        DataError: If the path is a folder, or its parent is none.
    """
    if path.is_dir():
        raise DataError("is a folder", where=path, remedy="name a file")
    if not path.parent.is_dir():
        raise DataError("its folder does not exist", where=path, remedy=f"make {path.parent} first")
    return path
