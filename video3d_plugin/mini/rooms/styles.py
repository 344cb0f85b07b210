"""Which relations descriptions use, and how often: what makes a benchmark easy or hard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from video3d_plugin.errors import DataError

# How often each relation is chosen, where it is to be had.
WEIGHTS = {
    "nearest": 2.0,
    "farthest": 2.0,
    "leftmost_door": 1.6,
    "rightmost_door": 1.6,
    "leftmost_facing": 1.0,
    "rightmost_facing": 1.0,
    "left_of": 1.0,
    "right_of": 1.0,
    "between": 2.0,
    "corner": 2.0,
    "wall": 0.6,
    "middle": 1.2,
    "next_to": 3.0,
    "on": 5.0,
    "below": 3.0,
    "in_front_of": 3.0,
    "same_wall": 1.2,
    "opposite_wall": 1.2,
    "biggest": 4.0,
    "smallest": 4.0,
    "tallest": 4.0,
}


@dataclass(frozen=True)
class Style:
    """Which descriptions a benchmark has, and so how hard it is.

    Attributes:
        relations: How often each relation is chosen where it applies; others are never used.
        color: How often the colour is stated where the place would do.
        extra: How often a second clue is stated where one would do: the more, the easier.
    """

    relations: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    color: float = 0.75
    extra: float = 0.3

    def __post_init__(self):
        unknown = sorted(set(self.relations) - set(WEIGHTS))
        if unknown or not 0 <= self.color <= 1 or not 0 <= self.extra <= 1:
            raise DataError(
                f"bad style: {unknown or 'shares'}", remedy=f"relations: {', '.join(WEIGHTS)}; shares in 0..1"
            )


# Nothing that depends on a viewpoint or on comparing sizes, and more said than is needed.
_PLAIN = ("nearest", "farthest", "between", "corner", "middle", "next_to", "on", "below", "in_front_of")
PLAIN_STYLE = Style({kind: WEIGHTS[kind] for kind in _PLAIN}, color=0.9, extra=0.7)


# The mini benchmark's: every sort of relation, the plain ones more often, and redundant as people's descriptions are.
MINI_STYLE = Style(
    {
        "nearest": 3.0,
        "farthest": 2.0,
        "between": 2.0,
        "corner": 2.0,
        "middle": 1.0,
        "next_to": 3.0,
        "on": 5.0,
        "below": 2.0,
        "in_front_of": 2.0,
        "left_of": 0.15,
        "right_of": 0.15,
        "leftmost_door": 0.7,
        "rightmost_door": 0.7,
        "biggest": 1.5,
        "smallest": 1.5,
    },
    color=0.9,
    extra=0.8,
)
