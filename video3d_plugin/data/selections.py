"""Stored max-coverage selections: the files of a data folder's selections/."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from video3d_plugin.data import schemas
from video3d_plugin.data.records import read_record
from video3d_plugin.files import schema
from video3d_plugin.files.atomic import write_json
from video3d_plugin.sampling.coverage import Selection

_FORMAT = 3  # 2: a computed selection may be one of more frames, made among other candidates


def read_selection(
    path: Path, frames_key: str, released: bool | None = None, frame_count: int | None = None
) -> Selection | None:
    """Read a stored max-coverage selection.

    Args:
        path: The file.
        frames_key: Key of the scene's frames (see `DataFolder.frames_key`).
        released: Accept only released selections (True) or only computed ones (False); None for both.
        frame_count: Number of frames of the scene; not checked if None.

    Returns:
        The selection. None if there is none, if it belongs to other frames, or if it is a computed one of format 2,
        which may have been made among other candidates. None with a warning if the file is damaged or names a frame
        that does not exist.
    """
    if not path.is_file():
        return None
    try:
        record = read_record(path)
        if record.get("frames") != frames_key or released not in (None, record.get("released")):
            return None
        if record.get("format") != _FORMAT and not record.get("released"):
            return None
        return _from_json(record, frame_count)
    except ValueError:  # DataError is one
        warnings.warn(
            f"{path}: damaged: max-coverage frames are chosen anew (a released choice: run `video3d prepare` again)"
        )
        return None


def write_selection(path: Path, frames_key: str, selection: Selection, released: bool = False) -> None:
    """Store a max-coverage selection.

    Args:
        path: The file.
        frames_key: Key of the scene's frames.
        selection: The selection.
        released: Whether it is one that Video-3D LLM released, not one computed here.

    Raises:
        DataError: The file cannot be written.
    """
    head = {"format": _FORMAT, "frames": frames_key, "released": released}
    write_json(path, {**head, **_to_json(selection)})


def _to_json(selection: Selection) -> dict[str, Any]:
    """Convert a max-coverage selection to a JSON value."""
    return {"order": list(selection.order), "gains": list(selection.gains), "visible": selection.visible}


def _from_json(value: dict[str, Any], frame_count: int | None = None) -> Selection:
    """Convert a JSON value back to a max-coverage selection.

    Raises:
        ValueError: The value is damaged, or names a frame of `frame_count` or more.
    """
    if fault := schema.fault(value, schemas.SELECTION):
        raise ValueError(" ".join(fault))
    selection = Selection(tuple(value["order"]), tuple(value["gains"]), value["visible"])
    if len(set(selection.order)) != len(selection.gains) or len(selection.order) != len(selection.gains):
        raise ValueError("frames and gains do not match")
    if frame_count is not None and max(selection.order, default=0) >= frame_count:
        raise ValueError(f"frame {max(selection.order)} of {frame_count}")
    return selection
