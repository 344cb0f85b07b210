"""The catalogue of object classes: ScanNet's names, sizes, colours and nouns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from video3d_plugin.mini.rooms import shapes
from video3d_plugin.mini.rooms.shapes import PLAIN, Palette, Part

# Separate enough in hue or lightness to survive shading (factor 0.6 to 1) and jpeg.
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (200, 35, 35),
    "green": (45, 150, 60),
    "blue": (40, 75, 195),
    "yellow": (235, 205, 50),
    "white": (240, 240, 238),
    "black": (32, 32, 36),
    "brown": (120, 74, 40),
    "orange": (238, 125, 25),
    "purple": (130, 55, 160),
}


@dataclass(frozen=True)
class Kind:
    """An object class.

    Attributes:
        label: ScanNet's raw category, the name in annotations (`_` for spaces in ScanRefer).
        nyu40: Id and class name, as in scannetv2-labels.combined.tsv.
        size: Ranges of width, depth and height: ((w0, w1), (d0, d1), (h0, h1)), metres.
        build: Makes the parts, in the object frame: (w, d, h, palette) -> parts.
        colors: Colours that it comes in; none if its colour is never mentioned.
        sill: Height of its lowest plane above the floor, metres, for things that hang on a wall.
        has_front: Whether "in front of it" is defined.
        nouns: Other words for it.
    """

    label: str
    nyu40: tuple[int, str]
    size: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    build: Callable[[float, float, float, Palette], list[Part]]
    colors: tuple[str, ...] = tuple(COLORS)
    sill: float = 0.0
    has_front: bool = True
    nouns: tuple[str, ...] = ()
    plural: str = ""


def _kind(label, nyu40, w, d, h, build, **more) -> Kind:
    more.setdefault("nouns", (label,))
    more.setdefault("plural", label + ("es" if label.endswith(("x", "ch")) else "s"))
    return Kind(label, nyu40, (w, d, h), build, **more)


_OTHER = (40, "otherprop")
KINDS: dict[str, Kind] = {
    kind.label: kind
    for kind in (
        _kind("chair", (5, "chair"), (0.42, 0.5), (0.45, 0.52), (0.82, 0.95), shapes.chair),
        _kind("stool", _OTHER, (0.32, 0.44), (0.32, 0.44), (0.42, 0.75), shapes.stool, has_front=False),
        _kind("table", (7, "table"), (1.1, 1.7), (0.75, 0.95), (0.7, 0.77), shapes.table, has_front=False),
        _kind(
            "coffee table", (7, "table"), (0.8, 1.1), (0.48, 0.6), (0.38, 0.46), shapes.coffee_table, has_front=False
        ),
        _kind("desk", (14, "desk"), (1.15, 1.5), (0.6, 0.72), (0.72, 0.77), shapes.desk),
        _kind(
            "couch",
            (6, "sofa"),
            (1.5, 2.1),
            (0.82, 0.92),
            (0.76, 0.88),
            shapes.couch,
            nouns=("couch", "sofa"),
            plural="couches",
        ),
        _kind("bed", (4, "bed"), (1.1, 1.7), (1.95, 2.1), (0.9, 1.1), shapes.bed),
        _kind(
            "cabinet",
            (3, "cabinet"),
            (0.6, 1.2),
            (0.4, 0.52),
            (0.8, 1.5),
            shapes.cabinet,
            nouns=("cabinet", "cupboard"),
        ),
        _kind("dresser", (17, "dresser"), (1.0, 1.35), (0.45, 0.52), (0.78, 0.9), shapes.dresser),
        _kind(
            "refrigerator",
            (24, "refrigerator"),
            (0.66, 0.76),
            (0.66, 0.74),
            (1.6, 1.85),
            shapes.refrigerator,
            colors=("white", "black", "red", "blue", "green"),
            nouns=("refrigerator", "fridge"),
        ),
        _kind(
            "bookshelf", (10, "bookshelf"), (0.75, 1.1), (0.3, 0.38), (1.6, 2.0), shapes.bookshelf, plural="bookshelves"
        ),
        _kind("nightstand", (32, "night stand"), (0.42, 0.52), (0.38, 0.44), (0.48, 0.6), shapes.nightstand),
        _kind("lamp", (35, "lamp"), (0.3, 0.46), (0.3, 0.46), (1.2, 1.75), shapes.lamp, has_front=False),
        _kind(
            "trash can",
            (39, "otherfurniture"),
            (0.26, 0.42),
            (0.26, 0.42),
            (0.3, 0.62),
            shapes.trash_can,
            has_front=False,
            nouns=("trash can", "trash bin", "garbage can"),
        ),
        _kind("box", (29, "box"), (0.3, 0.6), (0.26, 0.48), (0.22, 0.5), shapes.box, has_front=False),
        _kind("backpack", _OTHER, (0.27, 0.4), (0.18, 0.28), (0.36, 0.58), shapes.backpack, has_front=False),
        _kind("suitcase", _OTHER, (0.34, 0.54), (0.22, 0.32), (0.62, 1.0), shapes.suitcase, has_front=False),
        _kind(
            "tv",
            (25, "television"),
            (1.0, 1.35),
            (0.08, 0.1),
            (0.6, 0.76),
            shapes.tv,
            colors=(),
            sill=1.0,
            nouns=("tv", "television"),
        ),
        _kind("monitor", _OTHER, (0.48, 0.6), (0.16, 0.2), (0.42, 0.48), shapes.monitor, colors=(), has_front=False),
        _kind("window", (9, "window"), (0.9, 1.5), (0.08, 0.1), (0.9, 1.15), shapes.window, colors=(), sill=0.95),
        _kind("door", (8, "door"), (0.82, 0.95), (0.08, 0.1), (1.98, 2.06), shapes.door),
        _kind(
            "picture",
            (11, "picture"),
            (0.45, 1.0),
            (0.05, 0.06),
            (0.38, 0.75),
            shapes.picture,
            sill=1.35,
            nouns=("picture", "painting"),
        ),
        _kind(
            "whiteboard",
            (30, "whiteboard"),
            (1.1, 1.6),
            (0.05, 0.06),
            (0.8, 0.95),
            shapes.whiteboard,
            colors=(),
            sill=0.95,
        ),
        _kind("curtain", (16, "curtain"), (0.34, 0.5), (0.1, 0.12), (1.85, 2.05), shapes.curtain, sill=0.12),
        _kind("pillow", (18, "pillow"), (0.42, 0.52), (0.28, 0.36), (0.12, 0.16), shapes.pillow, has_front=False),
        _kind("plant", _OTHER, (0.34, 0.6), (0.34, 0.6), (0.6, 1.3), shapes.plant, colors=(), has_front=False),
        _kind(
            "ottoman", (39, "otherfurniture"), (0.42, 0.75), (0.42, 0.7), (0.36, 0.5), shapes.ottoman, has_front=False
        ),
    )
}


def build(label: str, size: tuple[float, float, float], color: str | None, texture: int) -> list[Part]:
    """Build the parts of one object.

    Args:
        label: Its class.
        size: Width, depth and height, metres.
        color: A key of COLORS, or None.
        texture: Its texture.

    Returns:
        Parts in the object frame.
    """
    rgb = COLORS[color] if color else (128, 128, 128)
    return KINDS[label].build(*size, Palette(rgb, texture if color else PLAIN))


def turn(part: Part, quarter_turns: int, at: tuple[float, float, float]) -> Part:
    """Turn a part counter-clockwise, as seen from above, about the object's origin, then shift it.

    Args:
        part: The part, in the object frame.
        quarter_turns: Number of quarter turns.
        at: Shift, metres.
    """
    (x0, y0, z0), (x1, y1, z1) = part.lo, part.hi
    for _ in range(quarter_turns % 4):
        x0, x1, y0, y1 = -y1, -y0, x0, x1
    lo = (round(x0 + at[0], 4), round(y0 + at[1], 4), round(z0 + at[2], 4))
    hi = (round(x1 + at[0], 4), round(y1 + at[1], 4), round(z1 + at[2], 4))
    return Part(lo, hi, part.rgb, part.texture)
