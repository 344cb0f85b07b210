"""Entries of the recordings of apps and robots; those whose library is missing are left out."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from harness import Entry

sys.path.append(str(Path(__file__).resolve().parent.parent / "helpers"))

from entries_files import load, use  # noqa: E402
from made_up_captures import FORMATS, LIBRARIES, polycam, record3d, ros_bag, scanner_app, stray_scanner  # noqa: E402
from unposed_rooms import camera, wall_texture, write_unposed  # noqa: E402

from video3d_plugin.data.readers import load_scene  # noqa: E402


def unposed(folder):
    """Three frames in each of the two layouts."""
    texture = wall_texture()
    for layout in ("folders", "names"):
        write_unposed(folder / layout, [camera(number) for number in range(3)], texture)
    for kind in ("color", "depth"):
        for path in (folder / "names" / kind).iterdir():
            path.rename(folder / "names" / f"frame-{path.stem}.{kind}.png")
        (folder / "names" / kind).rmdir()


def read_unposed(folder):
    for layout in ("folders", "names"):
        use(load_scene(folder / layout, poses="estimate"))


def recording(write, **options):
    return lambda folder: write(folder / "42", **options)


def read_recording(folder):
    load(folder / "42")


def read_bag(folder):
    load(folder / "42.bag")


_ENTRIES = {
    "Polycam": Entry(
        "Polycam", recording(polycam, confident=True), read_recording, ["**/*.json", "**/*.png"], count=800
    ),
    "3D Scanner App": Entry(
        "3D Scanner App", recording(scanner_app, confident=True), read_recording, ["**/*.json", "**/*.png"], count=400
    ),
    "Open3D": Entry("Open3D", recording(FORMATS["Open3D/Redwood"]), read_recording, ["**/*.log", "**/*.json"]),
    "Replica": Entry("Replica", recording(FORMATS["Replica (NICE-SLAM)"]), read_recording, ["**/*.txt", "**/*.json"]),
    "Stray Scanner": Entry(
        "Stray Scanner", recording(stray_scanner, confident=True), read_recording, ["**/*.csv", "**/*.mp4"], count=400
    ),
    "Record3D": Entry(
        "Record3D",
        recording(record3d, confident=True),
        read_recording,
        ["**/metadata", "**/*.depth", "**/*.conf"],
        count=800,
    ),
    "without poses": Entry("without poses", unposed, read_unposed, ["**/*.txt", "**/*.png"], count=1000),
    "ROS bag": Entry("ROS bag", lambda folder: ros_bag(folder / "42.bag"), read_bag, ["*.bag"], count=400),
}
ENTRIES = [
    entry
    for name, entry in _ENTRIES.items()
    if LIBRARIES.get(name) is None or importlib.util.find_spec(LIBRARIES[name]) is not None
]
