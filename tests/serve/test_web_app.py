"""The web page's own rules, asked without a server: who may ask, and who may send files."""

from __future__ import annotations

import pytest

from video3d_plugin.serve.app import build
from video3d_plugin.serve.desk import Desk

pytest.importorskip("gradio", reason="needs gradio: pip install 'video3d-plugin[serve]'")
UPLOAD = "/gradio_api/upload"
FILE = {"files": ("a.zip", b"content")}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """page(uploads) -> a client of the page, which is reached as 127.0.0.1:7860."""
    from starlette.testclient import TestClient

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    desks = []

    def open_page(uploads: bool = True) -> TestClient:
        desks.append(Desk(None, {}, uploads=uploads))  # no question is asked
        return TestClient(build(desks[-1], ["127.0.0.1"]), base_url="http://127.0.0.1:7860")

    yield open_page
    for desk in desks:
        desk.close()


def test_without_uploads_no_file_is_taken(page, tmp_path):
    client = page(uploads=False)
    assert client.get("/").status_code == 200
    for path in (UPLOAD, UPLOAD + "/", "/gradio_api/call/upload"):
        assert client.post(path, files=FILE).status_code == 403
    assert not list(tmp_path.rglob("a.zip"))
    assert "/upload" not in client.get("/gradio_api/info").json()["named_endpoints"]


ORIGINS = ["http://evil.example", "http://127.0.0.1:8000", "null", "", "http://", "http://[", "127.0.0.1:7860"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_page_of_another_site_can_neither_send_a_file_nor_ask(page, tmp_path, origin):
    client, headers = page(), {"Origin": origin}
    assert client.post(UPLOAD, files=FILE, headers=headers).status_code == 403
    assert client.post("/gradio_api/call/choose", json={"data": ["x"]}, headers=headers).status_code == 403
    assert client.options(UPLOAD, headers=headers | {"Access-Control-Request-Method": "POST"}).status_code == 403
    assert not list(tmp_path.rglob("a.zip"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:7860"},
        {"Origin": "https://scans.example", "X-Forwarded-Host": "scans.example"},  # a proxy in front
    ],
)
def test_its_own_page_and_programs_can(page, headers):
    assert page().post(UPLOAD, files=FILE, headers=headers).status_code == 200
