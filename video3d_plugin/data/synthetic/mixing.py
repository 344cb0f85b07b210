"""Draws a number of questions of several kinds in given shares."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

PATIENCE = 12  # tries at one kind before another is drawn: else kinds that seldom succeed would hardly appear


def mixed(
    rng: np.random.Generator,
    shares: dict[str, float],
    make: Callable[[str], Any | None],
    count: int,
    key: Callable[[Any], Hashable],
) -> list[tuple[str, Any]]:
    """Up to `count` (kind, item), no two with the same `key`. `make(kind)` draws an item, or None where it failed.

    Fewer than `count` come back where the room does not give more; the kinds that it cannot give go to the others.
    """
    kinds, weights = list(shares), np.array(list(shares.values()))
    found: list[tuple[str, Any]] = []
    known: set[Hashable] = set()
    for _ in range(4 * count):
        if len(found) == count:
            break
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        for _ in range(PATIENCE):
            item = make(kind)
            if item is not None and key(item) not in known:
                known.add(key(item))
                found.append((kind, item))
                break
    return found
