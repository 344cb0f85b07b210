"""What kinds of room there are, and how many of which object each may hold."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[str, int, int]  # label, fewest, most


@dataclass(frozen=True)
class Theme:
    """wall: furniture with its back to a wall; middle: tables out in the room; chairs: how many a table may have;
    floor: things that stand anywhere; mounted: things that hang on a wall; top: (label, supports, fewest, most);
    crowd: classes of which a room has several more, so that one must say which is meant."""

    name: str
    wall: tuple[Range, ...]
    middle: tuple[Range, ...]
    chairs: tuple[int, int]
    floor: tuple[Range, ...]
    mounted: tuple[Range, ...]
    top: tuple[tuple[str, tuple[str, ...], int, int], ...]
    crowd: tuple[str, ...]


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
