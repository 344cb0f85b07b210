"""The HTTP API's own rules, asked without a server: who may ask, what a request may hold, what an answer carries."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs starlette: pip install 'video3d-plugin[serve]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'video3d-plugin[serve]'")

from asgi_client import call, post  # noqa: E402

from video3d_plugin.serve import app as app_module  # noqa: E402
from video3d_plugin.serve import middleware  # noqa: E402
from video3d_plugin.serve.app import build  # noqa: E402
from video3d_plugin.serve.service import Limits, SceneService  # noqa: E402

ZIP = {"content-type": "application/zip"}


@pytest.fixture
def make_app():
    """make_app() -> the application, reached as 127.0.0.1:7860; it has no scenes, and no model is asked."""
    services = []

    def make(hosts=("127.0.0.1",), **options):
        services.append(SceneService(None, {}, **options))
        return build(services[-1], list(hosts))

    make.services = services
    yield make
    for service in services:
        service.close()


@pytest.fixture
def app(make_app):
    return make_app()


def test_the_page_and_its_parts_are_sent_with_a_policy_that_allows_nothing_else(app):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        answer = call(app, "GET", path)
        assert answer.status == 200 and answer.headers["content-type"].startswith(kind) and answer.body
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    html = call(app, "GET", "/").text
    assert re.findall(r"<script[^>]*>[^<]", html) == [] and " on" not in re.sub(r">[^<]*<", "><", html)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {"data:,", "page.css", "page.js"}
    assert "innerHTML" not in call(app, "GET", "/page.js").text


def test_the_page_lists_what_there_is(make_app):
    assert call(make_app(), "GET", "/api/scenes").json() == {
        "scenes": [],
        "show": ["answer and boxes", "answer", "boxes"],
        "max_upload_bytes": 500 << 20,
        "model": "",
    }
    assert call(make_app(uploads=False), "GET", "/api/scenes").json()["max_upload_bytes"] == 0


def test_without_uploads_there_is_no_route_for_them(make_app):
    app = make_app(uploads=False)
    for path in ("/api/uploads", "/api/uploads/", "/gradio_api/upload", "/upload"):
        assert call(app, "POST", path, ZIP, b"content").status == 404
    assert list(make_app.services[0].folder.iterdir()) == []


ORIGINS = ["http://evil.example", "http://127.0.0.1:8000", "null", "", "http://", "http://[", "127.0.0.1:7860"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_page_of_another_site_can_neither_send_a_file_nor_ask(make_app, origin):
    app, headers = make_app(), {"Origin": origin}
    assert call(app, "POST", "/api/uploads", ZIP | headers, b"x").status == 403
    assert post(app, "/api/show", {"scene": "x"}, **headers).status == 403
    assert call(app, "OPTIONS", "/api/uploads", headers | {"Access-Control-Request-Method": "POST"}).status == 403
    assert call(app, "GET", "/api/scenes", headers).status == 403
    two = [("origin", "http://127.0.0.1:7860"), ("origin", origin), *ZIP.items()]
    assert call(app, "POST", "/api/uploads", two, b"x").status == 403
    assert list(make_app.services[0].folder.iterdir()) == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "made-up"])
def test_nor_can_one_that_sends_no_origin(app, site):
    headers = {"Sec-Fetch-Site": site}
    for path in ("/api/scenes", "/viewer/x", "/page.js"):
        assert call(app, "GET", path, headers).status == 403
    assert post(app, "/api/show", {"scene": "x"}, **headers).status == 403
    assert call(app, "GET", "/", headers).status == 200  # a link to the page may stand anywhere


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_of_another_site_can_send_is_no_request(app, kind):
    for path in ("/api/show", "/api/ask", "/api/uploads"):
        assert call(app, "POST", path, {"content-type": kind}, b'{"scene": "x"}').status == 415


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:7860"},
        {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://scans.example", "X-Forwarded-Host": "scans.example"},  # a proxy in front
    ],
)
def test_its_own_page_and_programs_can(app, headers):
    assert post(app, "/api/show", {"scene": "x"}, **headers).json() == {
        "error": "no scene 'x' (choose one of the list, or upload it again)"
    }


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("127.0.0.1:7860", 200), ("LOCALHOST:1", 200), ("[::1]:7860", 200), ("evil.example", 400),
     ("127.0.0.1.evil.example", 400), ("", 400), ("127.0.0.1:7860:1", 400), ("[", 400), ("@127.0.0.1", 400)],
)  # fmt: skip
def test_only_its_own_names_are_answered(make_app, host, status):
    app = make_app(["127.0.0.1", "localhost", "::1"])
    assert call(app, "GET", "/", {"host": host}).status == status
    assert call(make_app(["*"]), "GET", "/", {"host": host}).status == 200


def test_two_hosts_are_none(app):
    assert call(app, "GET", "/", [("host", "127.0.0.1"), ("host", "127.0.0.1")]).status == 400


def test_a_websocket_is_closed(app):
    sent = []

    async def ask():
        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message)

        await app({"type": "websocket", "path": "/", "headers": []}, receive, send)

    asyncio.run(ask())
    assert [message["type"] for message in sent] == ["websocket.close"]


BODIES = {
    b"": "not JSON",
    b"\xff\xfe": "not JSON",
    b'"x"': "not a JSON object",
    b"[]": "not a JSON object",
    b"NaN": "not a JSON object",
    b"[" * 16_000: "not JSON",
    b'{"scene": ' * 1500: "not JSON",
    b"1" * 16_000: "not JSON",
    b"{}": "'scene' is missing",
    b'{"scene": "x", "extra": 1}': "unknown field 'extra'",
    b'{"scene": "x", "__proto__": {}}': "unknown field",
    b'{"scene": "\\ud800"}': "half a character",
    b'{"scene": 7}': "'scene' is not text",
}


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_request_that_is_none_is_refused_with_a_reason(app, body):
    answer = post(app, "/api/show", body)
    assert answer.status == 422 and BODIES[body] in answer.json()["error"] and len(answer.body) < 400


def test_a_large_request_is_refused_before_it_is_read(app):
    headers = {"content-type": "application/json"}
    for length in ("99999999", "9" * 4000, "-1", "1e9", "", "\xb2"):
        answer = call(app, "POST", "/api/show", [*headers.items(), ("content-length", length)], b"{}")
        assert answer.status == 413, length
    endless = [b"{" + b" " * 4000] * 20
    assert call(app, "POST", "/api/show", headers, endless).status == 413


def test_a_request_that_comes_too_slowly_is_refused(make_app, monkeypatch):
    monkeypatch.setattr(middleware, "BODY_S", 0.3)
    monkeypatch.setattr(middleware, "CHUNK_S", 0.3)
    monkeypatch.setattr(middleware, "UPLOAD_S", 1)
    app, start = make_app(), time.monotonic()
    assert call(app, "POST", "/api/show", {"content-type": "application/json"}, [b"{", 20.0, b"}"]).status == 408
    assert call(app, "POST", "/api/uploads", ZIP, [b"PK", 20.0, b""]).status == 408
    drops = [part for _ in range(100) for part in (b"P", 0.1)]
    assert call(app, "POST", "/api/uploads", ZIP, drops).status == 408
    assert time.monotonic() - start < 15 and list(make_app.services[0].folder.iterdir()) == []


def test_a_file_over_the_limit_leaves_nothing(make_app):
    app = make_app(limits=Limits(bytes=1000))
    parts = [b"x" * 600, b"x" * 600]
    assert call(app, "POST", "/api/uploads", ZIP, parts).status == 413
    assert call(app, "POST", "/api/uploads", ZIP | {"content-length": "1001"}, b"").status == 413
    assert list(make_app.services[0].folder.iterdir()) == []


def test_a_client_that_goes_away_leaves_nothing(make_app):
    app = make_app()
    assert call(app, "POST", "/api/uploads", ZIP, [b"PK", None]).status == 400
    assert list(make_app.services[0].folder.iterdir()) == []


def test_only_so_many_uploads_arrive_at_a_time(make_app, monkeypatch):
    monkeypatch.setattr(app_module, "MAX_ARRIVING", 0)
    answer = call(make_app(), "POST", "/api/uploads", ZIP, b"PK")
    assert answer.status == 503 and answer.headers["retry-after"] == "60"


def test_a_full_disk_is_said(make_app, monkeypatch):
    app = make_app()

    def full(*_):
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr("builtins.open", full)
    answer = call(app, "POST", "/api/uploads", ZIP, b"PK")
    monkeypatch.undo()
    assert answer.status == 507 and "/tmp" not in answer.text


def test_an_unexpected_error_shows_nothing_of_itself(make_app, monkeypatch, caplog):
    app = make_app()
    monkeypatch.setattr(make_app.services[0], "read", lambda name: 1 / 0)
    answer = post(app, "/api/show", {"scene": "x"})
    assert answer.status == 500 and answer.json() == {"error": "unexpected error; the server's log says more"}
    assert "ZeroDivisionError" in caplog.text


def test_a_view_is_shown_in_an_origin_of_its_own(make_app, monkeypatch):
    from concurrent.futures import Future

    app, page = make_app(), Future()
    page.set_result("<!doctype html>")
    monkeypatch.setattr(make_app.services[0], "page", lambda token: page if token == "known" else None)
    answer = call(app, "GET", "/viewer/known")
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts; frame-ancestors 'self'"
    assert call(app, "GET", "/viewer/other").status == 404


def test_the_security_page_names_every_route_and_no_other(app):
    """docs/security.md has a row for each route: | `GET /` | why |"""
    text = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
    listed = set(re.findall(r"^\| `((?:GET|POST) /[^`]*)` \|", text, re.MULTILINE))
    assert listed == {f"{method} {route.path}" for route in app.routes for method in route.methods - {"HEAD"}}
