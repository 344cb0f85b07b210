"""Calls an ASGI application without a server: one request, one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: Any,
    method: str,
    path: str,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes | Iterable[bytes | float] = b"",
    query: str = "",
) -> Answer:
    """Parts of the body that are numbers are pauses, in seconds; None as the last part: the client goes away."""
    listed = list((headers or {}).items()) if not isinstance(headers, list) else headers
    if "host" not in {name.lower() for name, _ in listed}:
        listed = [("host", "127.0.0.1:7860"), *listed]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in listed],
        "server": ("127.0.0.1", 7860),
        "client": ("127.0.0.1", 5000),
    }
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[dict] = []

    async def receive() -> dict:
        while parts and isinstance(parts[0], int | float):
            await asyncio.sleep(parts.pop(0))
        if parts and parts[0] is None:
            return {"type": "http.disconnect"}
        chunk = parts.pop(0) if parts else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(parts)}

    async def send(message: dict) -> None:
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    start = messages[0]
    return Answer(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in messages[1:]),
    )


def post(app: Any, path: str, fields: Any, **headers: str) -> Answer:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return call(app, "POST", path, {"content-type": "application/json", **headers}, body)
