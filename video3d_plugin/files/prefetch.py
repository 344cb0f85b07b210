"""Loads the next item while the current one is processed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Loaded = TypeVar("Loaded")


def prefetch(keys: Sequence[Key], load: Callable[[Key], Loaded]) -> Iterator[tuple[Key, Future[Loaded]]]:
    """Load items in another thread, one ahead of the caller.

    Meant for scenes: decoding, back-projection and reading from disk run in C code that releases the GIL, so they take
    no time from a GPU. Memory: the inputs of two scenes (14 MB each for 32 frames) instead of one.

    Args:
        keys: The items, in order.
        load: Loads one item.

    Yields:
        Each key with the future of what `load` returns for it. An error of `load` is raised by the future's `result`.
    """
    if not keys:
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="video3d-next-scene") as pool:
        upcoming = pool.submit(load, keys[0])
        for index, key in enumerate(keys):
            future = upcoming
            if index + 1 < len(keys):
                upcoming = pool.submit(load, keys[index + 1])
            yield key, future
