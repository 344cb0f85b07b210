"""The order of work: questions by scene, batches that halve when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


def by_key(items: Iterable[Item], key: Callable[[Item], Key], order: Callable[[Item], object]) -> dict[Key, list[Item]]:
    """Group items; groups and the items in them are sorted, so the same set in any order gives the same plan."""
    groups: dict[Key, list[Item]] = {}
    for item in sorted(items, key=order):
        groups.setdefault(key(item), []).append(item)
    return dict(sorted(groups.items()))


class Batches:
    """Runs work in batches; when memory runs out the batch size is halved, said once, and stays halved."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch size {size}: at least 1 is needed")
        self.size = size

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Answer]]) -> Iterator[Answer]:
        """Yield `work`'s answers in the order of the items. Raises the memory error where one item does not fit."""
        start = 0
        while start < len(items):
            batch = items[start : start + self.size]
            try:
                answers = work(batch)
            except Exception as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                self._halve(len(batch))
                continue
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} questions")
            yield from answers
            start += len(batch)

    def _halve(self, tried: int) -> None:
        self.size = max(1, tried // 2)
        log.warning("out of memory with %d questions at a time: going on with %d", tried, self.size)
        release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's error class, or the CPU allocator's message; Python's own MemoryError."""
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "DefaultCPUAllocator: can't allocate" in text
    )


def release_memory() -> None:
    """Give back what the failed batch held, so that the smaller one can have it."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
