"""How far the reading of a scan has come: a worker process reports it, the server checks and holds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OPENING, CHECKING, FINDING = "opening the scan", "reading the scan", "finding objects"
SAMPLING, SHOWING = "choosing the model's frames", "making the view"
STAGES = (OPENING, CHECKING, FINDING, SAMPLING, SHOWING)
_MAX_FRAMES = 1_000_000
_PAUSE_S = 0.2  # between two reports of a stage


@dataclass(frozen=True)
class Progress:
    """How far a reading has come.

    Attributes:
        stage: One of STAGES.
        done: Frames that were read in this stage.
        total: Frames that it reads; 0 if it does not go frame by frame.
    """

    stage: str
    done: int = 0
    total: int = 0


class Reporter:
    """Reports the stages of a reading, and their frames with a pause between two reports.

    Args:
        send: Sends a Progress to the server.
    """

    def __init__(self, send: Callable[[Progress], None]):
        self._send, self._next = send, 0.0

    def begin(self, stage: str) -> None:
        """Report the begin of a stage that does not go frame by frame."""
        self._send(Progress(stage))

    def frames(self, stage: str) -> Callable[[int, int], None]:
        """Return a function of the numbers of frames done and of all frames, which reports them."""
        self.begin(stage)
        self._next = 0.0

        def report(done: int, total: int) -> None:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _PAUSE_S
                self._send(Progress(stage, done, total))

        return report


class ProgressBoard:
    """Holds the progress of the readings under way, by name. Names of uploads never hide those of scans."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, bool], Progress] = {}

    def get(self, name: str, upload: bool) -> Progress | None:
        """Return the progress of a reading; None if it has not begun, or has ended."""
        return self._readings.get((name, upload))

    def writer(self, name: str, upload: bool) -> Callable[[Any], None]:
        """Return a function that notes what a worker reports. A worker reads untrusted files: the rest is dropped."""

        def note(report: Any) -> None:
            if name and _is_progress(report):
                self._readings[name, upload] = report

        return note

    def remove(self, name: str, upload: bool) -> None:
        """Forget a reading that has ended."""
        self._readings.pop((name, upload), None)


def _is_progress(report: Any) -> bool:
    if not isinstance(report, Progress) or set(vars(report)) != {"stage", "done", "total"}:
        return False
    if not isinstance(report.stage, str) or not all(type(count) is int for count in (report.done, report.total)):
        return False
    return report.stage in STAGES and 0 <= report.done <= report.total <= _MAX_FRAMES
