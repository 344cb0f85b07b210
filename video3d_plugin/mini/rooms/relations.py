"""Spatial relations between the objects of a room, each with a margin.

A predicate returns True, False, or None where people might disagree. A description is written only if no predicate
that matters is None, so that every statement is unambiguous.

World frame, metres. Distances between objects are horizontal. "Left" and "right" are as seen by somebody whose place
or facing the phrase states; facing f = (fx, fy) has its right hand at (fy, -fx).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot

from video3d_plugin.mini.rooms.rooms import Room, Thing

WALL_LABELS = ("door", "window", "picture", "tv", "whiteboard", "curtain")
Verdict = bool | None


@dataclass(frozen=True)
class Body:
    """An object's box as plain numbers (x0, y0, z0, x1, y1, z1): predicates run many thousand times for a room."""

    id: int
    label: str
    color: str | None
    lo: tuple[float, float, float]
    hi: tuple[float, float, float]
    center: tuple[float, float, float]
    front: tuple[float, float] | None
    support: int | None

    @classmethod
    def of(cls, thing: Thing) -> Body:
        front = None if thing.front is None else (float(thing.front[0]), float(thing.front[1]))
        floats = (tuple(map(float, v)) for v in (thing.lo, thing.hi, thing.center))
        return cls(thing.object_id, thing.label, thing.color, *floats, front, thing.support)

    @property
    def volume(self) -> float:
        return (self.hi[0] - self.lo[0]) * (self.hi[1] - self.lo[1]) * (self.hi[2] - self.lo[2])

    def half_width(self, direction: tuple[float, float]) -> float:
        """Return half the extent along a horizontal axis (x or y)."""
        return abs(direction[0]) * (self.hi[0] - self.lo[0]) / 2 + abs(direction[1]) * (self.hi[1] - self.lo[1]) / 2


class Facts:
    """The bodies of a room, and the walls that each of them touches."""

    def __init__(self, room: Room):
        self.room = room
        self.bodies = {t.object_id: Body.of(t) for t in room.things}
        self.lo, self.hi = tuple(map(float, room.lo)), tuple(map(float, room.hi))
        self._cache: dict[tuple, Verdict] = {}
        self._groups: dict[tuple[str, str | None], list[Body]] = {}

    def group(self, label: str, color: str | None = None) -> list[Body]:
        """Return the objects of a class, or of a class and colour, always in the same order."""
        key = (label, color)
        if key not in self._groups:
            members = [b for b in self.bodies.values() if b.label == label and color in (None, b.color)]
            self._groups[key] = members
        return self._groups[key]

    def wall_gaps(self, body: Body) -> tuple[float, float, float, float]:
        """Return the distances to walls 0 to 3 (y min, x max, y max, x min), metres."""
        lo, hi = body.lo, body.hi
        return (lo[1] - self.lo[1], self.hi[0] - hi[0], self.hi[1] - hi[1], lo[0] - self.lo[0])

    def holds(self, kind: str, body: Body, anchors: tuple[Body, ...]) -> Verdict:
        """Return the value of predicate `kind` for `body`; False for an object in relation to itself."""
        if any(a.id == body.id for a in anchors):
            return False
        key = (kind, body.id, *(a.id for a in anchors))
        if key not in self._cache:
            self._cache[key] = PREDICATES[kind](self, body, *anchors)
        return self._cache[key]

    def holders(self, kind: str, anchors: tuple[Body, ...], group: Iterable[Body]) -> set[int] | None:
        """Return the ids in `group` for which the predicate holds; None if it is unclear for any of them."""
        ids = set()
        for body in group:
            verdict = self.holds(kind, body, anchors)
            if verdict is None:
                return None
            if verdict:
                ids.add(body.id)
        return ids


def gap(a: Body, b: Body) -> float:
    """Return the horizontal distance between two footprints; 0 where they overlap."""
    dx = max(a.lo[0] - b.hi[0], b.lo[0] - a.hi[0], 0.0)
    dy = max(a.lo[1] - b.hi[1], b.lo[1] - a.hi[1], 0.0)
    return hypot(dx, dy)


def center_distance(a: Body, b: Body) -> float:
    return hypot(a.center[0] - b.center[0], a.center[1] - b.center[1])


def lateral(body: Body, origin: tuple[float, ...], facing: tuple[float, float]) -> float:
    """Return how far a body's centre lies to the right of the line from `origin` along `facing`, metres."""
    dx, dy = body.center[0] - origin[0], body.center[1] - origin[1]
    return dx * facing[1] - dy * facing[0]


def _band(value: float, yes: float, no: float) -> Verdict:
    """True on the `yes` side, False on the `no` side, None in between."""
    if yes < no:
        return True if value <= yes else False if value >= no else None
    return True if value >= yes else False if value <= no else None


def _all(*verdicts: Verdict) -> Verdict:
    if any(v is False for v in verdicts):
        return False
    return None if any(v is None for v in verdicts) else True


def stands_on(_: Facts, body: Body, other: Body) -> Verdict:
    return body.support == other.id


def next_to(_: Facts, body: Body, other: Body) -> Verdict:
    """Footprints within 0.5 m at about the same height; not one on the other."""
    if body.support == other.id or other.support == body.id:
        return False
    rise = max(body.lo[2] - other.hi[2], other.lo[2] - body.hi[2])
    return _all(_band(gap(body, other), 0.5, 0.9), _band(rise, 0.1, 0.4))


def below(_: Facts, body: Body, other: Body) -> Verdict:
    """At the wall, under an object that hangs there."""
    aside = abs(lateral(body, other.center, other.front)) - other.half_width((other.front[1], other.front[0]))
    near, top = gap(body, other), body.hi[2] - other.lo[2]
    return _all(_band(aside, 0.0, 0.3), _band(near, 0.45, 0.9), _band(top, 0.1, 0.5))


def in_front_of(_: Facts, body: Body, other: Body) -> Verdict:
    """Within a metre of the side that the other object faces, and not past its ends."""
    f = other.front
    ahead = (body.center[0] - other.center[0]) * f[0] + (body.center[1] - other.center[1]) * f[1]
    ahead -= other.half_width(f) + body.half_width(f)
    aside = abs(lateral(body, other.center, f)) - other.half_width((f[1], f[0]))
    return _all(_band(aside, 0.0, 0.35), _band(ahead, 1.0, 1.5), _band(ahead, -0.05, -0.3), body.support != other.id)


def left_of(_: Facts, body: Body, other: Body) -> Verdict:
    """Past the left end of an object with a front, as seen by somebody who looks at it."""
    facing = (-other.front[0], -other.front[1])
    beyond = -lateral(body, other.center, facing) - other.half_width((facing[1], facing[0]))
    return _band(beyond, 0.2, -0.15)


def right_of(_: Facts, body: Body, other: Body) -> Verdict:
    facing = (-other.front[0], -other.front[1])
    beyond = lateral(body, other.center, facing) - other.half_width((facing[1], facing[0]))
    return _band(beyond, 0.2, -0.15)


def between(_: Facts, body: Body, first: Body, second: Body) -> Verdict:
    """Near the line between two others, in its middle part."""
    ax, ay = first.center[:2]
    dx, dy = second.center[0] - ax, second.center[1] - ay
    length = hypot(dx, dy)
    if length < 1.2:
        return None
    px, py = body.center[0] - ax, body.center[1] - ay
    along, off = (px * dx + py * dy) / length**2, abs(px * dy - py * dx) / length
    return _all(_band(abs(along - 0.5), 0.3, 0.45), _band(off, 0.45, 0.85))


def in_corner(facts: Facts, body: Body) -> Verdict:
    south, east, north, west = facts.wall_gaps(body)
    return _band(max(min(south, north), min(east, west)), 0.35, 0.8)


def against_wall(facts: Facts, body: Body) -> Verdict:
    return _band(min(facts.wall_gaps(body)), 0.12, 0.45)


def in_middle(facts: Facts, body: Body) -> Verdict:
    return _band(min(facts.wall_gaps(body)), 0.95, 0.65)


def walls_of(facts: Facts, body: Body, reach: float) -> set[int]:
    return {k for k, distance in enumerate(facts.wall_gaps(body)) if distance <= reach}


def _on_wall(facts: Facts, body: Body, wall: int) -> Verdict:
    touching, near = walls_of(facts, body, 0.12), walls_of(facts, body, 0.45)
    if wall not in near:
        return False
    return True if wall in touching and len(near) == 1 else None


def same_wall(facts: Facts, body: Body, other: Body) -> Verdict:
    return _on_wall(facts, body, _wall_of(other))


def opposite_wall(facts: Facts, body: Body, other: Body) -> Verdict:
    return _on_wall(facts, body, (_wall_of(other) + 2) % 4)


def _wall_of(hanging: Body) -> int:
    return ((0, 1), (-1, 0), (0, -1), (1, 0)).index((int(hanging.front[0]), int(hanging.front[1])))


PREDICATES = {
    "on": stands_on,
    "next_to": next_to,
    "below": below,
    "in_front_of": in_front_of,
    "left_of": left_of,
    "right_of": right_of,
    "between": between,
    "corner": in_corner,
    "wall": against_wall,
    "middle": in_middle,
    "same_wall": same_wall,
    "opposite_wall": opposite_wall,
}


def _extreme(scores: list[tuple[float, int]], margin: float) -> int | None:
    """The id of the smallest score, if it is below the next by `margin`."""
    ordered = sorted(scores)
    return ordered[0][1] if len(ordered) > 1 and ordered[1][0] - ordered[0][0] >= margin else None


def nearest(group: list[Body], anchor: Body) -> int | None:
    """Return the id in `group` nearest to `anchor`, by centres (0.35 m nearer) and by gap (0.2 m nearer) alike."""
    by_center = _extreme([(center_distance(b, anchor), b.id) for b in group], 0.35)
    by_gap = _extreme([(gap(b, anchor), b.id) for b in group], 0.2)
    return by_center if by_center == by_gap else None


def farthest(group: list[Body], anchor: Body) -> int | None:
    by_center = _extreme([(-center_distance(b, anchor), b.id) for b in group], 0.35)
    by_gap = _extreme([(-gap(b, anchor), b.id) for b in group], 0.2)
    return by_center if by_center == by_gap else None


def leftmost(group: list[Body], origin: tuple[float, ...], facing: tuple[float, float]) -> int | None:
    """Return the id farthest to the left of somebody at `origin` who looks along `facing`, by at least 0.5 m."""
    return _extreme([(lateral(b, origin, facing), b.id) for b in group], 0.5)


def rightmost(group: list[Body], origin: tuple[float, ...], facing: tuple[float, float]) -> int | None:
    return _extreme([(-lateral(b, origin, facing), b.id) for b in group], 0.5)


def biggest(group: list[Body]) -> int | None:
    """Return the id whose box has 1.4 times the volume of the next."""
    ordered = sorted(((b.volume, b.id) for b in group), reverse=True)
    return ordered[0][1] if len(ordered) > 1 and ordered[0][0] >= 1.4 * ordered[1][0] else None


def smallest(group: list[Body]) -> int | None:
    ordered = sorted((b.volume, b.id) for b in group)
    return ordered[0][1] if len(ordered) > 1 and ordered[1][0] >= 1.4 * ordered[0][0] else None


def tallest(group: list[Body]) -> int | None:
    """Return the id whose own height is 0.12 m more than that of the next."""
    return _extreme([(-(b.hi[2] - b.lo[2]), b.id) for b in group], 0.12)
