"""Worker processes with limits on time and memory, for reading untrusted files.

The server survives a worker that blocks or crashes. A worker runs as the same user as the server, so it is no sandbox
against code execution.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from video3d_plugin.errors import DataError, MissingError, Video3DError
from video3d_plugin.notes import Note

_REPORT = "report"
_MAX_REPLY = 1 << 30  # bytes; a scene with 100 frames and 32 inputs is some 60 MB
_RECORD_MODULES = (
    "video3d_plugin.inputs_spec",
    "video3d_plugin.notes",
    "video3d_plugin.scene",
    "video3d_plugin.serve.progress",
    "video3d_plugin.serve.reading",
    "video3d_plugin.view.cloud",
    "video3d_plugin.view.scene_view",
)
_PRELOAD = ("video3d_plugin.serve.reading",)
_SOCKET_FOLDER_BYTES = 60  # with the names that multiprocessing appends, a socket's path stays below 104 bytes
_SHORT_FOLDER = "/tmp"
_NUMPY_NAMES = ("_reconstruct", "_frombuffer", "ndarray", "dtype", "scalar")
_PATH_NAMES = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")


def _make_socket_folder() -> None:
    """Make multiprocessing's temporary folder, for the socket of the fork server.

    The path of a socket has at most 104 or 108 bytes, which a long TMPDIR exceeds. Nothing but sockets is kept there.
    """
    default = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > _SOCKET_FOLDER_BYTES:
        tempfile.tempdir = _SHORT_FOLDER
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = default


class WorkerPool:
    """Runs each call in a process of its own.

    Args:
        seconds: Time after which the process of a call is killed.
        memory_bytes: Memory that a process may allocate; enforced where the system has resource limits.
        preload: Modules imported once, before the processes are forked.
    """

    def __init__(self, seconds: float, memory_bytes: int, preload: tuple[str, ...] = _PRELOAD):
        self.seconds, self.memory_bytes = seconds, memory_bytes
        forkserver = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forkserver else "spawn")
        if forkserver:
            self._context.set_forkserver_preload(list(preload))
            _make_socket_folder()
        self._running: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, function: Callable[..., Any], *args: Any, on_report: Callable[[Any], None] | None = None) -> Any:
        """Call a function in a new process and return its result.

        Args:
            function: A module-level function.
            *args: Its arguments.
            on_report: Called, in this thread, with each record that the function sends before its result; for that,
                the function gets a further argument, which sends a record.

        Raises:
            DataError: The call took too long, needed too much memory, or its process ended early.
            Video3DError: As raised by the function.
            RuntimeError: The function raised another error, or returned a value that is not a record of this package.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work,
            args=(sender, self.seconds, self.memory_bytes, function, args, on_report is not None),
            daemon=True,
        )
        process.start()
        sender.close()
        with self._lock:
            self._running.add(process)
            closed = self._closed
        end = time.monotonic() + self.seconds
        timer = threading.Timer(0 if closed else self.seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            while (reply := loads_reply(receiver.recv_bytes(_MAX_REPLY)))[0] == _REPORT:
                if on_report is not None:
                    on_report(reply[1])
        except (EOFError, OSError):
            if time.monotonic() >= end - 0.5:
                what, remedy = f"reading took more than {self.seconds:g} seconds", "use a smaller recording"
            else:
                what, remedy = "reading ended early", "it may need too much memory: use a smaller recording"
            raise DataError(what, remedy=remedy) from None
        except pickle.UnpicklingError as error:
            raise RuntimeError(f"a worker process sent something unexpected: {error}") from None
        finally:
            timer.cancel()
            process.kill()
            process.join(1)
            receiver.close()
            with self._lock:
                self._running.discard(process)
        return _result(*reply)

    @property
    def process_ids(self) -> list[int]:
        """Ids of the running processes."""
        with self._lock:
            return [process.pid for process in self._running]

    def close(self) -> None:
        """Kill all processes. Calls that wait for one raise DataError."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            process.kill()


def _result(outcome: str, payload: Any) -> Any:
    if outcome == "result":
        return payload
    if outcome == "error":
        kind, what, where, remedy = payload
        raise {"missing": MissingError, "data": DataError}[kind](what, where=where, remedy=remedy)
    raise RuntimeError(f"unexpected error in a worker process:\n{payload}")


def _work(
    sender: Connection,
    seconds: float,
    memory_bytes: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    reports: bool,
) -> None:
    """The main function of a worker process: make the call, send its reports and its outcome through the pipe."""
    _restrict(seconds, memory_bytes)

    def send(kind: str, value: Any) -> None:
        sender.send_bytes(pickle.dumps((kind, value), protocol=5))

    outcome: tuple[str, Any]
    try:
        args = (*args, functools.partial(send, _REPORT)) if reports else args
        outcome = "result", function(*args)
    except (DataError, MissingError) as error:
        kind = "missing" if isinstance(error, MissingError) else "data"
        where = None if error.where is None else Path(error.where).name
        outcome = "error", (kind, error.what, where, error.remedy)
    except Video3DError as error:
        outcome = "error", ("data", str(error), None, None)
    except MemoryError:
        what = f"reading needs more than {memory_bytes / 1e9:.1f} GB of memory"
        outcome = "error", ("data", what, None, "use a smaller recording")
    except Exception:
        outcome = "bug", traceback.format_exc()
    send(*outcome)


def _restrict(seconds: float, memory_bytes: int) -> None:
    """Limit this process, end it with the server, and drop what decoders print, since it comes from untrusted files."""
    sys.dont_write_bytecode = True
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server ends its workers
    tqdm.set_lock(threading.RLock())  # its default is a named semaphore, which a killed process leaves behind
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
    try:
        import resource
    except ImportError:  # Windows: the pool's timer alone ends the process
        return
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)  # SIGALRM's default action kills, whoever holds the GIL
    for limit, value in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _exit_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


class _Unpickler(pickle.Unpickler):
    """Accepts this package's records and numpy arrays only, since a worker reads untrusted files."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _RECORD_MODULES:
            record = getattr(importlib.import_module(module), name, None)
            if dataclasses.is_dataclass(record) or record is Note:
                return record
        elif module.split(".")[0] == "numpy" and name in _NUMPY_NAMES:
            return super().find_class(module, name)
        elif module.split(".")[0] == "pathlib" and name in _PATH_NAMES:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a worker's reply")


def loads_reply(data: bytes) -> tuple[str, Any]:
    """Unpickle a worker's reply, (kind, value); UnpicklingError for anything that a reply does not consist of."""
    reply = _Unpickler(io.BytesIO(data)).load()
    if not isinstance(reply, tuple) or len(reply) != 2 or not isinstance(reply[0], str):
        raise pickle.UnpicklingError("a reply is a kind and a value")
    return reply
