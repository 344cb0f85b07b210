"""What kinds of room there are, and how many of which object each may hold."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[str, int, int]  # label, fewest, most


@dataclass(frozen=True)
class Theme:
    """wall: furniture with its back to a wall; middle: tables out in the room; chairs: how many a table may have;
    floor: things that stand anywhere; mounted: things that hang on a wall; top: (label, supports, fewest, most)."""

    name: str
    wall: tuple[Range, ...]
    middle: tuple[Range, ...]
    chairs: tuple[int, int]
    floor: tuple[Range, ...]
    mounted: tuple[Range, ...]
    top: tuple[tuple[str, tuple[str, ...], int, int], ...]


_TOPS = ("desk", "table", "dresser", "cabinet", "nightstand", "coffee table")
THEMES: tuple[Theme, ...] = (
    Theme(
        "bedroom",
        wall=(
            ("bed", 1, 2),
            ("nightstand", 0, 1),
            ("cabinet", 1, 2),
            ("dresser", 0, 1),
            ("desk", 0, 1),
            ("bookshelf", 0, 2),
        ),
        middle=(("coffee table", 0, 1),),
        chairs=(0, 0),
        floor=(
            ("chair", 0, 2),
            ("trash can", 1, 2),
            ("box", 0, 3),
            ("lamp", 0, 2),
            ("ottoman", 0, 2),
            ("suitcase", 0, 2),
            ("backpack", 0, 1),
            ("plant", 0, 2),
        ),
        mounted=(("picture", 0, 3), ("tv", 0, 1), ("curtain", 0, 2)),
        top=(("pillow", ("bed",), 1, 4), ("lamp", ("nightstand", "dresser"), 0, 2), ("box", _TOPS, 0, 1)),
    ),
    Theme(
        "living room",
        wall=(("couch", 1, 3), ("bookshelf", 0, 2), ("cabinet", 0, 2), ("dresser", 0, 1), ("desk", 0, 1)),
        middle=(("coffee table", 1, 2), ("table", 0, 1)),
        chairs=(2, 4),
        floor=(
            ("chair", 0, 2),
            ("lamp", 1, 3),
            ("plant", 0, 3),
            ("ottoman", 0, 3),
            ("trash can", 0, 2),
            ("box", 0, 2),
            ("stool", 0, 2),
        ),
        mounted=(("tv", 0, 1), ("picture", 1, 4), ("curtain", 0, 2)),
        top=(("pillow", ("couch",), 0, 4), ("lamp", ("dresser", "cabinet"), 0, 1), ("box", _TOPS, 0, 2)),
    ),
    Theme(
        "office",
        wall=(("desk", 2, 4), ("bookshelf", 0, 2), ("cabinet", 1, 3), ("couch", 0, 1)),
        middle=(("table", 0, 1),),
        chairs=(1, 4),
        floor=(
            ("chair", 0, 2),
            ("trash can", 1, 3),
            ("box", 0, 4),
            ("plant", 0, 2),
            ("backpack", 0, 3),
            ("lamp", 0, 1),
        ),
        mounted=(("whiteboard", 0, 2), ("picture", 0, 2), ("tv", 0, 1)),
        top=(("box", ("desk", "table", "cabinet"), 0, 3), ("lamp", ("desk", "cabinet"), 0, 2)),
    ),
    Theme(
        "dining room",
        wall=(("refrigerator", 0, 2), ("cabinet", 1, 4), ("dresser", 0, 1), ("couch", 0, 1), ("bookshelf", 0, 1)),
        middle=(("table", 1, 2),),
        chairs=(2, 6),
        floor=(("stool", 0, 4), ("trash can", 1, 3), ("plant", 0, 2), ("box", 0, 2), ("chair", 0, 2), ("lamp", 0, 2)),
        mounted=(("picture", 0, 3), ("curtain", 0, 2), ("tv", 0, 1)),
        top=(("box", ("table", "cabinet"), 0, 3), ("lamp", ("cabinet", "dresser"), 0, 1)),
    ),
    Theme(
        "lounge",
        wall=(
            ("couch", 1, 2),
            ("bed", 0, 1),
            ("bookshelf", 0, 2),
            ("cabinet", 0, 1),
            ("dresser", 0, 2),
            ("refrigerator", 0, 1),
        ),
        middle=(("table", 1, 1), ("coffee table", 0, 2)),
        chairs=(1, 4),
        floor=(
            ("ottoman", 0, 3),
            ("suitcase", 0, 3),
            ("backpack", 0, 3),
            ("lamp", 0, 2),
            ("stool", 0, 2),
            ("trash can", 0, 2),
            ("plant", 0, 1),
        ),
        mounted=(("tv", 0, 2), ("picture", 0, 2), ("whiteboard", 0, 1), ("curtain", 0, 2)),
        top=(("pillow", ("couch", "bed"), 1, 4), ("box", _TOPS, 0, 2), ("lamp", ("dresser",), 0, 2)),
    ),
)
