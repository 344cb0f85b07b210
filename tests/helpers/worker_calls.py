"""Calls that tests hand to worker processes, which find them here: a worker imports no test module."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.serve import progress, reading
from video3d_plugin.serve.progress import Progress
from video3d_plugin.serve.reading import ModelView
from video3d_plugin.serve.scenes import SceneSource


def echo(value):
    return value


def raise_about_file(missing):
    kind = MissingError if missing else DataError
    raise kind("no picture", where="/home/owner/scan/00010.jpg", remedy="export it again")


def divide():
    return 1 / 0


def read_bytes(path):
    return Path(path).read_bytes()


def backtrack():
    import re

    return re.match(r"(a+)+$", "a" * 60 + "b")  # C code that releases nothing and looks at no signal


def allocate(size):
    return len(bytearray(size))


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def open_everything(folder, outside):
    reading.deny_files_outside(folder)
    seen = {}
    for name, path in {
        "inside": folder / "a.txt",
        "outside": outside,
        "by dots": folder / ".." / outside.name,
        "by a link": folder / "link",
        "passwd": Path("/etc/passwd"),
        "module": Path(np.__file__),
    }.items():
        try:
            with open(path) as file:
                seen[name] = file.read(1) != ""
        except PermissionError as error:
            seen[name] = str(error.strerror)
    for name, path in {"write inside": folder / "b.txt", "write outside": folder.parent / "c.txt"}.items():
        try:
            path.write_text("x")
            seen[name] = True
        except PermissionError as error:
            seen[name] = str(error.strerror)
    return seen


def start_programs(marker):
    import socket

    reading.deny_programs()
    refused = 0
    for start in (
        lambda: subprocess.run(["touch", marker]),
        lambda: os.system(f"touch {marker}"),
        lambda: os.popen(f"touch {marker}"),
        lambda: os.execvp("touch", ["touch", marker]),
        lambda: os.posix_spawnp("touch", ["touch", marker], {}),
        lambda: os.fork(),
        lambda: socket.create_connection(("127.0.0.1", 9), 1),
    ):
        try:
            start()
        except PermissionError:
            refused += 1
    return refused


def blocking_read(source: SceneSource, model: object, send: object) -> None:
    """Stands in for a reader that waits for ever."""
    threading.Event().wait()


def read_unless_stuck(source: SceneSource, model: ModelView, send):
    """Read a scan; one called "stuck" reports half of its frames and then waits for ever."""
    if source.scene_id != "stuck":
        return reading.read_scan(SceneSource(source.path), model, send)
    send(Progress(progress.CHECKING, 3, 6))
    return blocking_read(source, model, send)


def read_with_another(source: SceneSource, model: ModelView, send):
    """Read a scan once another worker has begun to read one too."""
    began = Path(source.scene_id)
    (began / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(began.iterdir())) < 2:
        if time.monotonic() > end:
            raise DataError("no other reading began")
        time.sleep(0.01)
    return reading.read_scan(SceneSource(source.path), model, send)


def report_nonsense(source: SceneSource, model: ModelView, send):
    """Report what no reading says of itself, as a worker that a damaged image has taken over may."""
    stage = progress.CHECKING
    for value in (("<b>", 1, 2), (stage, 2, 1), (stage, "1", 2), (np.zeros(2), 0, 0), (stage, 0, 1 << 40)):
        send(Progress(*value))
    send("text")
    Path(source.scene_id).touch()
    return blocking_read(source, model, send)
