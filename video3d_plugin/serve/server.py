"""Runs the application in uvicorn, with bounds on connections, and ends within five seconds of a signal."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
HEADERS_S = 15  # seconds for receiving a request's headers
FLUSH_S = 60  # seconds for receiving a response, or until the next request
GRACE_S = 2  # seconds for requests in progress at shutdown
END_S = 4  # seconds after which the process ends, whatever still runs


class BoundedConnection(H11Protocol):
    """A connection that is closed if the client sends no request, or does not receive the response, in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._close_after(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_timer()  # the headers are complete; the app bounds the body

    def on_response_complete(self) -> None:
        self._close_after(FLUSH_S)
        super().on_response_complete()

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class EndingServer(uvicorn.Server):
    """A uvicorn server with a callback for signals.

    Args:
        config: Configuration of uvicorn.
        on_signal: Called with the signal's number before the shutdown.
    """

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[int], None]):
        super().__init__(config)
        self._on_signal = on_signal

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._on_signal(sig)
        super().handle_exit(sig, frame)


class Ending:
    """Ends the process after a signal: orderly if that takes less than END_S seconds, else at once.

    Use it as a context manager around everything that the server does. After a signal, the process ends at the end of
    the block without the interpreter's clean-up, which takes seconds with torch loaded and cannot be interrupted.

    Attributes:
        clean_up: Called at the end of the block.
    """

    def __init__(self) -> None:
        self.clean_up: Callable[[], None] = lambda: None
        self._number: int | None = None

    def __enter__(self) -> Ending:
        """Handle SIGTERM, SIGINT, and the SIGHUP of a closing terminal unless it is ignored (nohup)."""
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._exit)
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # which uvicorn handles
        return self

    def __exit__(self, *_: Any) -> None:
        self.clean_up()
        if self._number is not None:
            atexit._run_exitfuncs()  # multiprocessing removes its own temporary folder there
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + self._number)

    def begin(self, number: int) -> None:
        """Start the countdown of END_S seconds. Later signals have no effect.

        Args:
            number: The signal.
        """
        if self._number is None:
            self._number = number
            threading.Thread(target=self._end, daemon=True).start()

    def _exit(self, number: int, frame: Any) -> None:
        if self._number is None:  # a second signal must not interrupt the clean-up
            self.begin(number)
            raise SystemExit(128 + number)

    def _end(self) -> None:
        time.sleep(END_S)
        cleaning = threading.Thread(target=self.clean_up, daemon=True)
        cleaning.start()
        cleaning.join(0.5)
        assert self._number is not None
        os._exit(128 + self._number)


def run(app: Any, listener: Any, ending: Ending) -> None:
    """Serve the application until a signal.

    Args:
        app: The ASGI application.
        listener: The listening socket.
        ending: The active `Ending`.
    """
    EndingServer(config_of(app), ending.begin).run(sockets=[listener])


def config_of(app: Any) -> uvicorn.Config:
    """Configure uvicorn: HTTP/1.1 only, without websockets and forwarded addresses, with bounded connections."""
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )
