"""Situations: where somebody stands in a room, which way they face, and a sentence that says so.

Every situation fixes place and facing: at one object and looking at another, or through an object with a front: before
it and facing it, with one's back to it, or sitting on it. For somebody who knows the room that tells left from right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import atan2, cos, degrees, hypot, sin

import numpy as np

from video3d_plugin.mini.rooms.relations import Body, Facts
from video3d_plugin.mini.rooms.wording import name_of, pick

SEATS = ("couch", "chair")
FORMS: dict[str, tuple[str, ...]] = {
    "toward": (
        "I am standing by the {a} and facing the {b}.",
        "I am facing the {b} and standing next to the {a}.",
        "Standing beside the {a}, I am looking at the {b}.",
    ),
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
TOWARD = 0.7  # share of situations by one thing and looking at another
_BESIDE_M, _FACED_M = 0.4, 1.0  # how far one stands from what one is by, and at least from what one looks at


@dataclass(frozen=True)
class Situation:
    """A place and a direction in a room, with the sentences that state them.

    Attributes:
        position: (x, y) metres, world frame.
        facing: (x, y) unit vector.
        spoken: Ids that the text mentions.
        around: Other places that the text may mean.
        faced: The point that is looked at from all of these places; None if the facing is the same at all.
    """

    text: str
    alternatives: tuple[str, ...]
    position: tuple[float, float]
    facing: tuple[float, float]
    spoken: frozenset[int]
    around: tuple[tuple[float, float], ...] = ()
    faced: tuple[float, float] | None = None
    _agreements: dict[tuple[str, int], str | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def places(self) -> list[tuple[float, float]]:
        """Return the place, places near it, and others that the text may mean."""
        x, y = self.position
        steps = ((0.0, 0.0), (SLACK_M, 0.0), (-SLACK_M, 0.0), (0.0, SLACK_M), (0.0, -SLACK_M))
        return [*((x + dx, y + dy) for dx, dy in steps), *self.around]

    def bearings(self, body: Body) -> list[float]:
        """Return angles to the body's centre in degrees, 0 ahead, +90 to the right, from all possible places."""
        angles = [_bearing(body.center, place, self._facing(place)) for place in self.places]
        return [*angles, *((angles[0] + aside + 180) % 360 - 180 for aside in (SLACK_DEG, -SLACK_DEG))]

    def _facing(self, place: tuple[float, float]) -> tuple[float, float]:
        return self.facing if self.faced is None else _toward(place, self.faced)

    def distance(self, body: Body) -> float:
        return _apart(self.position, body.center)

    def nearer(self, body: Body, other: Body, margin_m: float) -> bool:
        """Return whether `body` is nearer than `other`, by the margin, and not farther from any possible place."""
        ahead = [_apart(place, other.center) - _apart(place, body.center) for place in self.places]
        return ahead[0] >= margin_m and min(ahead) > 0

    def side(self, body: Body) -> str | None:
        """Return "left" or "right" if that is clear from all possible places; None if ahead, behind, too near or
        unclear.
        """
        return self._agreed(body, _side)

    def quarter(self, body: Body) -> str | None:
        """Return "ahead", "right", "behind" or "left", the quarter that it lies in, if that is clear."""
        return self._agreed(body, _quarter)

    def half(self, body: Body) -> str | None:
        """Return "ahead" or "behind", the half of the room that it lies in, if that is clear."""
        return self._agreed(body, _half)

    def _agreed(self, body: Body, name: Callable[[float], str | None]) -> str | None:
        key = (name.__name__, body.id)
        if key not in self._agreements:
            names = {name(angle) for angle in self.bearings(body)} if self.distance(body) >= 0.7 else {None}
            self._agreements[key] = names.pop() if len(names) == 1 else None
        return self._agreements[key]

    @property
    def rotation(self) -> dict[str, float]:
        """SQA3D's quaternion: a turn about z, where the identity (0, 0, 0, 1) faces +y (our choice of axis)."""
        yaw = atan2(-self.facing[0], self.facing[1])
        return {"_x": 0, "_y": 0, "_z": round(sin(yaw / 2), 9), "_w": round(cos(yaw / 2), 9)}


def _side(angle: float) -> str | None:
    return "right" if 20 <= angle <= 160 else "left" if -160 <= angle <= -20 else None


def _quarter(angle: float) -> str | None:
    clear = abs((angle + 45) % 90 - 45) <= 38
    return ("ahead", "right", "behind", "left")[int((angle + 45) // 90) % 4] if clear else None


def _half(angle: float) -> str | None:
    return "ahead" if abs(angle) <= 80 else "behind" if abs(angle) >= 100 else None


def _apart(one, other) -> float:
    return hypot(other[0] - one[0], other[1] - one[1])


def _toward(place: tuple[float, float], target) -> tuple[float, float]:
    """The horizontal unit vector from one point to another."""
    away = _apart(place, target)
    return (target[0] - place[0]) / away, (target[1] - place[1]) / away


def _bearing(center, place: tuple[float, float], facing: tuple[float, float]) -> float:
    (fx, fy), dx, dy = facing, center[0] - place[0], center[1] - place[1]
    return degrees(atan2(dx * fy - dy * fx, dx * fx + dy * fy))


def situations(facts: Facts, rng: np.random.Generator, count: int) -> list[Situation]:
    """Return up to `count` different situations, no two at the same object in the same manner."""
    through, toward = _fronts(facts), _pairs(facts)
    made: list[Situation] = []
    used: set[tuple[str, int]] = set()
    while (through or toward) and len(made) < count:
        by_two = bool(toward) and (not through or rng.random() < TOWARD)
        options = toward if by_two else through
        manner, *anchors = options.pop(int(rng.integers(len(options))))
        if (manner, anchors[0].id) in used:
            continue
        situation = _by(facts, rng, *anchors) if by_two else _place(facts, rng, manner, *anchors)
        if situation is not None:
            used.add((manner, anchors[0].id))
            made.append(situation)
    return made


def _fronts(facts: Facts) -> list[tuple[str, Body]]:
    """(manner, anchor): objects with a front to stand before, and those to sit on."""
    quiet = np.random.default_rng(0)
    options: list[tuple[str, Body]] = []
    for body in facts.bodies.values():
        if body.front is None or body.label in ("curtain", "chair") or name_of(facts, body, quiet) is None:
            continue
        manners = ("entering", "leaving") if body.label == "door" else ("facing", "back")
        options += [(manner, body) for manner in manners]
    return options + [("sitting", b) for b in facts.bodies.values() if b.label in SEATS and name_of(facts, b, quiet)]


def _pairs(facts: Facts) -> list[tuple[str, Body, Body]]:
    """(manner, object to stand at, object to look at)."""
    named = [b for b in facts.bodies.values() if name_of(facts, b, np.random.default_rng(0))]
    return [("toward", a, b) for a in named if a.support is None for b in named if a.label != b.label]


def _by(facts: Facts, rng, anchor: Body, faced: Body) -> Situation | None:
    """At `anchor`, on the side of `faced`; but the text does not say on which side, so all sides are possible
    places.
    """
    around = []
    for x, y in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        far = anchor.half_width((x, y)) + _BESIDE_M
        around.append((anchor.center[0] + x * far, anchor.center[1] + y * far))
    around = sorted((p for p in around if _standable(facts, p)), key=lambda place: _apart(place, faced.center))
    if not around or _apart(around[0], faced.center) < _FACED_M:
        return None
    names = [tuple(name_of(facts, body, rng) for body in (anchor, faced)) for _ in range(6)]
    texts = [pick(rng, FORMS["toward"]).format(a=a, b=b) for a, b in names]
    point = (faced.center[0], faced.center[1])
    spoken = frozenset((anchor.id, faced.id))
    return _told(facts, rng, texts, around[0], _toward(around[0], point), spoken, tuple(around[1:]), point)


def _place(facts: Facts, rng, manner: str, anchor: Body) -> Situation | None:
    front = anchor.front
    away = 0.0 if manner == "sitting" else anchor.half_width(front) + float(rng.uniform(0.4, 0.6))
    position = (anchor.center[0] + front[0] * away, anchor.center[1] + front[1] * away)
    if manner != "sitting" and not _standable(facts, position):
        return None
    facing = (-front[0], -front[1]) if manner in ("facing", "leaving") else front
    texts = [pick(rng, FORMS[manner]).format(a=name_of(facts, anchor, rng)) for _ in range(6)]
    return _told(facts, rng, texts, position, facing, frozenset((anchor.id,)))


def _told(facts: Facts, rng, texts: list[str], position, facing, spoken: frozenset[int], *where) -> Situation:
    """The situation in up to three of `texts`; half of the time the first also says what is on a side."""
    texts = list(dict.fromkeys(texts))[:3]
    situation = Situation(texts[0], tuple(texts[1:]), position, facing, spoken, *where)
    if rng.random() < 0.5:
        return situation
    quiet = np.random.default_rng(0)
    named = [b for b in facts.bodies.values() if b.id not in spoken and name_of(facts, b, quiet)]
    sides = [(b, s) for b in named if (s := situation.side(b))]
    if not sides:
        return situation
    body, side = pick(rng, sides)
    tail = pick(rng, TAILS[side]).format(b=name_of(facts, body, rng))
    return replace(situation, text=f"{texts[0]} {tail}", spoken=spoken | {body.id})


def _standable(facts: Facts, position: tuple[float, float]) -> bool:
    """Whether the place is on the floor, away from the walls and outside furniture."""
    x, y = position
    inside = facts.lo[0] + 0.2 <= x <= facts.hi[0] - 0.2 and facts.lo[1] + 0.2 <= y <= facts.hi[1] - 0.2
    low = [b for b in facts.bodies.values() if b.lo[2] < 0.9]
    return inside and not any(b.lo[0] <= x <= b.hi[0] and b.lo[1] <= y <= b.hi[1] for b in low)
