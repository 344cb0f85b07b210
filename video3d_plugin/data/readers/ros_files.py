"""Messages of a ROS bag through the library rosbags, and its images as JPEG and PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from video3d_plugin.errors import DataError, Video3DError, quoted
from video3d_plugin.files.depth import depth_format
from video3d_plugin.files.extras import import_extra
from video3d_plugin.files.images import as_rgb, check_depth_size, image_format, open_image
from video3d_plugin.files.regular import open_regular

COLOR_ENCODINGS = {"rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGBA", "bgra8": "BGRA", "8UC3": "BGR", "compressed": ""}
DEPTH_ENCODINGS = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32, "compressedDepth": np.uint16}
_COMPRESSED_DEPTH_HEADER = 12  # bytes before the PNG: ConfigHeader of compressed_depth_image_transport
_JPEG_QUALITY = 95
_REMEDY = "copy the bag again, or repair it: rosbag reindex, ros2 bag reindex"


@dataclass(frozen=True)
class Image:
    """An image message.

    Attributes:
        stamp_ns: When it was taken, nanoseconds.
        frame_id: Coordinate frame of its camera.
        encoding: The message's encoding; "compressed" or "compressedDepth" for a CompressedImage.
        size: (height, width) in pixels; (0, 0) for a CompressedImage.
        step: Bytes per row.
        is_big_endian: Order of the bytes in a 16 or 32-bit pixel.
        data: The pixels, or the compressed image.
        where: Bag, topic and time, for errors.
    """

    stamp_ns: int
    frame_id: str
    encoding: str
    size: tuple[int, int]
    step: int
    is_big_endian: bool
    data: Any
    where: str

    @property
    def is_compressed(self) -> bool:
        """Whether it is a CompressedImage."""
        return self.encoding.startswith("compressed")


class Bag:
    """An open bag. What the library raises on a damaged one becomes a DataError.

    Args:
        path: A .bag, .mcap or .db3, or the folder of a ROS 2 bag.
    """

    def __init__(self, path: Path):
        self.path = path
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        highlevel = import_extra("rosbags.highlevel", self.path)
        typesys = import_extra("rosbags.typesys", self.path)
        if self.path.is_file():
            open_regular(self.path).close()
        try:
            types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)  # for bags that do not define their messages
            self._reader = self._stack.enter_context(highlevel.AnyReader([self.path], default_typestore=types))
        except Exception as error:
            raise _damaged(error, self.path) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if isinstance(error, Exception) and not isinstance(error, Video3DError):
            raise _damaged(error, self.path) from error

    def topics(self, *kinds: str) -> list[str]:
        """Return the topics whose type has one of these names, without its package."""
        return sorted({c.topic for c in self._reader.connections if c.msgtype.rpartition("/")[2] in kinds})

    def count(self, topic: str) -> int:
        """Return the number of messages of a topic."""
        return sum(c.msgcount for c in self._reader.connections if c.topic == topic)

    def messages(self, *kinds: str, topic: str | None = None) -> Iterator[tuple[str, Any]]:
        """Yield topic and message of these types, of all topics or one, in the order of the recording."""
        connections = [
            c
            for c in self._reader.connections
            if c.msgtype.rpartition("/")[2] in kinds and topic in (None, c.topic) and c.msgcount
        ]
        if connections:  # none would mean all
            for connection, _, data in self._reader.messages(connections):
                yield connection.topic, self._reader.deserialize(data, connection.msgtype)

    def first_message(self, topic: str) -> Any | None:
        """Return the first message of a topic; None if it has none."""
        connections = [c for c in self._reader.connections if c.topic == topic and c.msgcount]
        messages = self._reader.messages(connections) if connections else iter(())
        connection, _, data = next(messages, (None, 0, b""))
        return None if connection is None else self._reader.deserialize(data, connection.msgtype)

    def first(self, topic: str) -> Image | None:
        """Return the first image of a topic; None if it has none."""
        message = self.first_message(topic)
        return None if message is None else self._image(topic, message)

    def images(self, *topics: str) -> Iterator[tuple[str, Image]]:
        """Yield topic and image of these topics, in the order of the recording."""
        connections = [c for c in self._reader.connections if c.topic in topics and c.msgcount]
        if connections:
            for connection, _, data in self._reader.messages(connections):
                message = self._reader.deserialize(data, connection.msgtype)
                yield connection.topic, self._image(connection.topic, message)

    def _image(self, topic: str, message: Any) -> Image:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        frame_id, where = message.header.frame_id.lstrip("/"), f"{self.path}, {topic}"
        if hasattr(message, "format"):
            encoding = "compressedDepth" if "compressedDepth" in message.format else "compressed"
            if encoding == "compressedDepth" and message.format.startswith("32FC1"):
                encoding = "32FC1 as compressedDepth"  # quantised inverse depth, which is not read
            return Image(stamp, frame_id, encoding, (0, 0), 0, False, message.data, where)
        size = int(message.height), int(message.width)
        return Image(
            stamp, frame_id, message.encoding, size, int(message.step), bool(message.is_bigendian), message.data, where
        )


def color_jpeg(image: Image) -> bytes | None:
    """Return a colour image as JPEG; None if it is broken."""
    from PIL import Image as PillowImage

    try:
        if image.is_compressed:
            data = bytes(image.data)
            if image_format(data) == "JPEG":
                return data
            with open_image(data, image.where) as opened:
                rgb = as_rgb(opened)
        else:
            order = COLOR_ENCODINGS[image.encoding]
            pixels = _pixels(image, np.dtype(np.uint8), len(order))[..., [order.index(c) for c in "RGB"]]
            rgb = PillowImage.fromarray(np.ascontiguousarray(pixels))
    except DataError:
        return None  # the frame is left out: it has no colour image
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def depth_png(image: Image) -> bytes | None:
    """Return a depth image as 16-bit PNG in millimetres; None if it is broken."""
    import cv2

    try:
        if image.is_compressed:
            data = bytes(image.data)[_COMPRESSED_DEPTH_HEADER:]
            depth_format(data, image.where)
            return data
        values = _pixels(image, np.dtype(DEPTH_ENCODINGS[image.encoding]), 1)[..., 0]
    except DataError:
        return None  # the frame is left out: it has no depth image
    if values.dtype == np.float32:
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.rint(values * 1000)
            values = np.where((values > 0) & (values <= 65535), values, 0).astype(np.uint16)
    return cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _pixels(image: Image, dtype: np.dtype, channels: int) -> np.ndarray:
    """Return the pixels (H, W, channels) of a raw image; DataError if the message is too short for them."""
    height, width = image.size
    check_depth_size(image.size, image.where)
    row = width * channels * dtype.itemsize
    data = np.frombuffer(image.data, np.uint8)
    if image.step < row or len(data) < image.step * height:
        raise DataError(f"image of {len(data)} bytes, expected {image.step * height}", where=image.where)
    rows = np.ascontiguousarray(data[: image.step * height].reshape(height, image.step)[:, :row])
    pixels = rows.view(dtype.newbyteorder(">" if image.is_big_endian else "<"))
    return pixels.astype(dtype).reshape(height, width, channels)


def _damaged(error: Exception, path: Path) -> DataError:
    """Return the error for what the library, its decompressors or a message of another type raised."""
    if isinstance(error, Video3DError):
        return error  # type: ignore[return-value]
    return DataError(f"cannot be read: {type(error).__name__}: {quoted(str(error), 200)}", where=path, remedy=_REMEDY)
