"""One training run shared by several processes of this machine, each with a part of every step's scenes.

A small model's operations are too short to be divided among a CPU's threads; its scenes are not. torch's own launcher
starts the processes; the Trainer joins their gradients as it does for several GPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from video3d_plugin.errors import DataError


def count() -> int:
    """Of the processes that share this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that checks, writes and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def part_of(scenes: int) -> int:
    """How many of a step's `scenes` this process takes; DataError where they cannot be shared evenly."""
    if scenes % count():
        raise DataError(
            f"{scenes} scenes a step cannot be shared evenly by {count()} processes",
            remedy="choose --processes, --scenes-per-step, --lookup-scenes so that they can; a tower from scratch: 2",
        )
    return scenes // count()


def end_together() -> None:
    """Wait for the others and undo what joined them: torch may abort a process that exits while it is joined."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def launch(processes: int, words: Sequence[str]) -> int:
    """Run `video3d WORDS` in so many processes; the exit status is 0 where all of them ended well."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.call(
        [sys.executable, *launcher, "-m", "video3d_plugin.cli", *words],
        env={"OMP_NUM_THREADS": str(threads), **os.environ},
    )
