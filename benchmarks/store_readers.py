"""One scene store read by several processes at once, as the ranks of a training run do.

    python benchmarks/store_readers.py [--readers 8] [--scenes 24]

Every reader takes the scenes in an order of its own, as ranks do, and touches every byte. The files were just written,
so this is what memory-mapping costs when the disk's cache holds them; a cold disk adds its own time.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import made_up
import torch
from measure import Transcript, options

from video3d_plugin.data import store


def read_all(folder: str, seed: int) -> tuple[float, float]:
    """(CPU seconds, sum over all pixels) of reading every scene in an order that the seed gives."""
    torch.set_num_threads(1)
    paths = sorted(Path(folder).glob("*.safetensors"))
    for path in paths:
        store.read(path)  # the first reading in a process checks every byte
    random.Random(seed).shuffle(paths)
    start, total = time.process_time(), 0.0
    for path in paths:
        total += sum(float(tensor.sum(dtype=torch.float32)) for tensor in store.read(path).tensors().values())
    return time.process_time() - start, total


def main() -> None:
    args = options(__doc__, readers=8, scenes=24, frames=32).parse_args()
    say = Transcript()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(args.scenes):
            store.write(Path(folder) / f"{index}.safetensors", made_up.scene(args.frames, seed=index))
        megabytes = sum(path.stat().st_size for path in Path(folder).glob("*")) / 1e6 / args.scenes
        alone, expected = read_all(folder, 0)
        with ProcessPoolExecutor(args.readers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(read_all, [folder] * args.readers, range(args.readers)))
    together = sum(taken for taken, _ in found) / len(found)
    agree = all(abs(total - expected) <= 1e-3 * abs(expected) for _, total in found)
    say(f"{args.scenes} scenes of {args.frames} frames, {megabytes:.1f} MB each, one folder")
    say(f"one reader: {alone / args.scenes * 1e3:.1f} ms of CPU a scene, every byte used")
    say(f"{args.readers} readers at once: {together / args.scenes * 1e3:.1f} ms of CPU a scene each,"
        f" contents {'agree' if agree else 'DIFFER'}")  # fmt: skip
    say.publish(args.page, "store-readers", "The scene store, several readers")


if __name__ == "__main__":
    sys.exit(main())
