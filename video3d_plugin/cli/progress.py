"""Progress of a command on stderr: a line that is replaced on a terminal, or a line for each stage."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = ("auto", "plain")


class _Wanted:
    plain = False
    start = 0.0


class _Stages(logging.Handler):
    """Prints what modules below the command line log of their stages, and warnings as Python does by itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(record.getMessage(), file=sys.stderr, flush=True)
        else:
            _print_stage(record.getMessage())


_STAGES = _Stages(logging.INFO)


def choose(kind: str) -> None:
    """Choose how progress is shown, at the start of a command.

    Args:
        kind: One of KINDS. "auto": on a terminal only. "plain": a line for each stage, also into a file or a pipe;
            those of `prepare` and of a training are their log messages.
    """
    _Wanted.plain, _Wanted.start = kind == "plain", time.monotonic()
    logger = logging.getLogger("video3d_plugin")
    logger.removeHandler(_STAGES)
    logger.setLevel(logging.INFO if _Wanted.plain else logging.NOTSET)
    if _Wanted.plain:
        logger.addHandler(_STAGES)


def stage(what: str) -> None:
    """Print the line of a stage that shows a bar of its own, where plain progress is wanted."""
    if _Wanted.plain:
        _print_stage(what)


def _print_stage(what: str) -> None:
    print(f"[{time.monotonic() - _Wanted.start:6.1f} s] {what}", file=sys.stderr, flush=True)


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
        _print_stage(what)
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
