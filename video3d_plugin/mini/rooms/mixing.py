"""Draws items of several kinds in given shares."""

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
    """Draw distinct items of several kinds.

    Args:
        rng: Draws kinds.
        shares: Share of each kind.
        make: Draws an item of a kind, or None if that fails.
        count: Number of items.
        key: Items with the same key are the same.

    Returns:
        (kind, item) pairs; fewer than `count` if there are not as many. Kinds that fail leave their share to the
        others.
    """
    kinds, weights = list(shares), np.array(list(shares.values()))
    drawn: list[tuple[str, Any]] = []
    known: set[Hashable] = set()
    for _ in range(4 * count):
        if len(drawn) == count:
            break
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        for _ in range(PATIENCE):
            item = make(kind)
            if item is not None and key(item) not in known:
                known.add(key(item))
                drawn.append((kind, item))
                break
    return drawn
