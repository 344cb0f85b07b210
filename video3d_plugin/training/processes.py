"""Data-parallel training on one machine: several processes, each with a share of every step's scenes.

The operations of a small model are too short to be divided among a CPU's threads, but its scenes can be divided among
processes. torch's launcher starts the processes; the Trainer averages their gradients as it does for several GPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from video3d_plugin.errors import DataError


def count() -> int:
    """Return the number of processes that share this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Return whether this is the process that checks the arguments, writes files and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def scenes_per_process(scenes: int, stage: str = "training") -> int:
    """Return how many of a step's scenes this process takes.

    Args:
        scenes: Scenes of a step, over all processes.
        stage: Name of the stage, for the error message.

    Raises:
        DataError: If the scenes cannot be divided evenly.
    """
    if scenes % count():
        raise DataError(
            f"{stage}: {scenes} scenes a step cannot be shared evenly by {count()} processes",
            remedy="choose --processes, or this stage's scenes per step, so that they can",
        )
    return scenes // count()


def leave_process_group() -> None:
    """Wait for the other processes, then destroy the process group.

    torch may abort a process that exits while it is still in the group. Does nothing without a group.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def launch(processes: int, words: Sequence[str]) -> int:
    """Run `video3d` with the same arguments in several processes.

    Args:
        processes: Number of processes. The CPU's cores are divided among them unless OMP_NUM_THREADS is set.
        words: Arguments of the `video3d` command.

    Returns:
        The exit status: 0 if all processes succeeded.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.call(
        [sys.executable, *launcher, "-m", "video3d_plugin.cli", *words],
        env={"OMP_NUM_THREADS": str(threads), **os.environ},
    )
