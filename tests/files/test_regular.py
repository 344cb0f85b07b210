"""Only regular files are opened, whole, bounded, and within a root where one is given."""

from __future__ import annotations

import os
import socket

import pytest

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.json import MAX_DEPTH, json_lines, parse_json, read_json
from video3d_plugin.files.regular import is_regular, open_regular, read_bounded, read_regular
from video3d_plugin.files.text import read_text
from video3d_plugin.scene import FileSlice


def test_a_file_is_read_whole_within_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345" and is_regular(path)
    with pytest.raises(DataError, match="5 bytes, more than the 4"):
        read_regular(path, 4)
    path.write_bytes(b"")
    assert read_regular(path, 0) == b""


def test_what_states_no_size_is_bounded_too():
    path = "/proc/self/status"
    with open(path, "rb") as file, pytest.raises(DataError, match="more than the 10 bytes"):
        read_bounded(file, 10, path)


def make(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            os.chdir(path.parent)  # a socket's name has at most 100 letters
            sock.bind(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "loop"])
@pytest.mark.parametrize("read", [read_text, read_json, lambda p: list(json_lines(p)), lambda p: FileSlice(p).read()])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, kind, read):
    monkeypatch.chdir(tmp_path)  # put back where `make` leaves another
    path = tmp_path / "a"
    make(kind, path)
    assert not is_regular(path)
    with pytest.raises(DataError, match=str(path)) as caught:
        read(path)
    reasons = {"folder": "is a folder, not a file", "loop": "cannot be read: Too many levels of symbolic links"}
    assert caught.value.what == reasons.get(kind, "is not a regular file but a pipe, a socket or a device")


@pytest.mark.parametrize("name", ["none", "a" * 300, "a/" * 3000, "a\0b"])
def test_names_that_no_file_has(tmp_path, name):
    assert not is_regular(tmp_path / name)
    with pytest.raises((MissingError, DataError)) as caught:
        open_regular(tmp_path / name)
    assert len(str(caught.value)) < 1000


def test_a_link_out_of_the_root_is_refused_on_the_open_file(tmp_path):
    inside, outside = tmp_path / "scan", tmp_path / "secret"
    inside.mkdir()
    outside.write_bytes(b"secret")
    (inside / "good").write_bytes(b"good")
    (inside / "within").symlink_to("good")
    (inside / "out").symlink_to(outside)
    assert read_regular(inside / "within", 10, root=inside) == b"good"
    assert read_regular(inside / "out", 10) == b"secret"  # no root was given
    for path in (inside / "out", inside / ".." / "secret"):
        with pytest.raises(DataError, match="lies outside"):
            read_regular(path, 10, root=inside)
        with pytest.raises(DataError, match="lies outside"):
            FileSlice(path, root=inside).read()
    (tmp_path / "other").symlink_to(inside)  # the root itself may be reached through a link
    assert read_regular(tmp_path / "other" / "good", 10, root=tmp_path / "other") == b"good"


def test_a_slice_has_a_bound(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    assert FileSlice(path, 2, 3).read() == b"234" and FileSlice(path, 8, 5).read() == b"89"
    with pytest.raises(DataError, match="more than the 4"):
        FileSlice(path, 0, 5).read(limit=4)
    with pytest.raises(DataError, match="more than the 4"):
        FileSlice(path).read(limit=4)


def test_json_has_a_depth(tmp_path):
    parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, list, tmp_path)
    for depth in (MAX_DEPTH + 1, 900, 100_000):
        with pytest.raises(DataError, match="nested too deeply"):
            parse_json("[" * depth + "]" * depth, list, tmp_path)
    with pytest.raises(DataError, match="nested too deeply"):
        parse_json('{"a":' * 100 + "1" + "}" * 100, dict, tmp_path)
