"""Damaged files through every entry: each ends well or in one line of Video3DError, within time and memory.

An entry is a reader or a command with good files to start from. Add yours in a module `entries_<part>.py` beside this
one, with a list `ENTRIES`:

    ENTRIES = [Entry("ply", lambda folder: write_ply(folder / "a.ply"), lambda folder: read_vertices(folder / "a.ply"))]

`python tests/fuzz/harness.py --count 500 --entry ply` runs it; a finding names its case, and `--case N` runs that
alone, with its traceback. `python -m pytest -m slow tests/fuzz` runs all.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutators import mutate, replace_by_no_file

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked worker would wait for the threads of its parent
HANG_S = 10.0
MEMORY_BYTES = 1 << 30
MESSAGE_LETTERS = 1500  # of a refusal: paths, a quotation and a remedy
_PACKAGE = "video3d_plugin"


@dataclass(frozen=True)
class Entry:
    """A way by which files of strangers enter.

    seeds     write(folder): makes good files in an empty folder, deterministic and small; `run` must accept them
    run       run(folder): reads them, as a user would. Video3DError is a refusal, and a result of "healed" says that a
              damaged file was made again. AssertionError says that something was accepted that must not be. Any other
              exception is a finding; so is SystemExit other than 0, 1, 2, 3.
    targets   patterns (as of Path.glob) of the files that are damaged, one at a time, in this order of preference
    no_files  also put FIFOs, folders, devices and links in a target's place
    count     cases that the slow test runs
    """

    name: str
    seeds: Callable[[Path], Any]
    run: Callable[[Path], Any]
    targets: Sequence[str] = ("**/*",)
    no_files: bool = True
    count: int = 500


@dataclass
class Finding:
    """One kind of failure: what and where it was raised, and the cases that show it."""

    kind: str
    detail: str
    cases: list[int] = field(default_factory=list)


@dataclass
class Outcome:
    """Of one entry: how many cases were accepted, refused and healed, and what was found."""

    entry: str
    accepted: int = 0
    refused: int = 0
    healed: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)

    def add(self, case: int, kind: str, detail: str) -> None:
        if kind in ("accepted", "refused", "healed"):
            setattr(self, kind, getattr(self, kind) + 1)
        else:
            self.findings.setdefault(kind, Finding(kind, detail)).cases.append(case)

    def __str__(self) -> str:
        head = f"{self.entry}: {self.accepted} accepted, {self.refused} refused, {self.healed} healed"
        lines = [
            f"  {len(f.cases)} x {f.kind}\n    {f.detail}\n    cases {f.cases[:8]}" for f in self.findings.values()
        ]
        return "\n".join([head, *lines])


def run_case(entry: Entry, good: Path, folder: Path, case: int) -> tuple[str, str]:
    """(kind, detail) of one damaged copy of `good` made in `folder`; kind is accepted, refused or healed, or names a
    finding."""
    from video3d_plugin.errors import Video3DError

    _damage(entry, good, folder, case)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = entry.run(folder)
    except Video3DError as error:
        text = str(error)
        if len(text) > MESSAGE_LETTERS or "\n" in text:
            return f"message of {len(text)} letters or several lines", _where(error) + ": " + repr(text[:300])
        return "refused", ""
    except SystemExit as error:
        return ("refused", "") if error.code in (0, 1, 2, 3) else (f"exit status {error.code!r:.40}", _where(error))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__} at {_where(error)}", repr(error)[:300]
    return ("healed" if isinstance(result, str) and result == "healed" else "accepted"), ""


def _damage(entry: Entry, good: Path, folder: Path, case: int) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(good, folder)
    rng = random.Random(f"{entry.name}:{case}")
    paths = list(dict.fromkeys(p for pattern in entry.targets for p in sorted(folder.glob(pattern)) if p.is_file()))
    path = rng.choice(paths)
    if entry.no_files and rng.random() < 0.03:
        replace_by_no_file(path, rng)
    else:
        path.write_bytes(mutate(path.read_bytes(), rng))


def _where(error: BaseException) -> str:
    """The innermost line of the package that an error passed, else the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}{_PACKAGE}{os.sep}" in frame.filename]
    frame = (own or frames)[-1]
    return f"{frame.filename.rpartition(_PACKAGE + os.sep)[2]}:{frame.lineno} ({frame.name})"


def _work(connection: Any, entry: Entry, good: Path, folder: Path) -> None:
    """The worker: its memory is limited to what it has and MEMORY_BYTES more.

    Good files come first and must pass. What they import is loaded before the memory is measured, and what an entry
    changes in its process, to be quick or quiet, never reaches the tests' own.
    """
    try:
        entry.run(good)
    except BaseException:
        connection.send(traceback.format_exc())
        return
    connection.send(None)
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        case = connection.recv()
        if case is None:
            return
        connection.send(run_case(entry, good, folder, case))


class _Worker:
    """A process that runs cases and can be ended."""

    def __init__(self, entry: Entry, good: Path, folder: Path):
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, entry, good, folder), daemon=True)
        self.process.start()
        theirs.close()
        failure = self.connection.recv()
        if failure:
            self.end()
            raise AssertionError(f"{entry.name}: good files do not pass\n{failure}")

    def run(self, case: int) -> tuple[str, str] | None:
        """The result, or None where the worker had to be ended: then a new one is needed."""
        try:
            self.connection.send(case)
            if self._answers():
                return self.connection.recv()
            result = "hang", f"more than {HANG_S:g} s"
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join(5)
            result = "process ended", f"exit status {self.process.exitcode}"
        self.last = result
        self.end()
        return None

    def _answers(self) -> bool:
        """Whether a result comes within HANG_S of processor time, or of sleep. On a busy machine that is longer than
        HANG_S by the clock: six times at the most."""
        start, (used_before, _) = time.monotonic(), self._usage()
        awake = start
        while not self.connection.poll(HANG_S / 20):
            now, (used, asleep) = time.monotonic(), self._usage()
            awake = awake if asleep else now
            if used - used_before > HANG_S or now - awake > HANG_S or now - start > 6 * HANG_S:
                return False
        return True

    def _usage(self) -> tuple[float, bool]:
        """(processor seconds, whether it waits for something) of the worker."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended: the connection says so
            return 0.0, False
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] != "R"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def run_entry(entry: Entry, cases: Sequence[int]) -> Outcome:
    """Run the cases, each in a worker that is ended where it hangs."""
    outcome = Outcome(entry.name)
    with _seeds(entry) as (good, folder):
        worker = _Worker(entry, good, folder)
        try:
            for case in cases:
                result = worker.run(case)
                if result is None:
                    result = worker.last
                    worker = _Worker(entry, good, folder)
                outcome.add(case, *result)
        finally:
            worker.end()
    return outcome


@contextlib.contextmanager
def _seeds(entry: Entry) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="video3d-fuzz-") as place:
        good = Path(place) / "good"
        good.mkdir()
        entry.seeds(good)
        yield good, Path(place) / "case"


def all_entries() -> list[Entry]:
    """The entries of every module `entries_*.py` beside this one."""
    folder = Path(__file__).resolve().parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    entries = []
    for path in sorted(folder.glob("entries_*.py")):
        entries += importlib.import_module(path.stem).ENTRIES
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names), f"two entries of one name: {sorted(names)}"
    return entries


def main() -> int:
    parser = argparse.ArgumentParser(description="Run damaged files through the entries.")
    parser.add_argument("--entry", action="append", help="only entries whose name holds this text")
    parser.add_argument("--count", type=int, help="cases of each entry (default: each entry's own)")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="run this case alone, here, with its traceback")
    arguments = parser.parse_args()
    entries = [e for e in all_entries() if not arguments.entry or any(text in e.name for text in arguments.entry)]
    if arguments.case is not None:
        for entry in entries:
            with _seeds(entry) as (good, folder):
                _damage(entry, good, folder, arguments.case)
                print(entry.name, folder)
                entry.run(folder)
        return 0
    total = failed = 0
    for entry in entries:
        start = time.time()
        outcome = run_entry(entry, range(arguments.start, arguments.start + (arguments.count or entry.count)))
        total += arguments.count or entry.count
        failed += sum(len(finding.cases) for finding in outcome.findings.values())
        print(outcome, f"({time.time() - start:.1f} s)", flush=True)
    print(f"{total} inputs to {len(entries)} entries: {failed} findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.modules["harness"] = sys.modules["__main__"]  # the entries' modules import Entry from here, not a second one
    sys.exit(main())
