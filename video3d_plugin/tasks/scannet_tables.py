"""Facts of ScanNet that ship with the package: classes of object names, and the splits.

`scannet/README.md` has their source.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from video3d_plugin.files.text import read_text
from video3d_plugin.tasks.object_classes import Labels

SPLITS = ("train", "val", "test")
LABELS_PATH = Path(__file__).resolve().parent / "scannet" / "labels.tsv"


@cache
def shipped_labels() -> Labels:
    """Return the columns of ScanNet's label table that this package reads."""
    return Labels.read(LABELS_PATH)


@cache
def shipped_splits() -> dict[str, str]:
    """Return the split, "train", "val" or "test", of each scan of ScanNet v2."""
    return {
        scene_id: split for split in SPLITS for scene_id in read_text(LABELS_PATH.with_name(f"{split}.txt")).split()
    }
