"""Decodes frames: colour and depth of a Scene, from the files that it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from video3d_plugin.data.turning import unturned
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.depth import HEAD_BYTES, DepthCodec, decode_depth, depth_format
from video3d_plugin.files.images import EXPORT_AGAIN, as_rgb, check_depth_size, open_image
from video3d_plugin.files.lzfse import bytes_from_lzfse
from video3d_plugin.geometry.registration import register_depth
from video3d_plugin.scene import FileSlice, Frame, Omission, Scene

if TYPE_CHECKING:
    from PIL import Image

KEPT_PIXELS = 1 << 27  # of depth that a command keeps decoded while it reads a scan more than once: 256 MB of 16 bits


def open_color(frame: Frame) -> Image.Image:
    """Decode the colour image.

    Returns:
        A Pillow image of mode RGB.

    Raises:
        DataError: The file is not there, or is not a whole image.
    """
    with _opened(frame) as image:
        color = as_rgb(image)
    return _turned(color, frame.quarter_turns) if frame.quarter_turns else color


def _turned(image: Image.Image, quarter_turns: int) -> Image.Image:
    """Return the image after 1 to 3 counter-clockwise quarter turns."""
    from PIL import Image

    by_90, by_180, by_270 = Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270
    return image.transpose((by_90, by_180, by_270)[quarter_turns - 1])


def color_size(frame: Frame) -> tuple[int, int]:
    """Return (height, width) of the colour image in pixels, from its header; raises as `open_color`."""
    with _opened(frame) as image:
        return (image.width, image.height) if frame.quarter_turns % 2 else (image.height, image.width)


@contextmanager
def _opened(frame: Frame) -> Iterator[Image.Image]:
    """Open the colour image; DataError if opening or decoding it fails."""
    where = describe(frame.color, frame)
    with open_image(_read(frame.color, where), where) as image:
        yield image


def read_depth(frame: Frame) -> np.ndarray:
    """Decode the depth image: without pixels of low confidence, in the camera of the colour image.

    Returns:
        (H, W) in units of `frame.depth_unit_m` metres: uint16, or float32 if the file holds another type. 0 where
        nothing was measured. It is `frame.decoded_depth` where that was kept.

    Raises:
        DataError: The file is not there, or is not a whole depth image of the frame's size.
    """
    if frame.decoded_depth is not None:
        return frame.decoded_depth
    turns, frame = frame.quarter_turns, unturned(frame)
    depth, camera = _stored_depth(frame), frame.depth_camera
    if camera is not None:
        matrices = camera.intrinsics, camera.color_from_depth, frame.depth_intrinsics
        depth = register_depth(depth, frame.depth_unit_m, *matrices, frame.depth_size)
    return np.ascontiguousarray(np.rot90(depth, turns)) if turns else depth


def _stored_depth(frame: Frame) -> np.ndarray:
    """Return what `read_depth` does in the camera that measured the depth; the frame has no quarter turns."""
    where, size = describe(frame.depth, frame), frame.stored_depth_size
    check_depth_size(frame.depth_size, where)
    check_depth_size(size, where)
    depth = decode_depth(frame.depth_codec, _read(frame.depth, where), size, where)
    _check_size("depth", depth, size, where)
    if frame.depth_void is not None:
        depth = np.where(depth == frame.depth_void, depth.dtype.type(0), depth)
    if frame.confidence is not None:
        depth = np.where(_confidence(frame, size) < frame.confidence.least, depth.dtype.type(0), depth)
    return depth


def _confidence(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """Return the frame's confidence, (H, W) uint8; DataError if it is not one of this (height, width)."""
    assert frame.confidence is not None
    where = describe(frame.confidence.image, frame)
    data = _read(frame.confidence.image, where)
    if frame.confidence.codec == "lzfse":
        return np.frombuffer(bytes_from_lzfse(data, size[0] * size[1], where), np.uint8).reshape(size)
    with open_image(data, where, "confidence") as image:
        if image.mode != "L":
            raise DataError(f"confidence has mode {image.mode}", where=where, remedy="expected an 8-bit grey image")
        confidence = np.asarray(image)
    _check_size("confidence", confidence, size, where)
    return confidence


def _check_size(what: str, image: np.ndarray, size: tuple[int, int], where: str) -> None:
    if image.shape != tuple(size):
        got = f"{what} is {image.shape[1]}x{image.shape[0]}, expected {size[1]}x{size[0]}"
        raise DataError(got, where=where, remedy=EXPORT_AGAIN)


def read_depth_m(frame: Frame, rows: np.ndarray | None = None, columns: np.ndarray | None = None) -> np.ndarray:
    """Decode the depth image to metres.

    Args:
        frame: The frame.
        rows: Rows to keep, (h,) integers; only with `columns`.
        columns: Columns to keep, (w,) integers.

    Returns:
        (H, W) float32 metres, or (h, w) of the given rows and columns; 0 where nothing was measured.

    Raises:
        DataError: As `read_depth`.
    """
    depth = read_depth(frame)
    if rows is not None and columns is not None:
        depth = depth[rows[:, None], columns]
    # a division, because the reference divides millimetres by 1000 and the product with 0.001 rounds differently
    return depth.astype(np.float32) / np.float32(1.0 / frame.depth_unit_m)


def depth_header(source: FileSlice, where: str) -> tuple[DepthCodec, tuple[int, int]]:
    """Return the format of a depth image and its (height, width) in pixels, from its first bytes.

    Raises:
        MissingError: The file is not there.
        DataError: It is not a depth image of a known format.
    """
    return depth_format(replace(source, size=HEAD_BYTES).read(), where)


def check_frame(frame: Frame) -> str | None:
    """Decode colour and depth; return None, or the reason if one of them fails."""
    return _checked(frame, keeps_depth=False)[1]


def _checked(frame: Frame, keeps_depth: bool) -> tuple[Frame, str | None]:
    """Decode colour and depth; return the frame, which keeps its depth if asked to, and why one of them fails."""
    try:
        depth = read_depth(frame) if keeps_depth else _stored_depth(unturned(frame))
        open_color(frame)
    except DataError as error:
        return frame, error.what
    if not keeps_depth:
        return frame, None
    depth.flags.writeable = False
    return replace(frame, decoded_depth=depth), None


def without_broken_frames(
    scene: Scene,
    threads: int = 1,
    progress: bool = False,
    on_frame: Callable[[int, int], None] | None = None,
    keep_pixels: int = 0,
) -> Scene:
    """Decode every image once and leave out the frames that fail; they become omissions.

    Takes about 6 ms of processor time a frame of 640x480.

    Args:
        scene: The scene.
        threads: Number of threads that decode.
        progress: Whether to show a progress bar on a terminal.
        on_frame: Called after each frame with the number of frames decoded so far and that of all.
        keep_pixels: How many pixels of depth the first frames keep decoded (`Frame.decoded_depth`), for a caller that
            reads them again.

    Raises:
        DataError: No frame is left.
    """
    with ThreadPoolExecutor(threads) as pool:
        pixels = np.cumsum([frame.depth_size[0] * frame.depth_size[1] for frame in scene.frames])
        results = pool.map(_checked, scene.frames, pixels <= keep_pixels)
        bar = tqdm(results, "checking frames", len(scene.frames), disable=None if progress else True, delay=1)
        checked = []
        for frame, reason in bar:
            checked.append((frame, reason))
            if on_frame is not None:
                on_frame(len(checked), len(scene.frames))
    frames = tuple(frame for frame, reason in checked if reason is None)
    broken = [Omission(f"frame {frame.name}", reason) for frame, reason in checked if reason is not None]
    omissions = (*scene.omissions, *broken)
    if not frames:
        first = f"; the first: {omissions[0].what}: {omissions[0].reason}" if omissions else ""
        remedy = "see docs/own_scans.md for what a recording needs"
        raise DataError(f"no frame can be used{first}", where=scene.scene_id, remedy=remedy)
    return replace(scene, frames=frames, omissions=omissions)


def keep_commonest_depth_size(frames: list[Frame], omissions: list[Omission]) -> tuple[Frame, ...]:
    """Return the frames whose depth has the commonest size, the first one on a tie; the others become omissions.

    An image on its side is of the same size, if it has a camera of its own that is on its side, too.
    """
    if not frames:
        return ()
    size = Counter(frame.depth_size for frame in frames).most_common(1)[0][0]
    kept = []
    for frame in frames:
        if frame.depth_size == size or (frame.depth_size == size[::-1] and _is_centred(frame)):
            kept.append(frame)
            continue
        got, expected = (f"{s[1]}x{s[0]}" for s in (frame.depth_size, size))
        omissions.append(Omission(f"frame {frame.name}", f"depth is {got}, expected {expected}"))
    return tuple(kept)


def _is_centred(frame: Frame) -> bool:
    """Return whether the principal point is near the middle of the depth image, which it is in one orientation only."""
    share = frame.depth_intrinsics[[1, 0], [2, 2]] / np.array(frame.depth_size)
    return bool((np.abs(share - 0.5) < 0.1).all())


def describe(source: FileSlice, frame: Frame) -> str:
    """Return how errors name a frame's file: its path, with the frame's name if the file holds several frames."""
    return str(source.path) if source.size is None and not source.offset else f"{source.path} (frame {frame.name})"


def _read(source: FileSlice, where: str) -> bytes:
    try:
        data = source.read()
    except MissingError as error:
        remedy = "the prepared data folder points to the frames: put the source back or prepare again"
        raise DataError(f"cannot be read: {error.what}", where=where, remedy=remedy) from error
    if source.size is not None and len(data) < source.size:
        raise DataError(f"ends after {len(data)} of {source.size} bytes", where=where, remedy="copy it again")
    return data
