"""`video3d serve` as its users meet it: a process of its own, asked over HTTP on a free port."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

gradio_client = pytest.importorskip("gradio_client", reason="needs gradio: pip install 'video3d-plugin[serve]'")
pytest.importorskip("gradio", reason="needs gradio: pip install 'video3d-plugin[serve]'")


@dataclass
class Served:
    url: str
    process: subprocess.Popen
    client: gradio_client.Client
    temporary: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def get(self, path: str, **headers: str) -> tuple[int, str, dict]:
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)


def _as_from_a_terminal() -> None:
    """Whoever runs the tests in the background, or under nohup, hands ignored signals on."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def serving(temporary: Path, *words: object) -> Iterator[Served]:
    """A server in a process of its own, on a free port, that keeps its files in `temporary`."""
    command = [sys.executable, "-m", "video3d_plugin.cli", "serve", *words, "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(temporary), "GRADIO_TEMP_DIR": str(temporary / "gradio")}
    errors = open(temporary / "stderr", "w")  # noqa: SIM115  (the process writes to it until the end)
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
        preexec_fn=_as_from_a_terminal,
    )
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, f"{line!r} {(temporary / 'stderr').read_text()[-2000:]}"
    try:
        yield Served(found[0], process, gradio_client.Client(found[0], verbose=False), temporary)
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
        errors.close()


@pytest.fixture(scope="module")
def served(my_scan, tiny_checkpoint, tmp_path_factory) -> Iterator[Served]:
    words = (my_scan, "--model", tiny_checkpoint, "--max-upload-mb", 3)
    with serving(tmp_path_factory.mktemp("tmp"), *words) as served:
        yield served


def frame_of(page: str) -> str:
    """The path that the frame shows."""
    assert 'sandbox="allow-scripts"' in page and "allow-same-origin" not in page
    return "/" + re.search(r'src="(viewer/[\w-]+)"', page)[1]


def test_a_question_gives_an_answer_a_table_of_boxes_and_a_view(served):
    answer, table, page = served.client.predict("my_scan", "the chair", "answer and boxes", api_name="/ask")
    assert isinstance(answer, str) and len(table["data"]) > 0 and len(table["data"][0]) == len(table["headers"]) == 8
    confidences = [row[-1] for row in table["data"]]
    assert confidences == sorted(confidences, reverse=True)
    status, html, headers = served.get(frame_of(page))
    assert status == 200 and "Content-Security-Policy" in html and '"question":"the chair"' in html
    assert headers["cache-control"] == "no-store"


def test_an_uploaded_scan_can_be_asked_about_and_is_not_in_the_list_of_others(served, my_scan, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "kitchen"), "zip", my_scan.parent, my_scan.name)
    choice, page = served.client.predict(gradio_client.handle_file(archive), api_name="/upload")
    assert choice["value"].startswith("kitchen-") and served.get(frame_of(page))[0] == 200
    _, table, _ = served.client.predict(choice["value"], "the chair", "boxes", api_name="/ask")
    _, same, _ = served.client.predict("my_scan", "the chair", "boxes", api_name="/ask")
    assert table["data"] == same["data"]
    assert "kitchen-" not in served.get("/config")[1]


def test_what_is_wrong_is_said_without_paths_of_this_machine(served, tmp_path):
    (tmp_path / "a.zip").write_text("no zip at all")
    with pytest.raises(Exception, match=r"^a\.zip: not a whole zip file"):
        served.client.predict(gradio_client.handle_file(tmp_path / "a.zip"), api_name="/upload")
    with pytest.raises(Exception, match="no scene") as stop:
        served.client.predict("<img src=x>", "the chair", "boxes", api_name="/ask")
    assert "<img" not in str(stop.value)


def test_a_file_over_the_limit_is_refused_while_it_arrives(served, tmp_path):
    (tmp_path / "big.zip").write_bytes(b"\0" * (4 << 20))
    with pytest.raises(Exception, match="(?i)413|exceed|large"):
        served.client.predict(gradio_client.handle_file(tmp_path / "big.zip"), api_name="/upload")


def test_a_page_of_another_name_cannot_ask(served):
    assert served.get("/", Host="evil.example")[0] == 400
    assert served.get("/")[0] == 200
    assert served.get("/viewer/made-up")[0] == 404


def test_files_of_this_machine_cannot_be_fetched(served, my_scan):
    for path in (my_scan / "00000.jpg", Path("/etc/passwd"), served.temporary / "stderr"):
        assert served.get(f"/gradio_api/file={path}")[0] in (403, 404)


def test_only_loopback_is_listened_on(served):
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    others = [address for address in own if not address.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address but loopback")
    for address in others:
        with pytest.raises(OSError):
            socket.create_connection((address, served.port), timeout=5).close()


def test_no_part_of_the_page_comes_from_elsewhere(served):
    """Addresses in the configuration are examples of components; what is fetched are scripts, styles and images."""
    html = served.get("/")[1]
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)=["'](https?:)?//([^"'/]+)""", html)
    assert [host for _, host in loaded if not host.startswith("127.0.0.1")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_stopping_removes_what_was_uploaded(my_scan, tiny_checkpoint, tmp_path, number):
    archive = shutil.make_archive(str(tmp_path / "kitchen"), "zip", my_scan.parent, my_scan.name)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serving(temporary, "--model", tiny_checkpoint) as served:
        served.client.predict(gradio_client.handle_file(archive), api_name="/upload")
        assert list(temporary.glob("video3d-serve-*/*")) and list(temporary.glob("gradio/*/kitchen.zip"))
        served.process.send_signal(number)
        assert served.process.wait(30) == (143 if number == signal.SIGHUP else 128 + number)
    assert not list(temporary.glob("video3d-serve-*")) and not list(temporary.glob("gradio/*/*.zip"))
