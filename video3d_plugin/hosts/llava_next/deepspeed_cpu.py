"""DeepSpeed without a GPU: its operator is compiled at the first start, under a lock that a killed start leaves behind.

torch waits for such a lock without a word and without an end (torch.utils.file_baton). A lock is held as long as the
process that made it has it open.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from video3d_plugin.errors import DataError

OPERATOR = "deepspeed_shm_comm"
_STALE_SECONDS = 1800.0  # where /proc does not tell who has a file open


def check_start(words: Sequence[str]) -> None:
    """Check what a start with `--deepspeed` on a CPU needs, and print what it will wait for.

    Args:
        words: Words of the command line, without the program.

    Raises:
        DataError: accelerate is too old for it, or a lock was left by a start that was killed.
    """
    if not any(word.split("=")[0] == "--deepspeed" for word in words) or not _on_cpu():
        return
    accelerate = installed_version("accelerate")
    if int(accelerate.split(".")[0]) < 1:
        raise DataError(f"accelerate {accelerate} does not run DeepSpeed on a CPU",
                        remedy="pip install 'accelerate>=1', or leave out --deepspeed")  # fmt: skip
    for lock in stale_locks():
        raise DataError("the lock of a start that was killed: DeepSpeed would wait for it forever", where=lock,
                        remedy="delete it")  # fmt: skip
    if int(os.environ.get("LOCAL_RANK", "0")) == 0 and _is_compiled_now():
        print(f"video3d: DeepSpeed compiles its operator {OPERATOR} for the CPU, which takes minutes", file=sys.stderr,
              flush=True)  # fmt: skip


def _on_cpu() -> bool:
    import torch

    return os.environ.get("DS_ACCELERATOR") == "cpu" or not torch.cuda.is_available()


def _is_compiled_now() -> bool:
    """Return whether DeepSpeed can use the operator, and neither its wheel nor the cache has it."""
    if find_spec("deepspeed") is None or any(_folders(f"{OPERATOR}/{OPERATOR}.so")):
        return False
    import deepspeed
    from deepspeed.git_version_info import installed_ops

    return deepspeed.ops.__compatible_ops__.get(OPERATOR, False) and not installed_ops.get(OPERATOR, False)


def cache_root() -> Path:
    """Return the folder in which torch compiles operators."""
    if given := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(given)
    from torch.utils.cpp_extension import get_default_build_root

    return Path(get_default_build_root())


def stale_locks() -> list[Path]:
    """Return the locks of compilations that no process is at work on."""
    left = [lock for lock in _folders("*/lock") if not _is_held(lock)]
    if left:
        time.sleep(0.5)  # a lock is closed a moment before it is removed
    return [lock for lock in left if lock.exists() and not _is_held(lock)]


def _folders(pattern: str) -> Iterator[Path]:
    """Yield files of operators: torch puts those of its default folder into one for each version."""
    root = cache_root()
    yield from sorted({*root.glob(pattern), *root.glob(f"*/{pattern}")})


def _is_held(lock: Path) -> bool:
    """Return whether a process has the file open; by its age where that cannot be seen."""
    processes = Path("/proc")
    if not (processes / "self" / "fd").is_dir():
        return time.time() - lock.stat().st_mtime < _STALE_SECONDS
    return any(_is_open_in(process, lock) for process in processes.iterdir() if process.name.isdigit())


def _is_open_in(process: Path, lock: Path) -> bool:
    try:
        return any(os.path.samefile(handle, lock) for handle in (process / "fd").iterdir() if handle.exists())
    except OSError:  # it has ended, or belongs to somebody else
        return False
