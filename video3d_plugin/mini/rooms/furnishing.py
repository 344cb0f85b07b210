"""Furnishes rooms: places objects so that none overlap and all can be reached."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.mini.rooms.objects import KINDS, build, turn
from video3d_plugin.mini.rooms.rooms import FACING, Room, Thing, stream
from video3d_plugin.mini.rooms.shapes import Part
from video3d_plugin.mini.rooms.themes import RoomPlan, Theme, plan_called

WALL_THICKNESS = 0.08


class _Layout:
    """Boxes placed so far, and the space that is kept free in front of doors and of what hangs on the walls."""

    def __init__(self, rng: np.random.Generator, lo: np.ndarray, hi: np.ndarray):
        self.rng, self.lo, self.hi = rng, lo, hi
        self.things: list[Thing] = []
        self.keep_out: list[tuple[np.ndarray, np.ndarray]] = []

    def color(self, label: str) -> str | None:
        """Draw a colour; half of the time that of another object of the class, so that only the place identifies it."""
        choices = KINDS[label].colors
        if not choices:
            return None
        sisters = [t.color for t in self.things if t.label == label]
        if sisters and self.rng.random() < 0.5:
            return sisters[self.rng.integers(len(sisters))]
        return choices[self.rng.integers(len(choices))]

    def make(self, label, size, turns, at, mount, support=None, color="draw") -> Thing:
        color = self.color(label) if color == "draw" else color
        parts = [turn(p, turns, at) for p in build(label, size, color, int(self.rng.integers(4)))]
        return Thing(len(self.things), label, color, tuple(parts), turns, mount, support)

    def size(self, label: str) -> tuple[float, float, float]:
        return tuple(round(float(self.rng.uniform(a, b)), 3) for a, b in KINDS[label].size)

    def free(self, lo: np.ndarray, hi: np.ndarray, margin: float) -> bool:
        grow = np.array([margin, margin, 0.0])
        if (lo[:2] < self.lo[:2] - 1e-6).any() or (hi[:2] > self.hi[:2] + 1e-6).any() or hi[2] > self.hi[2] - 0.05:
            return False
        placed = [(t.lo, t.hi) for t in self.things]
        if any(_overlap(lo - grow, hi + grow, a, b) for a, b in placed):
            return False
        return not any(_overlap(lo, hi, a, b) for a, b in self.keep_out)

    def add(self, thing: Thing, margin: float, clear: float = 0.0) -> bool:
        """Place a thing if there is room, and keep `clear` metres in front of it free."""
        if not self.free(thing.lo, thing.hi, margin):
            return False
        zone = None
        if clear:
            step = np.array([*FACING[thing.quarter_turns], 0.0]) * clear
            zone = (np.minimum(thing.lo, thing.lo + step), np.maximum(thing.hi, thing.hi + step))
            if any(_overlap(*zone, t.lo, t.hi) for t in self.things):
                return False
        self.things.append(thing)
        if zone is not None:
            self.keep_out.append(zone)
        return True

    def against_wall(self, label, margin=0.12, clear=0.0, gap=0.03, wall=None, near=None, tries=25) -> Thing | None:
        """Place a thing with its back to a wall (`wall`, or any), close to the position `near` along the wall."""
        for _ in range(tries):
            k = int(self.rng.integers(4)) if wall is None else wall
            size, mount = self.size(label), "wall" if KINDS[label].sill or label in ("door", "window") else "floor"
            axis = k % 2  # walls 0 and 2 run along x, 1 and 3 along y
            low, high = self.lo[axis] + size[0] / 2 + 0.02, self.hi[axis] - size[0] / 2 - 0.02
            if high <= low:
                continue
            along = self.rng.uniform(low, high) if near is None else np.clip(near + self.rng.normal(0, 0.5), low, high)
            depth = size[1] / 2 + (0.0 if mount == "wall" else gap)
            across = self.lo[1 - axis] + depth if k in (0, 3) else self.hi[1 - axis] - depth
            at = (along, across) if axis == 0 else (across, along)
            thing = self.make(label, size, k, (*at, KINDS[label].sill), mount)
            if self.add(thing, margin, clear):
                return thing
        return None

    def on_floor(self, label, margin=0.12, tries=25) -> Thing | None:
        """Place a thing in a corner, along a wall or out in the room."""
        for _ in range(tries):
            size, k = self.size(label), int(self.rng.integers(4))
            half = np.array(size[:2] if k % 2 == 0 else size[1::-1]) / 2
            low, high = self.lo[:2] + half + 0.06, self.hi[:2] - half - 0.06
            at, where = self.rng.uniform(low, high), self.rng.random()
            ends = np.where(self.rng.random(2) < 0.5, low, high)
            if where < 0.3:
                at = ends
            elif where < 0.75:
                axis = int(self.rng.integers(2))
                at[axis] = ends[axis]
            if KINDS[label].has_front:  # a chair by a wall looks into the room
                k = int(np.argmax([np.dot(f, (self.lo + self.hi)[:2] / 2 - at) for f in FACING]))
            thing = self.make(label, size, k, (*at, 0.0), "floor")
            if self.add(thing, margin):
                return thing
        return None

    def around(self, table: Thing, count: int) -> int:
        """Place chairs at a table, facing it; returns how many found a place."""
        spots = [(k, s) for k in range(4) for s in ((-0.5, 0.5) if _long_side(table, k) else (0.0,))]
        placed = 0
        for index in self.rng.permutation(len(spots)):
            k, shift = spots[index]
            if placed == count:
                break
            size, front = self.size("chair"), np.array(FACING[k], float)
            side, half = np.array([-front[1], front[0]]), (table.hi - table.lo)[:2] / 2
            away = abs(np.dot(half, front)) + size[1] / 2 + self.rng.uniform(0.06, 0.2)
            at = table.center[:2] - front * away + side * shift * abs(np.dot(half, side))
            placed += self.add(self.make("chair", size, k, (*at, 0.0), "floor"), 0.03)
        return placed

    def facing_desk(self, desk: Thing) -> None:
        """Place a chair in front of a desk, and a monitor on it."""
        front, size = np.array(FACING[desk.quarter_turns], float), self.size("chair")
        away = abs(np.dot((desk.hi - desk.lo)[:2] / 2, front)) + size[1] / 2 + self.rng.uniform(0.08, 0.2)
        at = desk.center[:2] + front * away
        if self.rng.random() < 0.85:
            self.add(self.make("chair", size, (desk.quarter_turns + 2) % 4, (*at, 0.0), "floor"), 0.03)
        if self.rng.random() < 0.75:
            self.on_top("monitor", desk, back=True)

    def on_top(self, label: str, support: Thing, back: bool = False, tries: int = 12) -> Thing | None:
        """Place a thing on `support`: pillows at the head of a bed or on a couch's seat, others on the top face."""
        for _ in range(tries):
            size = self.size(label)
            if label == "lamp":
                size = (0.24, 0.24, round(float(self.rng.uniform(0.42, 0.55)), 3))
            front = np.array(FACING[support.quarter_turns], float)
            half = np.array(size[:2] if support.quarter_turns % 2 == 0 else size[1::-1]) / 2
            low, high, z = support.lo[:2] + half + 0.02, support.hi[:2] - half - 0.02, support.hi[2]
            if support.label in ("bed", "couch"):
                inset = 0.12 if support.label == "bed" else 0.26
                z = 0.52 if support.label == "bed" else 0.42
                low, high = (low + 0.2, high - 0.2) if support.label == "couch" else (low, high)
                back, reach = True, inset + abs(np.dot(half, front))
            else:
                reach = 0.05 + abs(np.dot(half, front))
            if (high < low).any():
                return None
            at = self.rng.uniform(low, high)
            if back:  # hold it against the back edge
                edge = np.where(front > 0, support.lo[:2], support.hi[:2])
                at = np.where(front != 0, edge + front * reach, at)
            thing = self.make(label, size, support.quarter_turns, (*at, z), "top", support.object_id)
            if support.label in ("bed", "couch"):  # lies within the support's own box: only sisters can be in the way
                sisters = [t for t in self.things if t.support == support.object_id]
                if not any(_overlap(thing.lo - 0.03, thing.hi + 0.03, t.lo, t.hi) for t in sisters):
                    self.things.append(thing)
                    return thing
            elif self.add(thing, 0.04):
                return thing
        return None


def _overlap(lo, hi, other_lo, other_hi) -> bool:
    return bool((lo < other_hi - 1e-6).all() and (other_lo < hi - 1e-6).all())


def _long_side(table: Thing, k: int) -> bool:
    """Whether the edge met when coming along FACING[k] is long enough for two chairs."""
    side = np.abs([-FACING[k][1], FACING[k][0]])
    return float(np.dot((table.hi - table.lo)[:2], side)) > 1.15


def make_room(scene_id: str, seed: tuple[int | str, ...], *, id_gaps: bool = False, plan: str = "full") -> Room:
    """Generate one furnished room.

    Args:
        scene_id: The id of the scene.
        seed: Integers and strings; the same tuple gives the same room.
        id_gaps: Leave numbers out of the object ids, as some real scans do.
        plan: One of `themes.PLANS`; a full room has at least 8 classes, two of them repeated.

    Raises:
        DataError: If 40 attempts give no room of that plan.
    """
    layout_plan = plan_called(plan)
    for attempt in range(40):
        rng = stream(*seed, scene_id, "layout", attempt)
        theme = layout_plan.themes[int(rng.integers(len(layout_plan.themes)))]
        layout = _furnish(rng, theme, layout_plan)
        labels = [t.label for t in layout.things]
        repeated = sum(labels.count(label) > 1 for label in set(labels))
        enough = len(set(labels)) >= layout_plan.classes and repeated >= layout_plan.repeated
        if enough and "door" in labels and "window" in labels:
            return _finish(scene_id, theme, layout, rng, id_gaps, seed)
    raise DataError(
        f"no room of {layout_plan.classes} classes could be furnished",
        where=scene_id,
        remedy="report the seed as a bug",
    )


def _furnish(rng: np.random.Generator, theme: Theme, plan: RoomPlan) -> _Layout:
    size = np.array([rng.uniform(*bounds) for bounds in plan.size])
    lo = np.array([*(-size[:2] / 2 + rng.uniform(-0.3, 0.3, 2)), 0.0]).round(3)
    layout = _Layout(rng, lo, (lo + size).round(3))
    door = layout.against_wall("door", clear=0.9)
    if rng.random() < 0.12 and door is not None:
        layout.against_wall("door", clear=0.9, wall=(door.quarter_turns + 2) % 4)
    for _ in range(int(rng.integers(plan.windows[0], plan.windows[1] + 1))):
        layout.against_wall("window", clear=0.55, margin=0.3)
    for label, low, high in theme.mounted:
        for _ in range(int(rng.integers(low, high + 1))):
            layout.against_wall(label, clear=0.5 if label != "curtain" else 0.0)
    for label, low, high in theme.wall:
        for _ in range(int(rng.integers(low, high + 1))):
            thing = layout.against_wall(label)
            if thing is not None and label == "desk":
                layout.facing_desk(thing)
            if thing is not None and label == "bed" and rng.random() < 0.8:
                layout.against_wall(
                    "nightstand",
                    0.05,
                    wall=thing.quarter_turns,
                    near=thing.center[thing.quarter_turns % 2] + rng.choice((-1.1, 1.1)),
                )
    for label, low, high in theme.middle:
        for _ in range(int(rng.integers(low, high + 1))):
            _table_with_chairs(layout, label, theme)
    for label, low, high in theme.floor:
        for _ in range(int(rng.integers(low, high + 1))):
            layout.on_floor(label)
    _crowd(layout, theme, plan)
    for label, supports, low, high in theme.top:
        stands = [t for t in layout.things if t.label in supports and t.hi[2] < 1.2]
        for _ in range(int(rng.integers(low, high + 1)) if stands else 0):
            layout.on_top(label, stands[int(rng.integers(len(stands)))])
    return layout


def _crowd(layout: _Layout, theme: Theme, plan: RoomPlan) -> None:
    """Place several objects of some classes of the theme, up to the plan's number of each, while there is room."""
    rng = layout.rng
    for index in rng.permutation(len(theme.crowd))[: plan.crowded]:
        label = theme.crowd[index]
        for _ in range(
            int(rng.integers(plan.crowd[0], plan.crowd[1] + 1)) - sum(t.label == label for t in layout.things)
        ):
            kind = KINDS[label]
            if kind.sill or kind.size[0][0] >= 0.6:  # hangs on a wall, or is furniture that stands by one
                layout.against_wall(label, clear=0.5 if kind.sill and label != "curtain" else 0.0)
            else:
                layout.on_floor(label)


def _table_with_chairs(layout: _Layout, label: str, theme: Theme) -> None:
    rng = layout.rng
    for _ in range(25):
        size, k = layout.size(label), int(rng.integers(2))
        reach = np.array(size[:2] if k == 0 else size[1::-1]) / 2 + (0.75 if label == "table" else 0.45)
        low, high = layout.lo[:2] + reach, layout.hi[:2] - reach
        if (high > low).all() and layout.add(
            layout.make(label, size, k, (*rng.uniform(low, high), 0.0), "floor"), 0.45
        ):
            if label == "table":
                layout.around(layout.things[-1], int(rng.integers(theme.chairs[0], theme.chairs[1] + 1)))
            return


def _finish(scene_id, theme, layout, rng, id_gaps, seed) -> Room:
    """Assign ids (shuffled, as a scan's are), the shell and the axis alignment."""
    lo, hi, n = layout.lo, layout.hi, len(layout.things) + 5
    pool = rng.permutation(n + (n // 3 if id_gaps else 0))[:n]
    ids = [int(i) for i in pool]
    things = [
        replace(t, object_id=ids[i], support=None if t.support is None else ids[t.support])
        for i, t in enumerate(layout.things)
    ]
    tint = rng.uniform(-18, 12, 3)
    wall_rgb = tuple(int(v) for v in np.clip(np.array((214, 208, 196)) + tint + rng.uniform(-15, 15), 0, 255))
    floor_rgb = tuple(
        int(v) for v in np.array(((168, 140, 110), (150, 150, 146), (182, 172, 156))[int(rng.integers(3))])
    )
    angle = float(rng.choice((-1, 1)) * rng.uniform(0.12, 1.4))
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = rng.uniform((-4.0, -4.0, -0.2), (4.0, 4.0, 0.2))
    shell = _shell(lo, hi, ids[-5:], wall_rgb, floor_rgb)
    return Room(scene_id, theme.name, lo, hi, tuple(things), shell, matrix.round(6), tuple(seed))


def _shell(lo, hi, ids, wall_rgb, floor_rgb) -> tuple[Thing, ...]:
    t, (x0, y0, z0), (x1, y1, z1) = WALL_THICKNESS, lo.tolist(), hi.tolist()
    boxes = (
        ((x0, y0 - t, z0), (x1, y0, z1)),
        ((x1, y0, z0), (x1 + t, y1, z1)),
        ((x0, y1, z0), (x1, y1 + t, z1)),
        ((x0 - t, y0, z0), (x0, y1, z1)),
    )
    walls = [Thing(ids[k], "wall", None, (Part(*b, wall_rgb),), k, "shell") for k, b in enumerate(boxes)]
    floor = Part((x0, y0, z0 - t), (x1, y1, z0), floor_rgb)
    return (*walls, Thing(ids[4], "floor", None, (floor,), 0, "shell"))
