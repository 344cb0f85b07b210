"""Unpacks a zipped recording with bounds, because zip files are uploaded by anybody.

Nothing is written outside the given folder, no links are made, and no more is written than is allowed, whatever the
archive's headers say.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from video3d_plugin.data.records import HEAD
from video3d_plugin.errors import DataError, MissingError, quoted
from video3d_plugin.files.archive import open_zip

MAX_BYTES = 16 << 30  # a .sens has up to 5 GB
MAX_FILES = 100_000
_LAYOUT = {"scans", "scans_test", "posed_images", "scannet"}  # folders that belong to a root, not to one recording
_LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")
_CHUNK = 1 << 20
_PLAIN = "zip a plain folder"
_NAME_BYTES, _PATH_BYTES = 200, 1000  # with the folder to unpack into: less than what file systems allow
# what zipfile and its decompressors raise at a damaged archive; ValueError: names that are no text, offsets below 0
_DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError)


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Path:
    """Unpack a zip file. What was written before an error or an interruption is removed.

    Args:
        archive: The zip file.
        folder: Folder to unpack into; made if it does not exist.
        max_bytes: Largest size of all files together, unpacked.
        max_files: Largest number of files.

    Returns:
        The folder that holds the recording: `folder` itself, or the only folder in it.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not a zip file, is damaged or encrypted, holds too much, links or names outside of
            itself, or does not fit the disk.
    """
    try:
        with open_zip(archive, max_bytes, max_files, "zip fewer frames") as opened:
            members = _checked(opened, archive)
            folder.mkdir(parents=True, exist_ok=True)
            _need_space(sum(member.file_size for member, _ in members), folder, archive)
            try:
                _extract(opened, members, folder, archive)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except (DataError, MissingError):
        raise
    except _DAMAGES as error:
        raise DataError(f"not a whole zip file: {error}", where=archive, remedy="zip the folder again") from error
    return _recording(folder)


def unpacked_here(archive: Path) -> Path:
    """Unpack a zip file once into a temporary folder that lasts until this process ends.

    Returns and raises as `unpack`.
    """
    status = archive.stat()
    key = (str(archive.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _unpacked:
        temporary = tempfile.TemporaryDirectory(prefix="video3d-zip-")
        _unpacked[key] = temporary, unpack(archive, Path(temporary.name) / _folder_name(archive.stem))
    return _unpacked[key][1]


_unpacked: dict[tuple[str, int, int], tuple[tempfile.TemporaryDirectory, Path]] = {}


def _folder_name(stem: str) -> str:
    """Return the archive's name as a folder's, which becomes the scene's."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem).strip(".") or "recording"


def _checked(opened: zipfile.ZipFile, archive: Path) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return the files to unpack and their paths, after every check that needs no reading."""
    members = []
    for member in opened.infolist():
        name = member.filename.replace("\\", "/")
        if member.is_dir() or name.startswith(_LITTER[0]) or name.rsplit("/", 1)[-1] in _LITTER[1:]:
            continue
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or ":" in name or "\0" in name or not parts:
            raise DataError(f"names a file outside of itself: {quoted(name)}", where=archive, remedy=_PLAIN)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"holds a link: {quoted(name)}", where=archive, remedy="zip the files themselves")
        if member.flag_bits & 1:
            raise DataError("is encrypted", where=archive, remedy="zip the folder without a password")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(f"holds a device or a pipe: {quoted(name)}", where=archive, remedy=_PLAIN)
        if parts[-1].casefold() == HEAD:
            what = f"holds a prepared data folder ({quoted(name)}), whose records name files elsewhere"
            raise DataError(what, where=archive, remedy="zip the recording that it was made from")
        if max(len(part.encode()) for part in parts) > _NAME_BYTES or len(name.encode()) > _PATH_BYTES:
            raise DataError(f"holds a file whose name is too long: {quoted(name)}", where=archive, remedy=_PLAIN)
        members.append((member, PurePosixPath(*parts)))
    if not members:
        raise DataError("is empty", where=archive, remedy="zip a folder of frames")
    return members


def _need_space(size: int, folder: Path, archive: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        what = f"{size / 1e6:.0f} MB unpacked do not fit the {free / 1e6:.0f} MB that are free in {folder.parent}"
        raise DataError(what, where=archive, remedy="free some space, or set TMPDIR")


def _extract(
    opened: zipfile.ZipFile, members: list[tuple[zipfile.ZipInfo, PurePosixPath]], folder: Path, archive: Path
) -> None:
    total = sum(member.file_size for member, _ in members)
    with tqdm(total=total, unit="B", unit_scale=True, desc="unpacking", disable=None, delay=1) as bar:
        for member, name in members:
            target = folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, open(target, "xb") as file:
                    while chunk := source.read(_CHUNK):  # never more than file_size: ZipExtFile stops there
                        file.write(chunk)
                        bar.update(len(chunk))
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                what = f"names the same file twice: {quoted(str(name))}"
                raise DataError(what, where=archive, remedy=_PLAIN) from None
            except OSError as error:
                raise DataError(f"cannot be unpacked: {error.strerror or error}", where=target) from error


def _recording(folder: Path) -> Path:
    """Return the folder, or the only folder in it: zip tools put the zipped folder's name in front."""
    while True:
        entries = list(folder.iterdir())
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name in _LAYOUT:
            return folder
        folder = entries[0]
