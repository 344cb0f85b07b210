"""Exports a .sens file as a folder of posed images: <index>.jpg, .png (16-bit millimetres), .txt, and the intrinsics.

Names and texts are those of ScanNet's and EmbodiedScan's exporters. Colour is copied byte by byte: it is a jpeg
already, and encoding it again would cost time and detail.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from video3d_plugin.data.frames import read_depth
from video3d_plugin.data.readers.sens import read_header, read_sens
from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes
from video3d_plugin.scene import Frame


def export_sens(path: Path, folder: Path, frames: Sequence[Frame] | None = None, threads: int | None = None) -> int:
    """Write the frames that are not in the folder yet.

    The pose of a frame is written last, so a frame with a pose is whole.

    Args:
        path: The .sens file.
        folder: Folder to write to; made if it does not exist.
        frames: Frames to export; by default those of `read_sens`.
        threads: Number of threads; up to 4 by default.

    Returns:
        The number of exported frames that the folder has.

    Raises:
        MissingError: There is no such file.
        DataError: The file is broken, a frame's depth cannot be decoded, or the folder cannot be written.
    """
    header = read_header(path)
    if frames is None:
        frames = read_sens(path)[0]
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "intrinsic.txt", matrix_text(header.color_intrinsics))
    write_bytes(folder / "depth_intrinsic.txt", matrix_text(header.depth_intrinsics))
    suffix = ".jpg" if header.color_codec == "jpeg" else ".color.png"
    with ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda frame: _export(frame, folder, suffix), frames))
    return len(frames)


def matrix_text(matrix: np.ndarray) -> bytes:
    """Return a matrix as text: one line a row, numbers with six decimals."""
    return "".join(" ".join(f"{value:f}" for value in row) + "\n" for row in matrix).encode()


def _export(frame: Frame, folder: Path, suffix: str) -> None:
    import cv2

    if (folder / f"{frame.name}.txt").is_file():
        return
    write_bytes(folder / f"{frame.name}{suffix}", frame.color.read())
    # level 1: a third of the time of the default level for a few per cent of size
    encoded, data = cv2.imencode(".png", read_depth(frame), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise DataError("depth cannot be encoded", where=f"{frame.depth.path} (frame {frame.name})")
    write_bytes(folder / f"{frame.name}.png", data.tobytes())
    write_bytes(folder / f"{frame.name}.txt", matrix_text(frame.scan_from_camera))
