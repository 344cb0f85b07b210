"""Kinds of rooms, and how many objects of which class each may hold."""

from __future__ import annotations

from dataclasses import dataclass

from video3d_plugin.errors import DataError

Range = tuple[str, int, int]  # label, fewest, most


@dataclass(frozen=True)
class Theme:
    """A kind of room.

    Attributes:
        name: Its name.
        wall: Furniture with its back to a wall.
        middle: Tables out in the room.
        chairs: Fewest and most chairs at a table.
        floor: Things that stand anywhere.
        mounted: Things that hang on a wall.
        top: (label, supports, fewest, most) of things that stand on others.
        crowd: Classes of which a room has several more, so that descriptions must tell them apart.
    """

    name: str
    wall: tuple[Range, ...]
    middle: tuple[Range, ...]
    chairs: tuple[int, int]
    floor: tuple[Range, ...]
    mounted: tuple[Range, ...]
    top: tuple[tuple[str, tuple[str, ...], int, int], ...]
    crowd: tuple[str, ...]


# What comes with other furniture, and what every room has (see `furnishing`).
_COMPANIONS = {"desk": {"chair", "monitor"}, "bed": {"nightstand"}, "table": {"chair"}}
_ALWAYS = {"door", "window"}
_TOPS = ("desk", "table", "dresser", "cabinet", "nightstand", "coffee table")
THEMES: tuple[Theme, ...] = (
    Theme(
        "bedroom",
        wall=(
            ("bed", 1, 2),
            ("nightstand", 0, 1),
            ("cabinet", 0, 1),
            ("dresser", 0, 1),
            ("desk", 0, 1),
            ("bookshelf", 0, 1),
        ),
        middle=(("coffee table", 0, 1),),
        chairs=(0, 0),
        floor=(("trash can", 0, 1), ("lamp", 0, 1), ("plant", 0, 1), ("backpack", 0, 1)),
        mounted=(("picture", 0, 1), ("tv", 0, 1), ("curtain", 0, 1)),
        top=(("pillow", ("bed",), 1, 3), ("lamp", ("nightstand", "dresser"), 0, 1), ("box", _TOPS, 0, 1)),
        crowd=("chair", "box", "suitcase", "ottoman", "lamp", "picture", "cabinet", "trash can", "plant", "curtain"),
    ),
    Theme(
        "living room",
        wall=(("couch", 1, 2), ("bookshelf", 0, 1), ("cabinet", 0, 1), ("dresser", 0, 1), ("desk", 0, 1)),
        middle=(("coffee table", 0, 2), ("table", 0, 1)),
        chairs=(2, 4),
        floor=(("lamp", 0, 1), ("plant", 0, 1), ("trash can", 0, 1), ("stool", 0, 1)),
        mounted=(("tv", 0, 1), ("picture", 0, 1), ("curtain", 0, 1)),
        top=(("pillow", ("couch",), 0, 3), ("lamp", ("dresser", "cabinet"), 0, 1), ("box", _TOPS, 0, 1)),
        crowd=("lamp", "plant", "ottoman", "picture", "box", "stool", "couch", "bookshelf", "curtain"),
    ),
    Theme(
        "office",
        wall=(("desk", 1, 4), ("bookshelf", 0, 1), ("cabinet", 0, 1), ("couch", 0, 1)),
        middle=(("table", 0, 1),),
        chairs=(1, 4),
        floor=(("trash can", 0, 1), ("plant", 0, 1), ("backpack", 0, 1), ("lamp", 0, 1)),
        mounted=(("whiteboard", 0, 1), ("picture", 0, 1), ("tv", 0, 1)),
        top=(("box", ("desk", "table", "cabinet"), 0, 2), ("lamp", ("desk", "cabinet"), 0, 1)),
        crowd=("chair", "trash can", "box", "backpack", "cabinet", "bookshelf", "plant", "whiteboard"),
    ),
    Theme(
        "dining room",
        wall=(("refrigerator", 0, 1), ("cabinet", 0, 2), ("dresser", 0, 1), ("couch", 0, 1), ("bookshelf", 0, 1)),
        middle=(("table", 1, 2),),
        chairs=(2, 6),
        floor=(("trash can", 0, 1), ("plant", 0, 1), ("lamp", 0, 1), ("backpack", 0, 1)),
        mounted=(("picture", 0, 1), ("curtain", 0, 1), ("tv", 0, 1)),
        top=(("box", ("table", "cabinet"), 0, 2), ("lamp", ("cabinet", "dresser"), 0, 1)),
        crowd=("stool", "trash can", "cabinet", "box", "plant", "picture", "refrigerator", "chair"),
    ),
    Theme(
        "lounge",
        wall=(("couch", 0, 2), ("bed", 0, 1), ("bookshelf", 0, 1), ("dresser", 0, 1), ("refrigerator", 0, 1)),
        middle=(("table", 0, 1), ("coffee table", 0, 2)),
        chairs=(1, 4),
        floor=(("trash can", 0, 1), ("plant", 0, 1), ("lamp", 0, 1), ("stool", 0, 1)),
        mounted=(("tv", 0, 1), ("picture", 0, 1), ("whiteboard", 0, 1), ("curtain", 0, 1)),
        top=(("pillow", ("couch", "bed"), 0, 3), ("box", _TOPS, 0, 1), ("lamp", ("dresser",), 0, 1)),
        crowd=("ottoman", "suitcase", "backpack", "stool", "lamp", "couch", "dresser", "chair", "box"),
    ),
)


@dataclass(frozen=True)
class RoomPlan:
    """What rooms are furnished like: from `themes`; width, depth and height ranges in metres; how many classes of a
    theme's crowd a room repeats, and up to how many objects each; how many windows; and the fewest classes, and
    repeated classes, that a room must end up with."""

    themes: tuple[Theme, ...]
    size: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    crowded: int
    crowd: tuple[int, int]
    windows: tuple[int, int]
    classes: int
    repeated: int

    @property
    def labels(self) -> frozenset[str]:
        """The classes that such a room may hold."""
        parts = [part for t in self.themes for part in (*t.wall, *t.middle, *t.floor, *t.mounted, *t.top)]
        own = {part[0] for part in parts} | {label for t in self.themes for label in t.crowd}
        return frozenset(own.union(_ALWAYS, *(_COMPANIONS.get(label, ()) for label in own)))


_STANDS = ("desk", "table", "cabinet")
_HUNG = (("picture", 0, 1), ("tv", 0, 1))
_SMALL_THEMES = (
    Theme(
        "bedroom",
        wall=(("bed", 1, 1), ("cabinet", 0, 1), ("desk", 0, 1), ("bookshelf", 0, 1)),
        middle=(),
        chairs=(0, 0),
        floor=(("lamp", 0, 1), ("plant", 0, 1)),
        mounted=_HUNG,
        top=(("box", _STANDS, 0, 1),),
        crowd=("chair", "box", "lamp", "cabinet", "plant"),
    ),
    Theme(
        "living room",
        wall=(("couch", 1, 1), ("bookshelf", 0, 1), ("cabinet", 0, 1), ("refrigerator", 0, 1)),
        middle=(("table", 0, 1),),
        chairs=(1, 3),
        floor=(("lamp", 0, 1), ("plant", 0, 1)),
        mounted=_HUNG,
        top=(("box", _STANDS, 0, 1),),
        crowd=("lamp", "plant", "box", "couch", "bookshelf", "chair"),
    ),
    Theme(
        "office",
        wall=(("desk", 1, 2), ("bookshelf", 0, 1), ("cabinet", 0, 1)),
        middle=(("table", 0, 1),),
        chairs=(1, 3),
        floor=(("plant", 0, 1), ("lamp", 0, 1)),
        mounted=_HUNG,
        top=(("box", _STANDS, 0, 1),),
        crowd=("chair", "box", "cabinet", "bookshelf", "plant"),
    ),
    Theme(
        "dining room",
        wall=(("refrigerator", 0, 1), ("cabinet", 0, 1), ("couch", 0, 1), ("bookshelf", 0, 1)),
        middle=(("table", 1, 1),),
        chairs=(2, 4),
        floor=(("plant", 0, 1), ("lamp", 0, 1)),
        mounted=_HUNG,
        top=(("box", _STANDS, 0, 1),),
        crowd=("cabinet", "box", "plant", "refrigerator", "chair"),
    ),
)
# "full" rooms hold about 24 objects of 25 classes; "small" ones about 12 of 17, for models that have minutes to learn.
PLANS: dict[str, RoomPlan] = {
    "full": RoomPlan(THEMES, ((4.2, 6.4), (3.6, 5.4), (2.45, 2.75)), 3, (3, 5), (1, 3), 8, 2),
    "small": RoomPlan(_SMALL_THEMES, ((3.8, 5.2), (3.4, 4.6), (2.45, 2.75)), 2, (2, 3), (1, 1), 5, 1),
}


def plan_called(name: str) -> RoomPlan:
    """Return the plan of that name; DataError, which lists the known ones, if there is none."""
    if name not in PLANS:
        raise DataError(f"no room plan {name!r}", remedy=f"known: {', '.join(PLANS)}")
    return PLANS[name]
