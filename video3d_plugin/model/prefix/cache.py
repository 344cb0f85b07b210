"""A least-recently-used cache of encoded scenes, bounded by their size in bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from video3d_plugin.scene import FileSlice, Scene

if TYPE_CHECKING:
    from video3d_plugin.model.prefix.scene_prefix import ScenePrefix

DEFAULT_BYTES = 2 << 30  # four scenes of 32 frames with Qwen2-7B in bfloat16; hundreds with a small model


class PrefixCache:
    """Encoded scenes by key.

    Args:
        max_bytes: Size of all entries together at most. The newest entry stays whatever its size; 0 disables the cache.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES):
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, tuple[ScenePrefix, Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], ScenePrefix], holder: Any = None) -> ScenePrefix:
        """Return an entry, and make it if there is none.

        Args:
            key: Identifies the scene, the model and the device.
            make: Called without arguments if the cache has no such entry.
            holder: An object that must live as long as the entry, because its id() is part of the key.
        """
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key][0]
        prefix = make()
        if self.max_bytes > 0:
            self._entries[key] = prefix, holder
            while len(self._entries) > 1 and self.nbytes > self.max_bytes:
                self._entries.popitem(last=False)
        return prefix

    @property
    def nbytes(self) -> int:
        """Bytes of all entries together."""
        return sum(prefix.nbytes for prefix, _ in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()


def scene_key(scene: Scene) -> str:
    """Return a key of everything that a model can read of a scene.

    It covers the images' files with their sizes and modification times, poses, cameras and boxes. A folder that is read
    twice has the same key both times; a frame that is rewritten changes it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for frame in scene.frames:
        for source in frame.files:
            digest.update(repr(_stamp(source)).encode())
        for matrix in (frame.scan_from_camera, frame.depth_intrinsics):
            digest.update(np.ascontiguousarray(matrix, np.float64).tobytes())
        properties = (frame.name, frame.depth_size, frame.depth_unit_m, frame.depth_void, frame.quarter_turns)
        digest.update(repr(properties).encode())
        if frame.depth_camera is not None:
            for matrix in (frame.depth_camera.intrinsics, frame.depth_camera.color_from_depth):
                digest.update(np.ascontiguousarray(matrix, np.float64).tobytes())
        if frame.confidence is not None:
            digest.update(repr(frame.confidence.least).encode())
    digest.update(np.ascontiguousarray(scene.world_from_scan, np.float64).tobytes())
    digest.update(np.ascontiguousarray(scene.proposals, np.float32).tobytes())
    digest.update(repr([(i.object_id, i.box) for i in scene.instances]).encode())
    return digest.hexdigest()


def _stamp(source: FileSlice) -> tuple[Any, ...]:
    try:
        status = source.path.stat()
    except OSError:  # decoding will say which file is missing, and why
        return str(source.path), source.offset, source.size, None
    return str(source.path), source.offset, source.size, status.st_size, status.st_mtime_ns
