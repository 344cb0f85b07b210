"""`video3d serve` as its users meet it: a process of its own, asked over HTTP on a free port."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs starlette: pip install 'video3d-plugin[serve]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'video3d-plugin[serve]'")

from server_process import Served, serving  # noqa: E402

ENDS_WITHIN_S = 5
SLACK_S = 1.5  # for this test to see that the process has ended, on a loaded machine


@pytest.fixture(scope="module")
def served(my_scan, tiny_checkpoint, tmp_path_factory) -> Iterator[Served]:
    words = (my_scan, "--model", tiny_checkpoint, "--max-upload-mb", 3)
    with serving(tmp_path_factory.mktemp("serve") / "tmp", *words) as served:
        yield served


@pytest.fixture(scope="module")
def archive(my_scan, tmp_path_factory):
    place = tmp_path_factory.mktemp("zip") / "kitchen"
    return Path(shutil.make_archive(str(place), "zip", my_scan.parent, my_scan.name))


def test_a_scene_is_shown_and_a_question_gives_an_answer_boxes_and_a_view(served):
    assert served.get("/")[0] == 200
    status, shown = served.post("/api/show", {"scene": "my_scan"})
    assert status == 200 and "<!doctype html>" in served.get("/" + shown["page"])[1]
    asked = {"scene": "my_scan", "question": "the chair", "show": "answer and boxes"}
    status, reply = served.post("/api/ask", asked)
    assert status == 200 and isinstance(reply["answer"], str) and 0 < len(reply["boxes"]) <= 10
    assert all(len(found["box"]) == 6 for found in reply["boxes"])
    confidences = [found["confidence"] for found in reply["boxes"]]
    assert confidences == sorted(confidences, reverse=True)
    status, html, headers = served.get("/" + reply["page"])
    assert status == 200 and "Content-Security-Policy" in html and '"question":"the chair"' in html
    assert headers["cache-control"] == "no-store" and headers["content-security-policy"].startswith("sandbox")
    status, reply = served.post("/api/ask", {**asked, "question": "the table", "after": reply["page"]})
    html = served.get("/" + reply["page"])[1]
    assert '"question":"the chair"' in html and '"question":"the table"' in html


def test_an_uploaded_scan_can_be_asked_about_and_is_not_in_the_list_of_others(served, archive):
    status, uploaded = served.upload(archive)
    assert status == 200 and uploaded["scene"].startswith("kitchen-")
    replies = [
        served.post("/api/ask", {"scene": name, "question": "the chair", "show": "boxes"})[1]["boxes"]
        for name in (uploaded["scene"], "my_scan")
    ]
    assert replies[0] == replies[1]
    assert "kitchen-" not in served.get("/api/scenes")[1]


def test_what_is_wrong_is_said_without_paths_of_this_machine(served, tmp_path):
    (tmp_path / "a.zip").write_text("no zip at all")
    status, answer = served.upload(tmp_path / "a.zip", "a.zip")
    assert status == 422 and answer["error"].startswith("a.zip: not a whole zip")
    status, answer = served.post("/api/ask", {"scene": "<img src=x>", "question": "the chair"})
    assert status == 404 and "no scene" in answer["error"]


def test_a_file_over_the_limit_is_refused(served, tmp_path):
    (tmp_path / "big.zip").write_bytes(b"\0" * (4 << 20))
    status, answer = served.upload(tmp_path / "big.zip")
    assert status == 413 and "too large" in answer["error"]


def test_only_loopback_is_listened_on(served):
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    others = [address for address in own if not address.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address but loopback")
    for address in others:
        with pytest.raises(OSError):
            socket.create_connection((address, served.port), timeout=5).close()


def test_no_part_of_the_page_comes_from_elsewhere(served):
    html = "".join(served.get(path)[1] for path in ("/", "/page.js", "/page.css"))
    assert re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", html) == []


def test_nothing_of_an_upload_stays_on_the_disk(served, archive):
    served.upload(archive)
    assert [path.name for path in served.temporary.rglob("*") if path.is_file()] == []


def end(served: Served, number: int) -> float:
    """Send the signal; the seconds until the process has ended. No folder of it is left."""
    start = time.monotonic()
    served.process.send_signal(number)
    assert served.process.wait(30) == 128 + (signal.SIGTERM if number == signal.SIGHUP else number)
    seconds = time.monotonic() - start
    assert not list(served.temporary.glob("video3d-serve-*"))
    assert "Traceback" not in served.errors
    return seconds


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
    ids=lambda number: number.name,
)
def test_a_signal_ends_the_server_while_uploads_arrive(tiny_checkpoint, archive, tmp_path, number):
    with serving(tmp_path / "tmp", "--model", tiny_checkpoint) as served:
        assert served.upload(archive)[0] == 200
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            head = f"POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/zip\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\nPK".encode())
            limit = time.monotonic() + 20
            while not list(served.temporary.rglob("arriving-*")) and time.monotonic() < limit:
                time.sleep(0.05)
            assert list(served.temporary.rglob("arriving-*"))
            assert end(served, number) < ENDS_WITHIN_S + SLACK_S


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are POSIX")
def test_a_scan_that_blocks_keeps_nobody_waiting_and_the_server_ends(my_scan, tiny_checkpoint, tmp_path):
    """A FIFO in place of an image: reading it would wait for ever."""
    stuck = Path(shutil.copytree(my_scan, tmp_path / "stuck"))
    for image in [*stuck.glob("*.jpg"), *stuck.glob("*.png"), *stuck.glob("0*.txt")]:
        image.unlink()
        os.mkfifo(image)
    with serving(tmp_path / "tmp", my_scan, stuck, "--model", tiny_checkpoint) as served:
        threads = [
            threading.Thread(target=lambda: _quiet(served.post, "/api/show", {"scene": "stuck"}), daemon=True)
            for _ in range(50)
        ]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        assert served.post("/api/ask", {"scene": "my_scan", "question": "the chair"})[0] == 200
        assert time.monotonic() - start < 30
        assert end(served, signal.SIGTERM) < ENDS_WITHIN_S + SLACK_S


def _quiet(call, *args):
    with suppress(OSError):  # the server ends while this request waits
        call(*args)


BUSY = """
import sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from video3d_plugin.cli import serve as cli
from video3d_plugin.serve import server
from video3d_plugin.serve.app import build
from video3d_plugin.serve.service import SceneService

def stuck(*args, **options):
    print("stuck", flush=True)
    while True:
        time.sleep({pause})

if __name__ == "__main__":
    with cli.listening("127.0.0.1", 0) as listener, server.Ending() as ending:
        model = SimpleNamespace(answer=stuck)
        service = SceneService(model, {{}})
        ending.clean_up = service.close
        service.ask("x", "Is it?", "answer", SimpleNamespace(inputs=None))
        server.run(build(service, ["127.0.0.1"]), listener, ending)
"""


@pytest.mark.parametrize("pause", [1000, pytest.param(0, marks=pytest.mark.slow)], ids=["waits", "computes"])
def test_a_model_that_never_answers_does_not_keep_the_server_from_ending(tmp_path, pause):
    script = tmp_path / "script.py"
    script.write_text(BUSY.format(pause=pause))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout.readline() == "stuck\n"
        time.sleep(1)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - start < ENDS_WITHIN_S + SLACK_S
    finally:
        process.kill()
        process.stdout.close()
    assert not list(tmp_path.glob("video3d-serve-*"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stopped processes are POSIX")
def test_a_stopped_worker_does_not_keep_the_server_from_ending(my_scan, tiny_checkpoint, tmp_path):
    with serving(tmp_path / "tmp", my_scan, "--model", tiny_checkpoint) as served:
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
        if not children.exists():
            pytest.skip("needs /proc")
        assert served.post("/api/show", {"scene": "my_scan"})[0] == 200
        for child in map(int, children.read_text().split()):
            os.kill(child, signal.SIGSTOP)  # the process that starts the workers
        thread = threading.Thread(target=lambda: _quiet(served.post, "/api/show", {"scene": "my_scan"}), daemon=True)
        thread.start()
        try:
            assert end(served, signal.SIGTERM) < ENDS_WITHIN_S + SLACK_S
        finally:
            for child in map(int, children.read_text().split() if children.exists() else []):
                os.kill(child, signal.SIGCONT)
