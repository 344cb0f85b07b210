"""Worker processes: bounds on time and memory, errors as they were raised, and replies that are records only."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from worker_calls import (
    allocate,
    backtrack,
    die,
    divide,
    echo,
    open_everything,
    raise_about_file,
    read_bytes,
    start_programs,
)

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.inputs_spec import InputsSpec
from video3d_plugin.scene import Omission
from video3d_plugin.serve import reading, worker
from video3d_plugin.serve.worker import WorkerPool

posix = pytest.mark.skipif(os.name != "posix", reason="resource limits and FIFOs are POSIX")


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(60, 4 << 30)
    yield pool
    pool.close()


def test_records_arrays_and_plain_values_come_back(pool):
    value = {"a": [1, 2.5, None, "x"], "spec": InputsSpec(), "array": np.arange(6, dtype=np.float32).reshape(2, 3)}
    result = pool.run(echo, value)
    assert result["spec"] == InputsSpec() and result["a"] == value["a"]
    assert result["array"].dtype == np.float32 and np.array_equal(result["array"], value["array"])
    assert pool.run(echo, (Omission("frame 1", "why"), Path("x"))) == (Omission("frame 1", "why"), Path("x"))


@pytest.mark.parametrize("kind", [DataError, MissingError])
def test_an_error_keeps_its_kind_and_remedy_and_loses_its_folder(pool, kind):
    with pytest.raises(kind) as stop:
        pool.run(raise_about_file, kind is MissingError)
    assert str(stop.value) == "00010.jpg: no picture (export it again)" and stop.value.remedy == "export it again"


def test_an_unexpected_error_keeps_its_traceback_for_the_log(pool):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        pool.run(divide)


@dataclass
class Foreign:
    value: int = 1


class Command:
    def __reduce__(self):
        return os.system, ("touch worker-was-here",)


@pytest.mark.parametrize("make", [Foreign, Command, lambda: len], ids=["dataclass", "command", "function"])
def test_a_reply_that_is_not_a_record_is_refused(tmp_path, monkeypatch, make):
    """What a worker that was taken over could send: the reply is read by the server."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="is not part of a worker's reply"):
        worker.loads_reply(pickle.dumps(("result", make())))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reply", ["result", ("result",), (1, 2), ["report", 1]], ids=repr)
def test_a_reply_is_a_kind_and_a_value(reply):
    with pytest.raises(pickle.UnpicklingError, match="a kind and a value"):
        worker.loads_reply(pickle.dumps(reply))


@posix
def test_a_long_temporary_folder_does_not_matter(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    code = "from video3d_plugin.serve.worker import WorkerPool; print(WorkerPool(60, 4 << 30).run(len, 'four'))"
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "4\n", done.stderr


def test_a_call_that_takes_too_long_is_ended():
    pool, start = WorkerPool(1, 4 << 30), time.monotonic()
    with pytest.raises(DataError, match="took more than 1 seconds"):
        pool.run(time.sleep, 1000)
    assert time.monotonic() - start < 30 and pool.process_ids == []


@posix
def test_a_call_that_waits_for_a_fifo_is_ended(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="took more than 1 seconds"):
        WorkerPool(1, 4 << 30).run(read_bytes, tmp_path / "fifo")


@posix
def test_a_call_that_holds_the_interpreter_is_ended():
    with pytest.raises(DataError, match="took more than 1 seconds"):
        WorkerPool(1, 4 << 30).run(backtrack)


@posix
def test_a_call_that_needs_too_much_memory_is_ended():
    pool = WorkerPool(60, 2 << 30)
    with pytest.raises(DataError, match="needs more than 2.1 GB of memory"):
        pool.run(allocate, 6 << 30)
    assert pool.run(allocate, 1 << 20) == 1 << 20


@posix
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT], ids=lambda n: n.name)
def test_a_worker_that_dies_is_an_error_of_its_call_alone(pool, number):
    with pytest.raises(DataError, match="ended early"):
        pool.run(die, int(number))
    assert pool.run(echo, 1) == 1


def test_closing_ends_calls_and_later_ones_at_once():
    pool, errors = WorkerPool(600, 4 << 30), []

    def call():
        try:
            pool.run(time.sleep, 1000)
        except DataError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while not pool.process_ids:
        time.sleep(0.05)
    pool.close()
    thread.join(20)
    call()
    assert len(errors) == 2


@posix
def test_workers_end_when_the_server_is_killed(tmp_path):
    code = (
        "import threading, time\n"
        "from video3d_plugin.serve.worker import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool(600, 4 << 30)\n"
        "    threading.Thread(target=pool.run, args=(time.sleep, 1000), daemon=True).start()\n"
        "    while not pool.process_ids: time.sleep(0.05)\n"
        "    print(*pool.process_ids, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    worker_id = int(process.stdout.readline())
    time.sleep(1)
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 30
    while time.monotonic() < end and _is_running(worker_id):
        time.sleep(0.1)
    assert not _is_running(worker_id)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
        state = Path(f"/proc/{process_id}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False


@posix
def test_the_reader_of_an_upload_opens_nothing_outside_of_it(pool, tmp_path):
    folder, outside = tmp_path / "upload", tmp_path / "secret.txt"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    outside.write_text("secret")
    (folder / "link").symlink_to(outside)
    refused = "lies outside of the upload"
    assert pool.run(open_everything, folder, outside) == {
        "inside": True, "outside": refused, "by dots": refused, "by a link": refused, "passwd": refused,
        "module": True, "write inside": True, "write outside": refused,
    }  # fmt: skip
    assert not (tmp_path / "c.txt").exists()


@posix
def test_a_reader_starts_no_program_and_opens_no_connection(pool, tmp_path):
    assert pool.run(start_programs, str(tmp_path / "marker")) == 7
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/scan/00.jpg: is damaged", "00.jpg: is damaged"),
        ("3 MB are free in /tmp/video3d-serve-x1/upload-3", "3 MB are free in upload-3"),
        ("cannot be read: '/etc/passwd'", "cannot be read: 'passwd'"),
        (r"C:\Users\me\scan.zip: no", "scan.zip: no"),
        ("holds 3/4 of what and/or it needs", "holds 3/4 of what and/or it needs"),
        ("frame 00010 (/a/b c/d.png)", "frame 00010 (b c/d.png)"),
        ("", ""),
        ("see docs/own_scans.md", "see docs/own_scans.md"),
        ("//server/share/x", "x"),
    ],
)  # fmt: skip
def test_texts_lose_their_paths(text, shown):
    assert reading.without_paths(text) == shown


def test_names_of_folders_may_hold_spaces():
    assert reading.without_paths("/home/My Scans/a b/c.jpg: no", ["/home/My Scans/a b"]) == "c.jpg: no"


def test_a_long_text_is_no_burden():
    start = time.monotonic()
    for text in ("/" * 100_000, "/a" * 50_000, "a/" * 50_000 + " ", "/a b" * 30_000, "\\/" * 50_000, "C:" * 50_000):
        reading.without_paths(text)
    assert time.monotonic() - start < 5
