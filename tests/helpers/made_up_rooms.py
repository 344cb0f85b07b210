"""A prepared data folder of synthetic rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WRITE = ("posed_images", "mesh", "mask", "annotations")  # all but the slow .sens


def prepared_rooms(root: Path, **arguments: Any) -> Path:
    """Make rooms of 6 frames with `make_benchmark(**arguments)`, prepare them, and return the data folder."""
    from video3d_plugin.data.prepare import prepare
    from video3d_plugin.mini.rooms import make_benchmark

    source = make_benchmark(root / "rooms", frames=6, write=WRITE, progress=False, **arguments)
    prepare(source, root / "data")
    return root / "data"
