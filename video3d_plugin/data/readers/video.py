"""Frames of a video file, decoded by PyAV (FFmpeg). Only the containers of phones are opened, and no network."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.files.extras import import_extra
from video3d_plugin.files.images import MAX_PIXELS
from video3d_plugin.files.regular import open_regular

_CONTAINER = "mov"  # FFmpeg's name for MP4 and QuickTime
_JPEG_QUALITY = 95
_REMEDY = "copy the recording again"


def video_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of a video's images in pixels, without the rotation that players apply.

    Raises:
        MissingError: There is no such file, or the library is missing.
        DataError: It is not a video that can be decoded.
    """
    with _opened(path) as (_, stream):
        return stream.height, stream.width


def jpeg_frames(path: Path, indices: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield index and JPEG of the frames with these indices, counted from 0 in the order of display.

    Frames behind the end of the video are left out. Raises as `video_size`.
    """
    last = max(indices, default=-1)
    with _opened(path) as (container, stream):
        for index, frame in enumerate(container.decode(stream)):
            if index > last:
                return
            if index in indices:
                buffer = io.BytesIO()
                frame.to_image().save(buffer, "JPEG", quality=_JPEG_QUALITY)
                yield index, buffer.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a video; yields PyAV's container and its video stream."""
    av = import_extra("av", path)
    with open_regular(path, remedy=_REMEDY) as file:
        try:
            # an open file, so that the container cannot name others; one format, so that no playlist is followed
            with av.open(file, format=_CONTAINER) as container:
                if not container.streams.video:
                    raise DataError("holds no video", where=path, remedy=_REMEDY)
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise DataError("the codec of its video is not known", where=path, remedy=_REMEDY)
                if not 0 < stream.height * stream.width <= MAX_PIXELS:
                    raise DataError(f"video claims {stream.width}x{stream.height} pixels", where=path, remedy=_REMEDY)
                stream.thread_type = "AUTO"
                yield container, stream
        except (av.FFmpegError, ValueError, OSError, MemoryError) as error:
            if isinstance(error, Video3DError):
                raise
            raise DataError(f"video cannot be decoded: {error}", where=path, remedy=_REMEDY) from error
