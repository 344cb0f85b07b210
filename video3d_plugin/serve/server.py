"""The process around the app: uvicorn with bounds on connections, and an end within five seconds of a signal."""

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
HEADERS_S = 15  # seconds in which a connection must send a whole request's head
FLUSH_S = 60  # seconds in which a client must take a response, or ask again
GRACE_S = 2  # seconds for requests in progress, once the server is to end
END_S = 4  # seconds after which the process ends, whatever still runs


class BoundedConnection(H11Protocol):
    """A connection that is closed where it asks for nothing, or does not take what it asked for."""

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
            self._stop_timer()  # a request is complete up to its body, which the app bounds

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
    """A uvicorn server that calls `on_signal` before it begins to shut down."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[int], None]):
        super().__init__(config)
        self._on_signal = on_signal

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._on_signal(sig)
        super().handle_exit(sig, frame)


class Ending:
    """Ends the process after a signal: in order where that takes less than END_S seconds, at once where not.

    Use as a context manager around all that the server does. After a signal, the process ends where the block ends,
    without the interpreter's own clean-up: that takes seconds with torch loaded, and nothing can interrupt it.
    """

    def __init__(self) -> None:
        self.clean_up: Callable[[], None] = lambda: None
        self._number: int | None = None

    def __enter__(self) -> Ending:
        """Handle SIGTERM, SIGINT, and the SIGHUP of a closing terminal. A SIGHUP that is ignored (nohup) stays so."""
        if threading.current_thread() is threading.main_thread():  # Python sets handlers in no other
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._exit)
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # which uvicorn knows
        return self

    def __exit__(self, *_: Any) -> None:
        self.clean_up()
        if self._number is not None:
            atexit._run_exitfuncs()  # multiprocessing removes its own temporary folder there
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + self._number)

    def begin(self, number: int) -> None:
        """Start the countdown; later signals change nothing."""
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
    """Serve the app until a signal."""
    EndingServer(config_of(app), ending.begin).run(sockets=[listener])


def config_of(app: Any) -> uvicorn.Config:
    """HTTP/1.1 alone: no websockets, no trust in forwarded addresses, bounded connections."""
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
