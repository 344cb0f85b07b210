"""A prepared scene's frame files: links out of the source folder, and copies in the data folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.files.depth import SUFFIXES
from video3d_plugin.files.links import escapes_root
from video3d_plugin.files.regular import is_regular
from video3d_plugin.scene import FileSlice, Omission, Scene

_LINK = "is a link out of the source folder"
_FOLLOW = "allow it with --follow-links if you trust it"


def refuse_links(paths: Iterable[Path], source: Path) -> None:
    """Raise DataError if one of the paths is, or lies behind, a symbolic link out of the source folder."""
    for path in paths:
        if escapes_root(path, source):
            raise DataError(_LINK, where=path, remedy=_FOLLOW)


def drop_linked_frames(scene: Scene, source: Path) -> Scene:
    """Return the scene without the frames whose files are links out of the source folder; they become omissions.

    The files of the other frames may only be opened within `source` from now on, in case they are replaced by links
    later.

    Raises:
        DataError: No frame is left.
    """
    linked = {
        frame.name
        for frame in scene.frames
        for path in {file.path for file in frame.files}
        if path.is_symlink() and escapes_root(path, source)
    }
    frames = tuple(
        frame.with_files(lambda file: replace(file, root=source)) for frame in scene.frames if frame.name not in linked
    )
    if not frames:
        raise DataError(f"every frame {_LINK}", where=scene.scene_id, remedy=_FOLLOW)
    omissions = tuple(Omission(f"frame {name}", f"{_LINK} ({_FOLLOW})") for name in sorted(linked))
    return replace(scene, frames=frames, omissions=(*scene.omissions, *omissions))


def copy_frames(scene: Scene, output: Path) -> Scene:
    """Copy the frames' files to `output`/frames/<scene id>/, byte for byte, and return the scene that names the copies.

    Raises:
        MissingError: A file is not there.
        DataError: A file ends early, or a copy cannot be written.
    """
    folder = output / "frames" / scene.scene_id
    frames = []
    for frame in scene.frames:
        color = _copy_slice(frame.color, folder / f"{frame.name}{_suffix(frame.color, '.jpg')}")
        depth = _copy_slice(frame.depth, folder / f"{frame.name}.depth{SUFFIXES[frame.depth_codec]}")
        confidence = frame.confidence
        if confidence is not None:
            image = _copy_slice(confidence.image, folder / f"{frame.name}.confidence.{confidence.codec}")
            confidence = replace(confidence, image=image)
        frames.append(replace(frame, color=color, depth=depth, confidence=confidence))
    return replace(scene, frames=tuple(frames))


def copies_are_whole(scene: Scene) -> bool:
    """Return whether the copied files of all frames exist and have the sizes that they were written with."""
    slices = [part for frame in scene.frames for part in frame.files]
    return all(is_regular(part.path) and part.path.stat().st_size == part.size for part in slices)


def _suffix(source: FileSlice, default: str) -> str:
    return source.path.suffix.lower() if source.size is None and source.path.suffix else default


def _copy_slice(source: FileSlice, path: Path) -> FileSlice:
    """Copy the bytes to a file; the returned slice has a size, so that a copy that is cut short later is noticed."""
    data = source.read()
    if source.size is not None and len(data) < source.size:
        raise DataError(f"ends after {len(data)} of {source.size} bytes", where=source.path, remedy="copy it again")
    write_bytes(path, data)
    return FileSlice(path, 0, len(data))
