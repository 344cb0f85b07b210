"""Records of rooms and the objects in them. World frame: z up, floor at z = 0, walls parallel to x and y, metres.

Walls are numbered by the direction in which they face the room: 0 at y min (+y), 1 at x max (-x), 2 at y max (-y), 3 at
x min (+x). The front of an object with `quarter_turns` k faces the same way as wall k.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

from video3d_plugin.mini.rooms.objects import KINDS
from video3d_plugin.mini.rooms.shapes import Part

FACING = ((0, 1), (-1, 0), (0, -1), (1, 0))  # unit vector of the front after k quarter turns


def stream(*keys: int | str) -> np.random.Generator:
    """Return a random generator for a combination of keys; a draw from one does not change another."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else int(k) for k in keys])


@dataclass(frozen=True)
class Thing:
    """One object of a room.

    Attributes:
        object_id: Its id.
        label: Its class.
        color: Name of its colour; None if it is never mentioned.
        parts: Its parts in the world frame.
        quarter_turns: The direction of its front.
        mount: "floor", "wall" (hangs on it), "top" (stands on `support`) or "shell" (a wall or the floor).
        support: Id of the object that it stands on.
    """

    object_id: int
    label: str
    color: str | None
    parts: tuple[Part, ...]
    quarter_turns: int
    mount: str
    support: int | None = None
    lo: np.ndarray = field(init=False, repr=False, compare=False)
    hi: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "lo", np.min([p.lo for p in self.parts], axis=0))
        object.__setattr__(self, "hi", np.max([p.hi for p in self.parts], axis=0))

    @property
    def center(self) -> np.ndarray:
        return (self.lo + self.hi) / 2

    @property
    def box(self) -> np.ndarray:
        """(6,) centre and size, world frame, metres."""
        return np.concatenate([self.center, self.hi - self.lo])

    @property
    def front(self) -> np.ndarray | None:
        """(2,) unit vector of the direction that it faces; None without a front."""
        return np.array(FACING[self.quarter_turns], float) if KINDS[self.label].has_front else None


@dataclass(frozen=True)
class Room:
    """A room: `lo`, `hi` (3,) corners of its inside, its objects, and the axis alignment `world_from_scan` (4, 4)."""

    scene_id: str
    theme: str
    lo: np.ndarray
    hi: np.ndarray
    things: tuple[Thing, ...]
    shell: tuple[Thing, ...]
    world_from_scan: np.ndarray
    seed: tuple[int | str, ...]

    def named(self, label: str) -> list[Thing]:
        return [t for t in self.things if t.label == label]

    def thing(self, object_id: int) -> Thing:
        return next(t for t in (*self.things, *self.shell) if t.object_id == object_id)
