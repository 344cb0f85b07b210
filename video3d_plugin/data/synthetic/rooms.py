"""Rooms and the things in them, as records. World frame: z up, floor at z = 0, walls parallel to x and y, metres.

Walls are numbered by the way they face the room: 0 the wall at y min (facing +y), 1 at x max (facing -x), 2 at y max
(facing -y), 3 at x min (facing +x). An object's `quarter_turns` k makes its front point the same way as wall k.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

from video3d_plugin.data.synthetic.objects import KINDS
from video3d_plugin.data.synthetic.shapes import Part

FACING = ((0, 1), (-1, 0), (0, -1), (1, 0))  # unit vector of the front after k quarter turns


def stream(*keys: int | str) -> np.random.Generator:
    """A random stream of its own for every combination of keys, so that adding one draw moves nothing else."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else int(k) for k in keys])


@dataclass(frozen=True)
class Thing:
    """One object: its parts in the world frame, its colour name (None: not spoken of), what it stands on.

    mount    "floor", "wall" (hangs on it), "top" (stands on `support`, an object id), "shell" (a wall or the floor)
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
        """(2,) unit vector that it faces, or None where it has no front."""
        return np.array(FACING[self.quarter_turns], float) if KINDS[self.label].has_front else None


@dataclass(frozen=True)
class Room:
    """`lo`, `hi` (3,): the inside of the shell. `world_from_scan` (4, 4): the axis alignment, a turn and a move."""

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
