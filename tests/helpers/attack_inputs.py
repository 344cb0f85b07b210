"""What an attacker sends: values in place of strings, paths of other frameworks' APIs, bytes that are no HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

FIELDS = {
    "/api/show": {"scene": "my_scan"},
    "/api/ask": {"scene": "my_scan", "question": "the chair", "show": "boxes", "after": "viewer/made-up"},
    "/api/progress": {"reading": "my_scan"},
}

# Routes of gradio 6, Starlette and FastAPI that take or give files, state, configuration or code: none may exist.
GRADIO = """
config info app_id startup-events theme.css robots.txt manifest.json pwa_icon favicon.ico login logout login_check
token user monitoring monitoring/summary svelte/x static/x assets/x file=SECRET file/SECRET proxy=http://127.0.0.1/
gradio_api gradio_api/ gradio_api/info gradio_api/config gradio_api/openapi.json gradio_api/heartbeat/abc
gradio_api/file=SECRET gradio_api/file/SECRET gradio_api/file=http://127.0.0.1/ gradio_api/proxy=http://127.0.0.1/
gradio_api/upload gradio_api/upload_progress?upload_id=1 gradio_api/upload_inspect gradio_api/component_server
gradio_api/deep_link gradio_api/queue/join gradio_api/queue/join?__theme=dark gradio_api/queue/data?session_hash=abc
gradio_api/queue/status gradio_api/call/ask gradio_api/call/ask/1 gradio_api/run/ask gradio_api/api/ask
gradio_api/cancel gradio_api/reset gradio_api/stream/a/b/c/playlist.m3u8 gradio_api/custom_component/a/b/c/d
gradio_api/dev/reload gradio_api/vibe-edit gradio_api/vibe-code gradio_api/vibe-starter-queries gradio_api/mcp
gradio_api/mcp/sse gradio_api/mcp/schema gradio_api/process_recording gradio_api/runs gradio_api/sse
queue/join queue/data heartbeat/abc upload component_server deep_link reset cancel api/predict api/ask/
docs redoc openapi.json .well-known/x .env .git/config server-status metrics health ws api api/ api/upload api/scenes/
api/uploads/x viewer viewer/ viewer/a/b viewer/../api/scenes page.js/ page.html assets/page.html index.html
""".split()

TRAVERSALS = [
    "/../../../../etc/passwd", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/%2fetc%2fpasswd",
    "/viewer/..%2f..%2fetc%2fpasswd", "/viewer/%00", "/viewer/" + "a" * 4000, "/viewer/%ff%fe", "/viewer/.",
    "/page.js/../../service.py", "/page.js%00.html", "/PAGE.JS", "/./page.js", "/page.css?x=" + "y" * 8000,
    "/file:///etc/passwd", "/http://127.0.0.1/", "/\\..\\..\\etc\\passwd", "/%5c..%5cetc", "/;/etc/passwd",
    "/viewer/%3Cscript%3Ealert(1)%3C/script%3E", "/viewer/{token}", "/viewer/%7B%7Btoken%7D%7D", "/*", "/%",
]  # fmt: skip

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MADEUP")


def file_objects(secret: str) -> list[Any]:
    """A file of the server, as gradio's API would take it, and relatives of it."""
    meta = {"_type": "gradio.FileData"}
    data = {"path": secret, "meta": meta}
    return [
        data,
        {**data, "url": f"file://{secret}", "orig_name": "a.zip", "size": 1, "mime_type": "text/plain"},
        {"path": None, "url": f"file://{secret}", "meta": meta},
        {"path": f"http://127.0.0.1:1/{secret}", "meta": meta},
        {"path": f"..{secret}", "meta": meta, "is_stream": True},
        [data], [[data]], {"value": data}, {"data": [data], "fn_index": 0}, {"video": data, "subtitles": data},
        {"files": [data]}, {"_type": "gradio.FileData", "path": secret}, {"__type__": "update", "value": data},
        {"is_file": True, "name": secret, "data": None}, {"component": "file", "props": {"value": data}},
        {"deep_link": secret}, {"session_hash": "abc", "state": data}, {"$ref": f"file://{secret}"},
    ]  # fmt: skip


def wrong_types() -> list[Any]:
    return [None, True, False, 0, -1, 1.5, 10**400, [], {}, ["my_scan"], {"my_scan": "my_scan"}, [[[[[[]]]]]], [None]]


def hostile_texts(secret: str) -> list[str]:
    """Strings that are no scene's name, no page and no way to show anything."""
    return [
        "", " ", "\0", "my_scan\0", "my_scan/../my_scan", "./my_scan", "MY_SCAN", "my_scan ", secret, f"file://{secret}",
        f"{secret}\n", "/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa", "http://127.0.0.1:1/", "//127.0.0.1/share",
        "\\\\127.0.0.1\\share", "C:\\Windows\\win.ini", "/dev/zero", "/dev/stdin", "/proc/self/environ", "|id", "`id`",
        "$(id)", "; id",
        "{{7*7}}", "${7*7}", "%s%s%s%n", "<script>alert(1)</script>", "'; DROP TABLE x; --", "x" * 9000,
        "\ud800", "\u202e", "\u0000\uffff", "a\u0300" * 100, "__class__", "__proto__", "constructor", "None", "NaN",
        "gradio.FileData", json.dumps({"path": secret, "meta": {"_type": "gradio.FileData"}}), "video3d.json",
    ]  # fmt: skip


def bodies(secret: str) -> Iterator[tuple[str, bytes]]:
    """(path, JSON): every field of every endpoint in turn, alone and beside sound ones; objects that are no request."""
    for path, sound in FIELDS.items():
        for field in sound:
            for value in [*file_objects(secret), *wrong_types()]:
                yield path, json.dumps({**sound, field: value}).encode()
            for text in hostile_texts(secret):
                if field != "question":  # any text without < may be a question
                    yield path, json.dumps({**sound, field: text}).encode()
            if field in ("scene", "question"):
                yield path, json.dumps({name: value for name, value in sound.items() if name != field}).encode()
        for extra in ("path", "url", "files", "fn_index", "session_hash", "event_data", "trigger_id", "state", "data"):
            for value in (*file_objects(secret)[:2], "x", 1):
                yield path, json.dumps({**sound, extra: value}).encode()
        for whole in [*file_objects(secret), *wrong_types(), secret]:
            yield path, json.dumps(whole).encode()
        for raw in (b"", b"{", b"\xff", b"[" * 15_000, b'{"scene":' * 1500, b"9" * 15_000, b"x" * 15_000, b"\0" * 99):
            yield path, raw


def raw_requests(port: int) -> list[bytes]:
    """What is no HTTP request, or a doubtful one."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    post = f"POST /api/show HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
    return [text.encode("latin-1") for text in (
        "\r\n\r\n", "\0\0\0\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET /\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH-2.0-x\r\n",
        f"GET / HTTP/1.1\r\n{host}{host}\r\n", f"GET / HTTP/1.1\r\n{host}X: {'y' * 200_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}" + "X: y\r\n" * 20_000 + "\r\n", f"GET /{'a' * 100_000} HTTP/1.1\r\n{host}\r\n",
        f"{post}Content-Length: -1\r\n\r\n{{}}", f"{post}Content-Length: 1e3\r\n\r\n{{}}",
        f"{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}", f"{post}Content-Length: {'9' * 30}\r\n\r\n{{}}",
        f"{post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}",
        f"{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", f"{post}Transfer-Encoding: gzip\r\n\r\n{{}}",
        f"{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n", f"{post}Expect: 100-continue\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        f"GET http://evil.example/ HTTP/1.1\r\n{host}\r\n", f"GET / HTTP/1.1\r\n{host}Bad Header: x\r\n\r\n",
        f"GET / HTTP/1.1\r\n{host}X:\x01\r\n\r\n",
        f"GET / HTTP/1.1\r\n {host}\r\n", f"GET /\xff HTTP/1.1\r\n{host}\r\n",
        f"GET / HTTP/1.1\r\n{host}\r\n" * 500,
    )]  # fmt: skip
