"""`video3d serve` in a process of its own, on a free port, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 60


@dataclass
class Served:
    port: int
    process: subprocess.Popen
    temporary: Path

    @property
    def errors(self) -> str:
        return (self.temporary.parent / f"{self.temporary.name}-stderr").read_text()

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """(status, body, headers in lower case)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status != 500, self.errors[-4000:]
            return answer.status, content, {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        status, body, sent = self.request("GET", path, headers=headers)
        return status, body.decode(), sent

    def post(self, path: str, fields: Any) -> tuple[int, Any]:
        status, body, _ = self.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
        return status, json.loads(body)

    def upload(self, archive: Path, name: str = "kitchen.zip") -> tuple[int, Any]:
        with open(archive, "rb") as file:
            length = {"Content-Type": "application/zip", "Content-Length": str(archive.stat().st_size)}
            status, body, _ = self.request("POST", f"/api/uploads?name={name}", file, length)
        return status, json.loads(body)


@contextmanager
def serving(temporary: Path, *words: object) -> Iterator[Served]:
    """A server that keeps its files in `temporary`."""
    temporary.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "video3d_plugin.cli", "serve", *words, "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    stderr = temporary.parent / f"{temporary.name}-stderr"
    with open(stderr, "w") as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            preexec_fn=_as_from_a_terminal,
        )
    try:
        line = process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert match, f"{line!r} {stderr.read_text()[-2000:]}"
        yield Served(int(match[1]), process, temporary)
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def _as_from_a_terminal() -> None:
    """Whoever runs the tests in the background, or under nohup, hands ignored signals on."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
