"""Zip files are bounded before anything of them is unpacked: files, bytes, methods, and the directory itself."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

from video3d_plugin.data.readers.mask3d import read_mask_rows
from video3d_plugin.data.readers.pickles import load_pth
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.archive import open_zip


def zip_of(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_what_is_allowed_is_opened(tmp_path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with open_zip(zip_of(tmp_path / "a.zip", {"a": b"12", "b": b"3"}, method), 3, 2) as archive:
            assert archive.read("a") == b"12"
    with pytest.raises(MissingError), open_zip(tmp_path / "none.zip", 3, 2):
        pytest.fail("opened")


@pytest.mark.parametrize("bounds, message", [((2, 2), "MB unpacked"), ((3, 1), "holds 2 files, more than 1")])
def test_more_than_is_allowed(tmp_path, bounds, message):
    path = zip_of(tmp_path / "a.zip", {"a": b"12", "b": b"3"})
    with pytest.raises(DataError, match=message), open_zip(path, *bounds):
        pytest.fail("opened")


def test_a_member_that_states_more_bytes_than_the_file_has(tmp_path):
    """`zipfile` would take that much memory before it reads."""
    path = zip_of(tmp_path / "a.zip", {"data.pkl": b"12345678"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 20  # compressed and unpacked size of the directory's entry
    data[at : at + 8] = (900_000_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with (
        pytest.raises(DataError, match=r"states 900000000 bytes of a member; the file has \d+"),
        open_zip(path, 1 << 30, 9),
    ):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound(tmp_path, method):
    path = zip_of(tmp_path / "a.zip", {"data.pkl": bytes(1 << 20), "format.npy": b""}, method)
    with pytest.raises(DataError, match=f"method {method}"), open_zip(path, 1 << 30, 9):
        pytest.fail("opened")
    for read in (load_pth, read_mask_rows):
        with pytest.raises(DataError, match=f"method {method}"):
            read(path)


def test_a_directory_of_a_million_files_is_not_read(tmp_path, monkeypatch):
    count = 40_000
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:0100}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the directory is read"))
    with pytest.raises(DataError, match="too many files"), open_zip(tmp_path / "a.zip", 1 << 30, 100):
        pytest.fail("opened")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.rfind(b"PK\5\6")
    size = int.from_bytes(data[at + 12 : at + 16], "little")
    data[at + 12 : at + 16] = b"\xff" * 4  # the same in the records of large archives
    data[at:at] = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, 0) + b"PK\6\7" + bytes(16)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="too many files"), open_zip(tmp_path / "a.zip", 1 << 30, 100):
        pytest.fail("opened")


def test_an_npz_that_unpacks_to_gigabytes_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1 << 24, np.int8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("format", "shape", *(f"data{i}" for i in range(40))):
            archive.writestr(f"{name}.npy", buffer.getvalue())
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="705 MB unpacked"):
        read_mask_rows(tmp_path / "a.npz")
