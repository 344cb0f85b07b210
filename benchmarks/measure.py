"""How the benchmarks measure: the two ways in turn, CPU seconds of one thread, memory in a process of its own.

Other programs on the machine change wall-clock time, but hardly CPU time; taking turns lets both ways see what is left
of their influence. On a GPU wall-clock time is taken, with the queue of kernels empty at both ends.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from page import machine, table, write_section

ROOT = Path(__file__).resolve().parent.parent


def options(doc: str, **defaults: Any) -> argparse.ArgumentParser:
    """--page, and an option of its own type for each default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="write the results to this page, in a section of their own")
    parser.add_argument("--no-memory", action="store_true", help="measure no memory, which takes further processes")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser


class Transcript:
    """What a benchmark prints, kept for the page. `rows` become one table above it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rows: list[list[str]] = []

    def __call__(self, text: str) -> None:
        print(text, flush=True)
        self.lines.append(text)

    def row(self, what: str, baseline: float, ours: float, target: float | None, unit: str = "s") -> None:
        """A line and a row of the table: both figures and their ratio, against what is to be reached."""
        ratio = baseline / ours
        goal = "" if target is None else f"{target:g}x {'reached' if ratio >= target else 'NOT reached'}"
        self(f"{what}: baseline {baseline:.4g} {unit}, video3d {ours:.4g} {unit}: {ratio:.1f}x  {goal}".rstrip())
        self.rows.append([what, f"{baseline:.4g} {unit}", f"{ours:.4g} {unit}", f"{ratio:.1f}x", goal])

    def publish(self, page: Path | None, name: str, title: str, extra: str = "", arguments: str = "") -> None:
        """Write the section `name` of a page, unless that is None; `arguments` are shown behind the command."""
        if page is None:
            return
        command = f"python benchmarks/{Path(sys.argv[0]).name} {arguments}".rstrip()
        parts = [f"## {title}", f"`{command}`, {machine()}."]
        if self.rows:
            parts.append(table(["", "baseline", "video3d", "ratio", "to reach"], self.rows))
        parts += [extra] if extra else []
        parts.append("```\n" + "\n".join(self.lines) + "\n```")
        write_section(page, name, "\n\n".join(parts))


def seconds(work: Callable[[], Any], device: str = "cpu") -> tuple[float, Any]:
    """(CPU seconds, or seconds on a GPU; the result)."""
    if device == "cpu":
        start = time.process_time()
        result = work()
        return time.process_time() - start, result
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def in_turn(
    ways: dict[str, Callable[[], Any]], rounds: int, device: str = "cpu"
) -> tuple[dict[str, float], dict[str, Any]]:
    """(median seconds of each way, its last result) over `rounds` rounds in which each way runs once."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, work in ways.items():
            took, results[name] = seconds(work, device)
            times[name].append(took)
    return {name: statistics.median(taken) for name, taken in times.items()}, results


def peak_megabytes(work: Callable[[], Any], device: str = "cpu") -> float:
    """Memory that `work` needs at its peak beyond what is held before. Use it in a fresh process (`in_process`)."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (Linux)
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1e3


def in_process(way: str, *more: str) -> float | None:
    """Megabytes that this script reports for `--memory way` and `more` arguments, run again in a process of its own;
    None not on Linux, and with --no-memory."""
    if "--no-memory" in sys.argv or not Path("/proc/self/clear_refs").exists():
        return None
    kept = [part for part in sys.argv[1:] if not part.startswith("--page")]
    if "--page" in sys.argv:
        at = sys.argv.index("--page")
        kept = sys.argv[1:at] + sys.argv[at + 2 :]
    done = subprocess.run([sys.executable, sys.argv[0], *kept, *more, "--memory", way], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"--memory {way} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def without_gpu(say: Transcript, device: str) -> bool:
    """True, and said so, where a GPU is asked for that is not here: then nothing is measured."""
    if device == "cpu" or torch.cuda.is_available():
        return False
    say(f"{device}: not measured (no GPU)")
    return True


def _status(field: str) -> float:
    """Kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1])
