"""Entries of scans: recordings, meshes, masks, released files, archives, images."""

from __future__ import annotations

import sys
from pathlib import Path

from harness import Entry

sys.path.append(str(Path(__file__).resolve().parent.parent / "data"))  # made_up_scan writes files byte by byte

from made_up_scan import ply_bytes, two_cubes  # noqa: E402

from video3d_plugin.data.readers import ply  # noqa: E402

ENTRIES = [
    Entry(
        "ply",
        lambda folder: (folder / "a.ply").write_bytes(ply_bytes(two_cubes())),
        lambda folder: ply.read_mesh(folder / "a.ply"),
        count=1500,
    ),
]
