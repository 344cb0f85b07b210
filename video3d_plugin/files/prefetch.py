"""The next thing is loaded while the current one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Loaded = TypeVar("Loaded")


def prefetch(keys: Sequence[Key], load: Callable[[Key], Loaded]) -> Iterator[tuple[Key, Future[Loaded]]]:
    """Yield each key with what `load` makes of it, while one thread loads the next. Errors wait in the future.

    For scenes: decoding, back-projection and reading from disk happen in C code that lets other threads run, so they
    take no time from a GPU. Memory: two scenes' inputs (14 MB each for 32 frames) instead of one.
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
