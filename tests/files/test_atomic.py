"""Final names never hold half a file or half a folder; one module makes temporary names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import video3d_plugin
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files import atomic
from video3d_plugin.files.text import read_text

PACKAGE = Path(video3d_plugin.__file__).parent


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_appears_whole(tmp_path):
    with atomic.replacing_folder(tmp_path / "a" / "out") as folder:
        (folder / "x").write_text("1")
        (folder / "y").mkdir()
        assert not (tmp_path / "a" / "out").exists()
    assert sorted(path.name for path in (tmp_path / "a" / "out").iterdir()) == ["x", "y"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_an_empty_folder_and_a_link_to_one_are_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic.replacing_folder(tmp_path / "link") as folder:
        (folder / "x").write_text("1")
    assert (tmp_path / "real" / "x").read_text() == "1" and (tmp_path / "link").is_symlink()


def test_a_mounted_folder_is_filled(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    inode = (tmp_path / "out").stat().st_ino
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "out")
    with atomic.replacing_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("1")
    assert (tmp_path / "out").stat().st_ino == inode and [p.name for p in (tmp_path / "out").iterdir()] == ["x"]


def test_a_failure_leaves_nothing_and_keeps_its_error(tmp_path):
    with pytest.raises(KeyError), atomic.replacing_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("1")
        raise KeyError("x")
    with pytest.raises(MissingError, match="file not found"), atomic.replacing_folder(tmp_path / "out"):
        read_text(tmp_path / "none")
    with pytest.raises(MissingError, match="file not found"), atomic.replacing(tmp_path / "out"):
        read_text(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(DataError, match="cannot be written"), atomic.replacing_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("1")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"] and len(list(tmp_path.iterdir())) == 1


def test_folders_of_killed_writers_go_and_those_of_living_and_other_ones_stay(tmp_path):
    names = [f".{name}.{atomic.HOST}.{pid}-0{atomic.SUFFIX}" for name, pid in
             (("out", dead_process()), ("out", os.getppid()), ("other", dead_process()))]  # fmt: skip
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("1")
    with atomic.replacing_folder(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", *names[1:]])


def test_one_module_makes_temporary_names():
    """Renaming over a final name is what such writing ends with."""
    pattern = re.compile(r"os\.replace\(|os\.rename\(|NamedTemporaryFile|mkstemp")
    users = [p.relative_to(PACKAGE).as_posix() for p in sorted(PACKAGE.rglob("*.py")) if pattern.search(p.read_text())]
    assert users == ["files/atomic.py"]
