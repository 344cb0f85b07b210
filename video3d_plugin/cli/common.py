"""What ask, view and sample share: naming a scan and how it is seen, and saying what takes a while."""

from __future__ import annotations

import argparse
import difflib
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.scene import Scene
    from video3d_plugin.view.scene_view import SceneView

SCENE_HELP = (
    "a folder of posed RGB-D frames, a .sens, a .zip, a ScanNet, 7-Scenes, TUM, ARKitScenes or nerfstudio recording, "
    "DATA/SCENE_ID of a data folder, or a scene id where VIDEO3D_DATA is set"
)


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", metavar="SCENE", help=SCENE_HELP)
    parser.add_argument("--scene-id", metavar="ID", help="which scan, where the folder holds several")
    parser.add_argument("--frame-step", type=int, metavar="N", help="use every N-th frame of the recording")


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sampler", help="which frames the model sees: uniform, mc, mc-ratio95, ... (video3d sample)")
    parser.add_argument("--max-frames", type=positive, metavar="N", help="how many of them at most")


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
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
    """The scene that the arguments name, without frames that do not decode; says what was left out of it."""
    from video3d_plugin.data.frames import without_broken_frames
    from video3d_plugin.data.readers import load_scene

    with status("reading the scan"):
        scene = load_scene(args.scene, args.scene_id, frame_step=args.frame_step)
    scene = without_broken_frames(scene, threads=4, progress=True)
    if scene.omissions:
        first = scene.omissions[0]
        said = f"{len(scene.omissions)} left out, the first: {first.what}: {first.reason}"
        print(f"{scene.scene_id}: {said}", file=sys.stderr)
    return scene


def save_page(path: Path, view: SceneView, items: list, **about: str) -> None:
    """Write the viewer's page and say where it is."""
    from video3d_plugin.view.page import write_page

    size = write_page(path, view, items, **about)
    print(f"{path} ({size / 1e6:.1f} MB)", file=sys.stderr)


def page_path(path: Path) -> Path:
    """The path, checked before minutes of work: a page ends in .html, and no folder has its name."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise DataError("a page's name ends in .html", where=path)
    return checked_path(path)


def checked_path(path: Path) -> Path:
    """The path, if a file can come there."""
    if path.is_dir():
        raise DataError("is a folder", where=path, remedy="name a file")
    if not path.parent.is_dir():
        raise DataError("its folder does not exist", where=path, remedy=f"make {path.parent} first")
    return path


@contextmanager
def status(what: str, after_s: float = 0.7) -> Iterator[None]:
    """While the block runs, one line on a terminal with the seconds it has taken; nothing where stderr is piped."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        waited = after_s
        if done.wait(after_s):
            return
        while True:
            print(f"\r{what} … {waited:.0f} s ", end="", file=sys.stderr, flush=True)
            if done.wait(0.5):
                break
            waited += 0.5
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
