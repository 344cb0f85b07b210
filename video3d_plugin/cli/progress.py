"""Progress of a command on stderr: a line that is replaced on a terminal, or a line for each stage."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = ("auto", "plain")


class _Wanted:
    plain = False
    start = 0.0


def choose(kind: str) -> None:
    """Choose how progress is shown, at the start of a command.

    Args:
        kind: One of KINDS. "auto": on a terminal only. "plain": a line for each stage, also into a file or a pipe.
    """
    _Wanted.plain, _Wanted.start = kind == "plain", time.monotonic()


@contextmanager
def status(what: str, after_s: float = 0.7) -> Iterator[None]:
    """Show what is being done, and for how many seconds, while the block runs.

    The line goes to stderr and is cleared at the end. Where stderr is no terminal nothing is shown, unless plain
    progress is wanted: then each stage is one line, with the seconds since the start.

    Args:
        what: Text of the line.
        after_s: Seconds after which the line appears.
    """
    if _Wanted.plain:
        print(f"[{time.monotonic() - _Wanted.start:6.1f} s] {what}", file=sys.stderr, flush=True)
        yield
        return
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        waited = after_s
        if done.wait(after_s):
            return
        while True:
            print(f"\r{what} … {waited:.0f} s ", end="", file=sys.stderr, flush=True)
            if done.wait(0.5):
                break
            waited += 0.5
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
