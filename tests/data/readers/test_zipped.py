"""Zipped recordings, as uploaded by strangers: unpacked within bounds, or refused in one line."""

from __future__ import annotations

import shutil
import stat
import zipfile

import pytest

from video3d_plugin import load_scene
from video3d_plugin.data.readers.zipped import unpack
from video3d_plugin.errors import DataError, MissingError


def zip_of(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def scan_zip(my_scan, tmp_path_factory):
    files = {f"my_scan/{path.name}": path.read_bytes() for path in my_scan.iterdir()}
    files |= {"__MACOSX/my_scan/._00000.jpg": b"x", "my_scan/.DS_Store": b"x"}
    return zip_of(tmp_path_factory.mktemp("zip") / "My scan.zip", files)


def test_a_zipped_scan_is_the_scan(scan_zip, my_scan):
    zipped, plain = load_scene(scan_zip), load_scene(my_scan)
    assert [f.name for f in zipped.frames] == [f.name for f in plain.frames]
    assert zipped.frames[0].color.read() == plain.frames[0].color.read()
    again = load_scene(scan_zip)
    assert again.frames[0].color.path == zipped.frames[0].color.path  # unpacked once


def test_the_folder_in_a_zip_is_found_and_litter_left_out(scan_zip, tmp_path):
    folder = unpack(scan_zip, tmp_path / "out")
    assert folder == tmp_path / "out" / "my_scan"
    assert not (tmp_path / "out" / "__MACOSX").exists() and not (folder / ".DS_Store").exists()


def test_a_root_in_scannets_layout_stays_a_root(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"export/posed_images/scene0000_00/00000.txt": "1"})
    assert unpack(path, tmp_path / "out") == tmp_path / "out" / "export"


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil", "a\\..\\..\\evil"])
def test_a_name_outside_is_refused_and_nothing_is_written(tmp_path, name):
    path = zip_of(tmp_path / "a.zip", {"good.txt": "1", name: "2"})
    with pytest.raises(DataError, match="outside of itself"):
        unpack(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip"]


def test_a_link_is_refused(tmp_path):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="holds a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"zeros": bytes(5_000_000)})
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match="5 MB unpacked, more than 1"):
        unpack(path, tmp_path / "out", max_bytes=1_000_000)
    with pytest.raises(DataError, match="2 files, more than 1"):
        unpack(zip_of(tmp_path / "b.zip", {"a": "1", "b": "2"}), tmp_path / "out", max_files=1)
    assert not (tmp_path / "out").exists()


def test_a_header_that_understates_the_size_gains_nothing(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"zeros": bytes(1_000_000)})
    data = bytearray(path.read_bytes())
    true, false = (1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    assert data.count(true) == 2
    path.write_bytes(bytes(data).replace(true, false))
    with pytest.raises(DataError, match="not a whole zip"):
        unpack(path, tmp_path / "out", max_bytes=10_000)
    assert not (tmp_path / "out").exists()


def test_damaged_empty_missing_and_doubled(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.txt": "hello " * 100}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="not a whole zip"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match="not a whole zip"):
        load_scene(path)
    with pytest.raises(DataError, match="is empty"):
        unpack(zip_of(tmp_path / "e.zip", {}), tmp_path / "out")
    with pytest.raises(DataError, match="same file twice"):
        unpack(zip_of(tmp_path / "d.zip", {"a": "1", "./a": "2"}), tmp_path / "out")
    with pytest.raises(DataError, match="same file twice"):
        unpack(zip_of(tmp_path / "f.zip", {"a": "1", "a/b": "2"}), tmp_path / "out2")
    with pytest.raises(MissingError, match="file not found"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["video3d.json", "data/video3d.json", "a/b/Video3D.json"])
def test_a_prepared_data_folder_is_refused(tmp_path, name):
    """Its records name files, and those may lie anywhere on the machine that opens the archive."""
    path = zip_of(tmp_path / "a.zip", {"posed_images/a/00000.txt": "1", name: "{}"})
    with pytest.raises(DataError, match="prepared data folder"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_what_is_no_file_is_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("00000.jpg")
    entry.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "")
    with pytest.raises(DataError, match="a device or a pipe"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["a" * 250 + ".jpg", "/".join(["folder"] * 200)])
def test_a_name_that_is_too_long_is_refused_before_anything_is_written(tmp_path, name):
    path = zip_of(tmp_path / "a.zip", {"a.txt": "1", name: "2"})
    with pytest.raises(DataError, match="name is too long") as caught:
        unpack(path, tmp_path / "out")
    assert len(str(caught.value)) < 500 and not (tmp_path / "out").exists()


KINDS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("compression", KINDS)
def test_a_zip_with_one_wrong_byte_is_unpacked_whole_or_refused_in_one_line(tmp_path, compression):
    files = {"\N{LATIN SMALL LETTER E WITH ACUTE}.txt": bytes(range(100)) * 2}
    data = zip_of(tmp_path / "a.zip", files, compression).read_bytes()
    for at in range(len(data)):
        (tmp_path / "a.zip").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            unpack(tmp_path / "a.zip", tmp_path / "out")
        except DataError as error:
            assert not (tmp_path / "out").exists() and str(tmp_path) in str(error)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_a_scene_of_a_data_folder_by_path_or_by_name(room_root, tmp_path, monkeypatch):
    from video3d_plugin.data.prepare import prepare

    prepare(room_root, tmp_path / "data")
    expected = load_scene(tmp_path / "data")
    scene_id = expected.scene_id
    assert load_scene(tmp_path / "data" / scene_id).scene_id == scene_id
    with pytest.raises(MissingError, match="no such file"):
        load_scene(scene_id)
    monkeypatch.setenv("VIDEO3D_DATA", str(tmp_path / "data"))
    assert load_scene(scene_id).scene_id == scene_id
    with pytest.raises(MissingError, match="no such file"):
        load_scene("scene9999_99")
