"""Attacks on a running `video3d serve`: every route of the app, every field, and what is no request at all.

After each round the server still answers, has logged no traceback, and nothing of a file that only the server may read
has been sent or copied.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs starlette: pip install 'video3d-plugin[serve]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'video3d-plugin[serve]'")

from attack_inputs import FIELDS, GRADIO, METHODS, TRAVERSALS, bodies, raw_requests  # noqa: E402
from server_process import Served, serving  # noqa: E402

from video3d_plugin.serve.app import build  # noqa: E402
from video3d_plugin.serve.service import SceneService  # noqa: E402

CANARY = "the-content-of-a-file-that-nobody-may-have"
JSON = {"Content-Type": "application/json"}

# Every route, and what its attacks are. A route that is not here fails the test below.
ATTACKED = {
    "GET /": "methods, headers, traversals",
    "GET /page.js": "methods, headers, traversals",
    "GET /page.css": "methods, headers, traversals",
    "GET /api/scenes": "methods, headers",
    "POST /api/show": "methods, headers, bodies",
    "POST /api/ask": "methods, headers, bodies",
    "POST /api/progress": "methods, headers, bodies",
    "POST /api/uploads": "methods, headers, uploads",
    "GET /viewer/{token}": "methods, headers, traversals",
}


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("private") / "secret.zip"
    path.write_text(CANARY * 10)
    return path


@pytest.fixture(scope="module")
def server(my_scan, tiny_checkpoint, tmp_path_factory) -> Iterator[Served]:
    words = (my_scan, "--model", tiny_checkpoint, "--max-upload-mb", 3)
    with serving(tmp_path_factory.mktemp("attacked") / "tmp", *words) as served:
        assert served.post("/api/show", {"scene": "my_scan"})[0] == 200
        yield served


@pytest.fixture
def served(server, my_scan, secret) -> Iterator[Served]:
    """The server; after the attack it must answer, promptly, and must have said nothing."""
    yield server
    start = time.monotonic()
    assert server.get("/api/scenes")[0] == 200
    assert server.post("/api/show", {"scene": "my_scan"})[0] == 200
    assert time.monotonic() - start < 20
    assert "Traceback" not in server.errors
    copied = [path for path in server.temporary.rglob("*") if path.is_file()]
    assert copied == [], "a request left a file"


def check(body: bytes, secret: Path) -> None:
    """The answer holds no content of the secret, and no path."""
    for text in (
        CANARY,
        str(secret.parent),
        "site-packages",
        "video3d-serve-",
        "Traceback",
        "root:x:0",
        str(Path.home()),
    ):
        assert text.encode() not in body, (text, body[:500])


def test_every_route_of_the_app_is_attacked():
    service = SceneService(None, {})
    try:
        app = build(service, ["127.0.0.1"])
    finally:
        service.close()
    routes = set()
    for route in app.routes:
        assert type(route).__name__ == "Route", f"{route} is no plain route: list what lies below it"
        routes |= {f"{method} {route.path}" for method in route.methods - {"HEAD"}}
    assert routes == ATTACKED.keys()
    assert {path for path in FIELDS} == {r.split()[1] for r, how in ATTACKED.items() if "bodies" in how}


def test_a_route_that_nobody_listed_would_be_seen():
    from starlette.routing import Mount, Route

    extra = [Route("/config", lambda request: None), Mount("/gradio_api", routes=[])]
    assert f"GET {extra[0].path}" not in ATTACKED and type(extra[1]).__name__ != "Route"


def test_no_field_takes_a_file_or_anything_but_its_own_strings(served, secret):
    count, connection = 0, http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for path, body in bodies(str(secret)):
        connection.request("POST", path, body, JSON)
        answer = connection.getresponse()
        content = answer.read()
        check(content, secret)
        # an unknown page begins a new list, and of an unknown reading nothing is told
        may_be_sound = (path == "/api/ask" and b'"after": "' in body) or (path == "/api/progress" and b'": "' in body)
        assert answer.status in ((200, 404, 413, 422) if may_be_sound else (404, 413, 422)), (body[:200], content[:200])
        if answer.status == 200 and path == "/api/progress":
            assert json.loads(content) == {"stage": "", "done": 0, "total": 0}
        elif answer.status == 200:
            assert b'"scene": "my_scan"' in body and b'"show": "boxes"' in body
        assert len(content) < 4000
        count += 1
    connection.close()
    assert count > 450


def test_no_other_path_is_answered_by_any_method(served, secret):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    paths = ["/" + path.replace("SECRET", str(secret)) for path in GRADIO]
    for path in paths:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            body = b'{"data": [], "fn_index": 0}' if method in ("POST", "PUT") else None
            connection.request(method, path, body, JSON if body else {})
            answer = connection.getresponse()
            check(answer.read(), secret)
            assert answer.status in (404, 405), (method, path, answer.status)
    connection.close()


def test_no_path_leads_to_a_file(served, secret):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for path in [*TRAVERSALS, f"/viewer/{secret}", f"/{secret}", f"/?file={secret}", f"/page.js?path={secret}"]:
        for method in ("GET", "HEAD", "POST"):
            connection.putrequest(method, path, skip_accept_encoding=True)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            answer = connection.getresponse()
            check(answer.read(), secret)
            known = path.partition("?")[0] in ("/", "/page.js", "/page.css")
            assert answer.status in ((200, 405) if known else (404, 405)), (method, path, answer.status)
    connection.close()


def test_each_route_takes_its_own_method_alone(served, secret):
    for route in ATTACKED:
        own, path = route.replace("{token}", "made-up").split()
        for method in METHODS:
            if method == own or (method == "HEAD" and own == "GET"):
                continue
            status, body, _ = served.request(method, path, b"x" if method == "POST" else None)
            check(body, secret)
            assert status in (400, 404, 405), (method, path, status)


HEADERS = [
    {"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}, {"Host": "localhost:1@evil.example"},
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "file://"},
    {"Origin": "http://evil.example", "X-Forwarded-For": "127.0.0.1"}, {"Origin": "http://localhost"},
    {"Origin": "http://evil.example", "Forwarded": "host=evil.example"}, {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://evil.example", "X-HTTP-Method-Override": "GET"}, {"Sec-Fetch-Site": "same-site"},
]  # fmt: skip


def test_no_route_answers_a_page_of_another_site(served, secret):
    for route in ATTACKED:
        method, path = route.replace("{token}", "made-up").split()
        for headers in HEADERS:
            if path == "/" and "Sec-Fetch-Site" in headers:
                continue  # a link to the page may stand anywhere
            status, body, sent = served.request(method, path, b"{}" if method == "POST" else None, {**JSON, **headers})
            assert status in (400, 403), (route, headers, status)
            assert not any(name.startswith("access-control") for name in sent)
            check(body, secret)


def test_headers_that_name_other_places_change_nothing(served, secret):
    names = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path", "Referer", "Cookie",
                 "X-Forwarded-Proto", "Range", "If-None-Match", "Authorization", "X-Gradio-User",
             "Content-Encoding")  # fmt: skip
    for name in names:
        for value in (
            str(secret),
            f"file://{secret}",
            "../../etc/passwd",
            "http://evil.example/",
            "bytes=0-",
            "x" * 5000,
        ):
            for path in ("/", "/api/scenes", "/viewer/made-up"):
                status, body, sent = served.request("GET", path, headers={name: value})
                check(body, secret)
                assert status == (404 if "viewer" in path else 200) and b"evil.example" not in body
                assert "location" not in sent and "set-cookie" not in sent


def test_uploads_take_zip_files_alone(served, secret, tmp_path):
    import io
    import zipfile

    def zipped(**members: str) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as opened:
            for name, content in members.items():
                opened.writestr(name.replace("__", "/"), content)
        return file.getvalue()

    zip_type, link = {"Content-Type": "application/zip"}, io.BytesIO()
    with zipfile.ZipFile(link, "w") as opened:
        info = zipfile.ZipInfo("scan/00000.jpg")
        info.external_attr = 0o120777 << 16
        opened.writestr(info, str(secret))
    contents = [
        b"", b"PK", b"PK\x05\x06" + b"\0" * 18, os.urandom(5000), str(secret).encode(), link.getvalue(),
        zipped(**{"../../escape.txt": "x"}), zipped(**{"/etc/escape.txt": "x"}), zipped(**{"C:\\x": "x"}),
        zipped(scan__video3d_json="x"), zipped(**{"scan/video3d.json": "{}"}), zipped(**{"a" * 3000: "x"}),
        zipped(**{"/".join("d" * 2000): "x"}), zipped(**{"scan/transforms.json": "[" * 100_000}),
        zipped(**{"scan/transforms.json": f'{{"frames": [{{"file_path": "{secret}"}}]}}'}),
        zipped(**{"scan/rgb.txt": f"0 {secret}", "scan/depth.txt": f"0 {secret}",
                  "scan/groundtruth.txt": "0 0 0 0 0 0 0 1"}),
    ]  # fmt: skip
    for content in contents:
        status, body, _ = served.request("POST", "/api/uploads?name=a.zip", content, zip_type)
        assert status in (404, 422), (content[:80], body)
        check(body, secret)
    for name in ("", "..", f"{secret}", "../../x.zip", "%00", "a" * 3000, "%ED%A0%80", "a.zip&name=b.zip", "[]=x"):
        status, body, _ = served.request("POST", f"/api/uploads?name={name}", b"no zip", zip_type)
        assert status == 422, name
        check(body, secret)
    for kind in ("multipart/form-data; boundary=x", "application/json", "text/plain", "application/zip2", ""):
        part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{secret}"\r\n\r\nx\r\n--x--\r\n'
        status, body, _ = served.request("POST", "/api/uploads", part.encode(), {"Content-Type": kind})
        assert status == 415
    for field in ("url", "path", "file"):  # a file that the server should fetch
        status, body, _ = served.request("POST", f"/api/uploads?{field}=file://{secret}", b"", zip_type)
        assert status == 422
        check(body, secret)


def test_what_is_no_http_is_refused_and_forgotten(served, secret):
    for content in raw_requests(served.port):
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
            try:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                received = b""
                while chunk := connection.recv(1 << 16):
                    received += chunk
            except OSError:  # the server may close while it is still sent to
                continue
        check(received, secret)


def test_many_slow_connections_keep_nobody_waiting(served):
    """Half a request on each of 150 connections, and 40 uploads that do not go on."""
    connections = []
    try:
        for index in range(150):
            connection = socket.create_connection(("127.0.0.1", served.port), timeout=30)
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            if index < 40:
                head = f"x\r\nHost: 127.0.0.1:{served.port}\r\n\r\nPOST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                connection.sendall(f"{head}Content-Type: application/zip\r\nContent-Length: 99\r\n\r\nPK".encode())
            connections.append(connection)
        start = time.monotonic()
        assert served.get("/")[0] == 200
        assert served.post("/api/show", {"scene": "my_scan"})[0] == 200
        assert time.monotonic() - start < 15
    finally:
        for connection in connections:
            connection.close()
    end = time.monotonic() + 15
    while [p for p in served.temporary.rglob("*") if p.is_file()] and time.monotonic() < end:
        time.sleep(0.1)  # the server sees that the clients are gone


def test_many_questions_at_once_are_answered_or_told_to_come_back(served):
    statuses = []

    def ask():
        statuses.append(served.post("/api/ask", {"scene": "my_scan", "question": "the chair", "show": "boxes"})[0])

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 60 and set(statuses) <= {200, 503} and statuses.count(200) >= 10


def test_users_see_nothing_of_each_other(served, my_scan, tmp_path):
    """Names of uploads and of views are the only keys, and cannot be guessed: 128 bits each."""
    archive = Path(shutil.make_archive(str(tmp_path / "kitchen"), "zip", my_scan.parent, my_scan.name))
    scene = served.upload(archive)[1]["scene"]
    page = served.post("/api/show", {"scene": scene})[1]["page"]
    assert len(scene.removeprefix("kitchen-")) >= 22 and len(page.removeprefix("viewer/")) >= 22
    for listing in ("/", "/api/scenes", "/page.js"):
        assert scene not in served.get(listing)[1] and page not in served.get(listing)[1]
    for guess in (scene[:-1], scene[:-1] + "%", scene.upper(), "kitchen", "kitchen-", f"{scene}x"):
        assert served.post("/api/show", {"scene": guess})[0] == 404
    for guess in (page[:-1], page + "x", page.upper().replace("VIEWER", "viewer")):
        assert served.get("/" + guess)[0] == 404
    other = served.post("/api/ask", {"scene": "my_scan", "question": "x", "show": "boxes", "after": page})[1]["page"]
    assert '"items":[{' in served.get("/" + other)[1] and scene not in served.get("/" + other)[1]
