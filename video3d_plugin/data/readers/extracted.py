"""Images of frames that lie inside a video or a bag are written once to a folder beside it.

A frame of a video cannot be read by its place in the file: it is decoded from the key frame before it. So the frames
that are used are written as single images to `.<name>.video3d/`, beside the file that they come from, and are read from
there. Each image is written atomically; an interrupted extraction is continued by the next one. The folder notes
size and date of its source, and is made anew if these change.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import locked, remove_leftovers, write_bytes, write_json
from video3d_plugin.files.json import read_object

MAX_BYTES = 16 << 30  # of the images of one recording
_FREE_BYTES = 256 << 20  # stay free on the disk
_SUFFIX = ".video3d"
_STAMP_FILE = "source.json"
_FORMAT = 1  # of what is written


def folder_beside(source: Path) -> Path:
    """Return the folder for the images of a video or bag; within the bag if that is a folder."""
    return (source if source.is_dir() else source.parent) / f".{source.name}{_SUFFIX}"


def is_extracted(path: Path) -> bool:
    """Return whether a file lies in such a folder: it is made of the recording and is no part of it."""
    return path.parent.name.startswith(".") and path.parent.name.endswith(_SUFFIX)


def extract_images(
    source: Path, names: Sequence[str], decode: Callable[[set[str]], Iterator[tuple[str, bytes]]]
) -> None:
    """Write the images that are not there yet to the folder beside `source`.

    Args:
        source: The video or bag.
        names: File names of the images.
        decode: Yields name and encoded bytes of the images in the set that it is given, in any order. Images that it
            does not yield are left out.

    Raises:
        DataError: The source cannot be decoded, the images are too large, or the folder cannot be written.
    """
    folder = folder_beside(source)
    if folder.is_symlink():
        raise DataError("is a link; frames are not written through it", where=folder, remedy="remove it")
    with locked(folder):
        remove_leftovers(folder)
        _remove_stale(folder, source)
        missing = {name for name in names if not (folder / name).is_file()}
        if not missing:
            return
        written = 0
        description = f"reading {source.name}"
        with tqdm(total=len(missing), desc=description, unit="image", disable=None, delay=1) as bar:
            for name, data in decode(missing):
                written += len(data)
                if written > MAX_BYTES:
                    what = f"its images have more than {MAX_BYTES >> 30} GiB"
                    raise DataError(what, where=source, remedy="use fewer frames: --frame-step")
                if shutil.disk_usage(folder).free < len(data) + _FREE_BYTES:
                    raise DataError("the disk is full", where=folder, remedy="free some space, or use fewer frames")
                write_bytes(folder / name, data, sync=False)
                bar.update()


def _stamp_of(path: Path) -> dict[str, Any] | None:
    """Return the stamp of the images in a folder; None where they are of no version that is known."""
    try:
        return read_object(path)
    except (DataError, MissingError):
        return None


def _remove_stale(folder: Path, source: Path) -> None:
    """Remove the images of another version of the source, and note this one's."""
    files = [path for path in source.iterdir() if path.is_file()] if source.is_dir() else [source]
    sizes = sorted([path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files)
    stamp = {"format": _FORMAT, "files": sizes}
    path = folder / _STAMP_FILE
    if _stamp_of(path) == stamp:
        return
    for image in folder.iterdir():
        if image.suffix in (".jpg", ".png"):
            image.unlink()
    write_json(path, stamp)
