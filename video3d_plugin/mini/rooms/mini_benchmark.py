"""The mini benchmark: small rooms with the noise of a hand-held capture, enough of them to train a small model.

`video3d train --preset mini`, the shipped checkpoint and the ablation use it. Training and held-out rooms have scene
numbers of their own (`benchmark.NUMBERS`), so that no held-out room is ever trained on, whatever the seeds.
"""

from __future__ import annotations

from pathlib import Path

from video3d_plugin.mini.rooms.benchmark import make_benchmark
from video3d_plugin.mini.rooms.scenes import Counts
from video3d_plugin.mini.rooms.styles import MINI_STYLE

FRAMES, IMAGE_SIZE = 16, (120, 160)
PARTS = ("posed_images", "mesh", "mask", "annotations")  # a .sens would hold the same frames once more
COUNTS = Counts(objects=14, references=(3, 5), multi3drefer=32, scanqa=36, sqa3d=16)


def make_mini(output: str | Path, *, train: int = 0, val: int = 0, seed: int = 0, workers: int = 1) -> Path:
    """Write rooms of the mini benchmark in ScanNet's layout, with noise and imperfect proposals as in real captures.

    A room takes about half a second of one process.

    Args:
        output: Folder to write to.
        train: Number of training rooms.
        val: Number of held-out rooms.
        seed: Seeds the rooms.
        workers: Processes.

    Returns:
        The output folder.
    """
    splits = {name: count for name, count in (("train", train), ("val", val)) if count}
    return make_benchmark(
        output,
        split=splits,
        seed=seed,
        frames=FRAMES,
        image_size=IMAGE_SIZE,
        noise="realistic",
        counts=COUNTS,
        style=MINI_STYLE,
        plan="small",
        write=PARTS,
        workers=workers,
    )
