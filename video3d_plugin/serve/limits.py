"""Bounds on uploads and on the work that the server does at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from video3d_plugin.errors import Video3DError


@dataclass(frozen=True)
class Limits:
    """Bounds on uploads and on concurrent work.

    Attributes:
        bytes: Size of an uploaded zip file.
        unpacked_bytes: Total size of the files in it.
        files: Number of files in it.
        frames: Number of frames of an uploaded recording.
        uploads: Uploads held in memory. The one unused for longest is dropped first.
        idle_s: Seconds without a request after which an upload is dropped.
        read_s: Seconds that reading a scan may take.
        read_bytes: Memory that reading a scan may take.
        waiting: Requests that may wait for the model, for a reader or for a page; more are refused.
    """

    bytes: int = 500 << 20
    unpacked_bytes: int = 2 << 30
    files: int = 6000
    frames: int = 2000
    uploads: int = 8
    idle_s: float = 3600
    read_s: float = 600
    read_bytes: int = 4 << 30
    waiting: int = 16


class BusyError(Video3DError):
    """Too many requests are waiting already."""


class BoundedExecutor:
    """A thread pool that refuses work when its queue is full.

    Args:
        threads: Calls that run at a time.
        waiting: Calls that may wait in the queue.
        what: Describes the waiting calls in the error message.
    """

    def __init__(self, threads: int, waiting: int, what: str):
        self._executor = ThreadPoolExecutor(threads)
        self._free = threading.Semaphore(threads + waiting)
        self._what = what

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Schedule a call.

        Raises:
            BusyError: The queue is full, or the pool was closed.
        """
        if not self._free.acquire(blocking=False):
            raise BusyError(f"too many {self._what}: try again in a minute")
        try:
            future = self._executor.submit(function, *args)
        except RuntimeError:  # shut down
            self._free.release()
            raise BusyError("the server is stopping") from None
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Cancel the waiting calls. Running calls are not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
