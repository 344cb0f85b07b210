"""Bounds on connections: whoever sends half a request, or does not take an answer, is hung up on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

pytest.importorskip("starlette", reason="needs starlette: pip install 'video3d-plugin[serve]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'video3d-plugin[serve]'")

from video3d_plugin.serve import server  # noqa: E402

SIZE = 50 << 20


@pytest.fixture
def port(monkeypatch):
    """A server in a thread, with short limits, whose every answer is large and comes after half a second."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    monkeypatch.setattr(server, "HEADERS_S", 1)
    monkeypatch.setattr(server, "FLUSH_S", 1)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)

    async def large(request):
        await asyncio.sleep(2)
        return Response(b"x" * SIZE)

    async def small(request):
        return Response(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = server.config_of(Starlette(routes=[Route("/large", large), Route("/", small)]))
        running = server.EndingServer(config, lambda number: None)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def connect(port: int, text: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(text.encode())
    return connection


def is_closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except OSError:  # such as a reset
        return True
    return True


STUCK = """
import time
from video3d_plugin.serve.server import Ending

with Ending() as ending:
    ending.clean_up = lambda: time.sleep(1000)
    print("ready", flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("again", [0, 3], ids=["once", "and again"])
def test_a_signal_ends_the_process_although_cleaning_up_blocks(tmp_path, again):
    (tmp_path / "script.py").write_text(STUCK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        for _ in range(1 + again):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - start < 6.5  # 5 seconds, and what this test takes to see it
    finally:
        process.kill()
        process.stdout.close()


REQUEST = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("text", ["", "G", "GET / HTTP/1.1\r\nHost: x\r\n"])
def test_half_a_request_is_hung_up_on(port, text):
    start = time.monotonic()
    with connect(port, text) as connection:
        assert is_closed(connection) and 0.5 < time.monotonic() - start < 15


def test_a_request_that_is_fed_byte_by_byte_is_hung_up_on(port):
    with connect(port, "GET / HTTP/1.1\r\nX: ") as connection:
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < 15:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - start < 15


def test_an_answer_that_takes_longer_than_a_request_may_is_sent_whole(port):
    with connect(port, REQUEST.format("/large")) as connection:
        size = 0
        while size < SIZE and (chunk := connection.recv(1 << 20)):
            size += len(chunk)
        assert size >= SIZE


def test_a_client_that_takes_no_answer_is_hung_up_on(port):
    with connect(port, REQUEST.format("/large")) as connection:
        time.sleep(6)  # the answer stands after 2 seconds, and may be taken for 1
        connection.settimeout(5)
        size = 0
        with suppress(OSError):
            while chunk := connection.recv(1 << 20):
                size += len(chunk)
        assert size < SIZE


def test_a_connection_is_kept_for_the_next_request(port):
    with connect(port, REQUEST.format("/")) as connection:
        for _ in range(3):
            answer = b""
            while not answer.endswith(b"\r\n\r\nx"):
                answer += connection.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.6)
            connection.sendall(REQUEST.format("/").encode())


def test_more_connections_than_allowed_are_refused_and_the_others_go_on(port):
    idle = [connect(port, "G") for _ in range(25)]
    try:
        with connect(port, REQUEST.format("/")) as connection:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 503")
        time.sleep(2)  # the idle ones are hung up on
        with connect(port, REQUEST.format("/")) as connection:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
    finally:
        for connection in idle:
            connection.close()
