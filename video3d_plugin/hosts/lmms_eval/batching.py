"""Grouping of questions, and batches whose size is halved when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


def group_sorted(
    items: Iterable[Item], key: Callable[[Item], Key], order: Callable[[Item], Any]
) -> dict[Key, list[Item]]:
    """Group items by a key. The result does not depend on the order of the items.

    Args:
        items: Items in any order.
        key: Gives the group of an item; groups are sorted by it.
        order: Gives the sort key of an item within its group.
    """
    groups: dict[Key, list[Item]] = {}
    for item in sorted(items, key=order):
        groups.setdefault(key(item), []).append(item)
    return dict(sorted(groups.items()))


class AdaptiveBatches:
    """Runs work in batches. When memory runs out, the batch size is halved for the rest of the run.

    Args:
        size: Largest batch to begin with.

    Raises:
        ValueError: The size is below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch size {size} is below 1")
        self.size = size

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Answer]]) -> Iterator[Answer]:
        """Yield the answers in the order of the items.

        Args:
            items: The items to work on.
            work: Answers a batch, one answer for each item.

        Raises:
            Exception: An error of `work`; the out-of-memory error where a single item does not fit.
            RuntimeError: `work` returned another number of answers.
        """
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
        log.warning("out of memory with %d questions at a time: continuing with %d", tried, self.size)
        release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the GPU or the CPU is out of memory.

    Args:
        error: CUDA's error, Python's MemoryError, or a RuntimeError with the message of an allocator of torch.
    """
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "DefaultCPUAllocator: can't allocate" in text
    )


def release_memory() -> None:
    """Free the memory of a failed batch for the next one."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
