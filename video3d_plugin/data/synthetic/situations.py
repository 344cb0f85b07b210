"""Where somebody stands in a room and which way they look, and the sentence that says so.

Every situation fixes place and facing through an object that has a front: before it and looking at it, with one's back
to it, sitting on it. That is enough to know left from right, as long as the room is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import atan2, cos, degrees, hypot, radians, sin

import numpy as np

from video3d_plugin.data.synthetic.relations import Body, Facts
from video3d_plugin.data.synthetic.wording import name_of, pick

SEATS = ("couch", "chair")
FORMS: dict[str, tuple[str, ...]] = {
    "facing": (
        "I am standing in front of the {a} and facing it.",
        "I am facing the {a} and standing right in front of it.",
        "Standing directly before the {a}, I am looking at it.",
    ),
    "back": (
        "I am standing right in front of the {a} with my back to it.",
        "The {a} is right behind my back.",
        "I am standing just in front of the {a} and looking away from it.",
    ),
    "sitting": ("I am sitting on the {a}.", "I just sat down on the {a} and look straight ahead."),
    "entering": ("I just came in through the {a}.", "I am entering the room through the {a}."),
    "leaving": ("I am about to leave the room through the {a}.", "I am facing the {a} to leave the room."),
}
TAILS = {
    "left": ("The {b} is on my left.", "There is the {b} to my left."),
    "right": ("The {b} is on my right.", "There is the {b} to my right."),
}
# The answer must survive standing up to this far from the point meant, and looking this much aside.
SLACK_M, SLACK_DEG = 0.25, 8.0


@dataclass(frozen=True)
class Situation:
    """position (x, y) metres and facing (unit vector), world frame; `spoken` are the ids that the text mentions."""

    text: str
    alternatives: tuple[str, ...]
    position: tuple[float, float]
    facing: tuple[float, float]
    spoken: frozenset[int]
    _agreements: dict[tuple[str, int], str | None] = field(default_factory=dict, repr=False, compare=False)

    def bearings(self, body: Body) -> list[float]:
        """Angle to the body's centre in degrees, 0 ahead, +90 to the right, from the place meant and places near it."""
        x, y = self.position
        spots = [
            (x, y, 0.0),
            *((x + dx, y + dy, 0.0) for dx, dy in ((SLACK_M, 0), (-SLACK_M, 0), (0, SLACK_M), (0, -SLACK_M))),
        ]
        spots += [(x, y, SLACK_DEG), (x, y, -SLACK_DEG)]
        return [_bearing(body.center, x, y, self.facing, aside) for x, y, aside in spots]

    def distance(self, body: Body) -> float:
        return hypot(body.center[0] - self.position[0], body.center[1] - self.position[1])

    def side(self, body: Body) -> str | None:
        """left | right: clearly so from all places meant; None where it is ahead, behind, too near or unclear."""
        return self._agreed(body, _side)

    def quarter(self, body: Body) -> str | None:
        """ahead | right | behind | left: the quarter it lies in, if clearly so."""
        return self._agreed(body, _quarter)

    def half(self, body: Body) -> str | None:
        """ahead | behind: which half of the room it lies in, if clearly so."""
        return self._agreed(body, _half)

    def _agreed(self, body: Body, name: Callable[[float], str | None]) -> str | None:
        key = (name.__name__, body.id)
        if key not in self._agreements:
            names = {name(angle) for angle in self.bearings(body)} if self.distance(body) >= 0.7 else {None}
            self._agreements[key] = names.pop() if len(names) == 1 else None
        return self._agreements[key]

    @property
    def rotation(self) -> dict[str, float]:
        """SQA3D's quaternion: a turn about z, where no turn, (0, 0, 0, 1), faces +y (our choice of axis)."""
        yaw = atan2(-self.facing[0], self.facing[1])
        return {"_x": 0, "_y": 0, "_z": round(sin(yaw / 2), 9), "_w": round(cos(yaw / 2), 9)}


def _side(angle: float) -> str | None:
    return "right" if 20 <= angle <= 160 else "left" if -160 <= angle <= -20 else None


def _quarter(angle: float) -> str | None:
    clear = abs((angle + 45) % 90 - 45) <= 38
    return ("ahead", "right", "behind", "left")[int((angle + 45) // 90) % 4] if clear else None


def _half(angle: float) -> str | None:
    return "ahead" if abs(angle) <= 80 else "behind" if abs(angle) >= 100 else None


def _bearing(center, x: float, y: float, facing, aside_deg: float) -> float:
    turn = radians(aside_deg)
    fx = facing[0] * cos(turn) - facing[1] * sin(turn)
    fy = facing[0] * sin(turn) + facing[1] * cos(turn)
    dx, dy = center[0] - x, center[1] - y
    return degrees(atan2(dx * fy - dy * fx, dx * fx + dy * fy))


def situations(facts: Facts, rng: np.random.Generator, count: int) -> list[Situation]:
    """Up to `count` different situations, no anchor and manner twice."""
    quiet = np.random.default_rng(0)
    options: list[tuple[str, Body]] = []
    for body in facts.bodies.values():
        if body.front is None or body.label in ("curtain", "chair") or name_of(facts, body, quiet) is None:
            continue
        manners = ("entering", "leaving") if body.label == "door" else ("facing", "back")
        options += [(manner, body) for manner in manners]
    options += [("sitting", b) for b in facts.bodies.values() if b.label in SEATS and name_of(facts, b, quiet)]
    made: list[Situation] = []
    for index in rng.permutation(len(options)):
        situation = _place(facts, rng, *options[index])
        if situation is not None and len(made) < count:
            made.append(situation)
    return made


def _place(facts: Facts, rng, manner: str, anchor: Body) -> Situation | None:
    front = anchor.front
    away = 0.0 if manner == "sitting" else anchor.half_width(front) + float(rng.uniform(0.4, 0.6))
    position = (anchor.center[0] + front[0] * away, anchor.center[1] + front[1] * away)
    if manner != "sitting" and not _standable(facts, position):
        return None
    ahead = manner in ("facing", "leaving")
    facing = (-front[0], -front[1]) if ahead else front
    texts: list[str] = []
    for _ in range(6):
        text = pick(rng, FORMS[manner]).format(a=name_of(facts, anchor, rng))
        if text not in texts and len(texts) < 3:
            texts.append(text)
    situation = Situation(texts[0], tuple(texts[1:]), position, facing, frozenset((anchor.id,)))
    if rng.random() < 0.5:
        return situation
    named = [b for b in facts.bodies.values() if b.id != anchor.id and name_of(facts, b, np.random.default_rng(0))]
    sides = [(b, s) for b in named if (s := situation.side(b))]
    if not sides:
        return situation
    body, side = pick(rng, sides)
    tail = pick(rng, TAILS[side]).format(b=name_of(facts, body, rng))
    spoken = frozenset((anchor.id, body.id))
    return Situation(f"{texts[0]} {tail}", situation.alternatives, position, facing, spoken)


def _standable(facts: Facts, position: tuple[float, float]) -> bool:
    """On the floor, a little away from the walls, in no piece of furniture."""
    x, y = position
    inside = facts.lo[0] + 0.2 <= x <= facts.hi[0] - 0.2 and facts.lo[1] + 0.2 <= y <= facts.hi[1] - 0.2
    low = [b for b in facts.bodies.values() if b.lo[2] < 0.9]
    return inside and not any(b.lo[0] <= x <= b.hi[0] and b.lo[1] <= y <= b.hi[1] for b in low)
