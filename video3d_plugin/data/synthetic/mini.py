"""The mini benchmark: small rooms, seen as a hand-held camera would see them, and enough of them to learn from.

What `video3d train --preset mini`, the shipped checkpoint and the ablation are about. Training and held-out rooms have
scene numbers of their own (benchmark.NUMBERS), so no held-out room is ever trained on, whatever the seeds.
"""

from __future__ import annotations

from pathlib import Path

from video3d_plugin.data.synthetic.benchmark import Counts, make_benchmark
from video3d_plugin.data.synthetic.referring import MINI_STYLE

FRAMES, IMAGE_SIZE = 16, (120, 160)
PARTS = ("posed_images", "mesh", "mask", "annotations")  # a .sens would hold the same frames once more
COUNTS = Counts(objects=14, references=(3, 5), multi3drefer=32, scanqa=36, sqa3d=16)


def make_mini(output: str | Path, *, train: int = 0, val: int = 0, seed: int = 0, workers: int = 1) -> Path:
    """Write `train` and `val` rooms of the mini benchmark in ScanNet's layout under `output`, and return that folder.

    With noise and failing proposals as in real captures. About half a second a room and process.
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
