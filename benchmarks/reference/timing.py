"""Seconds and memory of a piece of work. Runs in the reference's environment too, so it imports nothing of ours."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RESET = Path("/proc/self/clear_refs")


def measured(work: Callable[[], Any]) -> tuple[dict[str, float | None], Any]:
    """Run `work` once.

    Args:
        work: What is measured.

    Returns:
        CPU `seconds` and `megabytes` at the peak beyond what was held before (None not on Linux), and the result.
    """
    gc.collect()
    before = None
    if _RESET.exists():
        _RESET.write_text("5")  # the peak starts anew
        before = _kilobytes("VmRSS")
    start = time.process_time()
    result = work()
    seconds = time.process_time() - start
    megabytes = None if before is None else (_kilobytes("VmHWM") - before) / 1e3
    return {"seconds": seconds, "megabytes": megabytes}, result


def least(work: Callable[[], Any], repeats: int) -> tuple[dict[str, float | None], Any]:
    """Run short work several times: the least seconds, the most megabytes, and the last result."""
    runs = [measured(work) for _ in range(repeats)]
    used = [run[0] for run in runs]
    megabytes = None if used[0]["megabytes"] is None else max(each["megabytes"] for each in used)
    return {"seconds": min(each["seconds"] for each in used), "megabytes": megabytes}, runs[-1][1]


def _kilobytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1])
