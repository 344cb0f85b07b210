"""A small server on loopback that speaks as much of the Hugging Face Hub's API as downloads need."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
PRIVATE = "owner/private"
GATED = "owner/gated"
_API = re.compile(r"/api/models/(\w+/[\w-]+)(/revision/(\w+)|/tree/(\w+))?(\?.*)?")
_FILE = re.compile(r"/(\w+/[\w-]+)/resolve/(\w+)/([^?]+)(\?.*)?")


@dataclass
class Hub:
    """What the server has and does.

    Attributes:
        repositories: {name: {commit: {file: content}}}.
        token: With it, the private repository is given.
        cut: Names of files whose connection is closed in the middle.
        status: Status of every answer, instead of the right one.
        claimed: Sizes that the listing claims, instead of the files' own.
        asked: Method and path of each request.
    """

    repositories: dict[str, dict[str, dict[str, bytes]]]
    token: str = "secret"
    cut: set[str] = field(default_factory=set)
    status: int | None = None
    claimed: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def downloaded(self) -> set[str]:
        """Names of the files that were asked for."""
        return {match[3] for line in self.asked if line.startswith("GET") and (match := _FILE.fullmatch(line[4:]))}


@contextmanager
def hub_server(hub: Hub) -> Iterator[Hub]:
    """Serve it on a free port of loopback; `hub.url` is the value for HF_ENDPOINT."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.served
        hub.asked.append(f"{self.command} {self.path}")
        if hub.status is not None:
            return self._send(hub.status, b"")
        api, file = _API.fullmatch(self.path), _FILE.fullmatch(self.path)
        match = api or file
        repository = hub.repositories.get(match[1]) if match else None
        allowed = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if match and match[1] == GATED and not allowed:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        if repository is None or (match[1] == PRIVATE and not allowed):  # the hub does not tell one from the other
            return self._send(401, b'{"error": "Invalid username or password."}')
        revision = (api[3] or api[4] or "main") if api else file[2]
        commit = COMMITS.get(revision, revision)
        if commit not in repository:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if api:
            return self._send_json(self._tree(repository[commit]) if api[4] else self._info(match[1], commit))
        self._send_file(repository[commit], commit, file[3])

    def _info(self, name: str, commit: str) -> dict:
        files = self.served.repositories[name][commit]
        siblings = [{"rfilename": file, "size": self._size(file, content)} for file, content in files.items()]
        return {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": [], "private": False}

    def _tree(self, files: dict[str, bytes]) -> list[dict]:
        return [
            {"type": "file", "path": name, "size": self._size(name, content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in files.items()
        ]

    def _size(self, name: str, content: bytes) -> int:
        return self.served.claimed.get(name, len(content))

    def _send_file(self, files: dict[str, bytes], commit: str, name: str) -> None:
        if name not in files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = files[name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        status = 206 if start else 200
        if start:
            headers["Content-Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
            content = content[int(start[1]) :]
        self._send(status, content, headers, cut=name in self.served.cut)

    def _send_json(self, content: dict | list) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True
