"""Fingerprints of what a scene is prepared from: names, sizes and times of its source files.

Their values are stored in data folders: a change here makes every folder be prepared anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from video3d_plugin.data.proposals import is_file_source
from video3d_plugin.data.proposals.registry import identity
from video3d_plugin.data.readers.extracted import is_extracted
from video3d_plugin.data.readers.scannet_files import ScanFiles
from video3d_plugin.files.atomic import digest

_FRAME_PARTS = ("posed_images", "sens", "capture")


def file_stamp(path: Path) -> list[Any]:
    """Return name, size in bytes and modification time in nanoseconds of a file."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def frames_fingerprint(files: ScanFiles) -> str:
    """Return the digest of a scan's frame files and of the list that says which of them count."""
    parts: list[Any] = []
    if files.posed_images is not None:
        with os.scandir(files.posed_images) as entries:
            parts = sorted([e.name, e.stat().st_size, e.stat().st_mtime_ns] for e in entries if e.is_file())
    elif files.sens is not None:
        parts = [file_stamp(files.sens)]
    elif files.capture is not None and files.capture.is_file():
        parts = [file_stamp(files.capture)]
    elif files.capture is not None:
        paths = (path for path in files.capture.rglob("*") if path.is_file() and not is_extracted(path))
        parts = sorted([path.relative_to(files.capture).as_posix(), *file_stamp(path)[1:]] for path in paths)
    info = files.info
    if info is not None:
        matrices = (info.world_from_scan, info.depth_intrinsics)
        parts.append([list(info.frame_names), *(None if m is None else m.tolist() for m in matrices)])
    return digest(parts)


def annotations_fingerprint(files: ScanFiles, proposals: str) -> str:
    """Return the digest of a scan's other files (mesh, objects, masks) and of the source of its proposals."""
    stamps = {name: file_stamp(path) for name, path in files.paths.items() if name not in _FRAME_PARTS}
    arrays = (files.gt_boxes, files.pred_boxes, files.cells)
    values = [None if array is None else array.tolist() for array in arrays]
    origin = file_stamp(Path(proposals)) if is_file_source(proposals) else identity(proposals)
    return digest([stamps, values, origin])
