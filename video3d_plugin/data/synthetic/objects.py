"""The catalogue of furniture: each object is a union of axis-aligned boxes ("parts"), so that ray casting is a slab
test, the object's box is exact, and a 90 degree turn keeps it so.

Object frame: origin at the middle of the footprint on its lowest plane, x to the right of someone standing *behind*
the object and looking where it looks, y forward (a chair's seat opens to +y, a bed's foot is at +y), z up; metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
PLAIN, STRIPES, CHECKS, GRAIN = range(4)  # textures of a part, see render.shade


@dataclass(frozen=True)
class Part:
    """A box `lo` to `hi` (metres), its colour 0..255 and its texture."""

    lo: tuple[float, float, float]
    hi: tuple[float, float, float]
    rgb: tuple[int, int, int]
    texture: int = PLAIN


@dataclass(frozen=True)
class Kind:
    """An object class.

    label        ScanNet raw category, the name in annotations (`_` for spaces in ScanRefer)
    nyu40        (id, class name) as in scannetv2-labels.combined.tsv
    size         ((w0, w1), (d0, d1), (h0, h1)): ranges of width, depth, height, metres
    build        (w, d, h, palette) -> parts in the object frame
    colors       colours that it comes in; empty: its colour is not spoken of
    sill         height of its lowest plane above the floor (things that hang on a wall)
    has_front    whether "in front of it" is defined
    nouns        how people call it
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


@dataclass(frozen=True)
class Palette:
    """Shades of one colour: the body, a darker and a lighter tone, and the object's texture."""

    main: tuple[int, int, int]
    texture: int = PLAIN

    def tone(self, factor: float) -> tuple[int, int, int]:
        """Darker below 1; above 1 mixed towards white."""
        rgb = np.asarray(self.main, float)
        rgb = rgb * factor if factor <= 1 else rgb + (255 - rgb) * (factor - 1)
        return tuple(int(v) for v in np.clip(np.rint(rgb), 0, 255))


METAL, GLASS, SCREEN, CLOTH, WOOD = (150, 152, 158), (178, 212, 236), (14, 16, 24), (226, 222, 214), (150, 110, 70)


def _part(p: Palette, x0, x1, y0, y1, z0, z1, rgb=None) -> Part:
    return Part((x0, y0, z0), (x1, y1, z1), rgb or p.main, p.texture if rgb is None else PLAIN)


def _legs(p: Palette, w: float, d: float, h: float, thick: float, rgb=None) -> list[Part]:
    xs = ((-w / 2, -w / 2 + thick), (w / 2 - thick, w / 2))
    ys = ((-d / 2, -d / 2 + thick), (d / 2 - thick, d / 2))
    return [_part(p, *x, *y, 0.0, h, rgb or p.tone(0.7)) for x in xs for y in ys]


def _chair(w, d, h, p):
    seat = 0.5 * h
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, seat - 0.06, seat),
        _part(p, -w / 2, w / 2, -d / 2, -d / 2 + 0.07, seat, h),
        *_legs(p, w, d, seat - 0.06, 0.05),
    ]


def _stool(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.08, h), *_legs(p, w, d, h - 0.08, 0.06, METAL)]


def _table(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.05, h), *_legs(p, w, d, h - 0.05, 0.07)]


def _coffee_table(w, d, h, p):
    shelf = _part(p, -w / 2 + 0.06, w / 2 - 0.06, -d / 2 + 0.06, d / 2 - 0.06, 0.1, 0.14, p.tone(0.8))
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.06, h), shelf, *_legs(p, w, d, h - 0.06, 0.06)]


def _desk(w, d, h, p):
    top = _part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.05, h)
    sides = [
        _part(p, s * w / 2 - 0.02 - s * 0.02, s * w / 2 + 0.02 - s * 0.02, -d / 2, d / 2, 0, h - 0.05) for s in (-1, 1)
    ]
    back = _part(p, -w / 2 + 0.04, w / 2 - 0.04, -d / 2, -d / 2 + 0.03, 0.25, h - 0.05, p.tone(0.75))
    drawers = _part(p, w / 2 - 0.42, w / 2 - 0.04, -d / 2 + 0.03, d / 2 - 0.03, 0.2, h - 0.05, p.tone(0.85))
    return [top, *sides, back, drawers]


def _couch(w, d, h, p):
    arm, seat = 0.2, 0.42
    half = (w - 2 * arm) / 2
    cushions = [
        _part(p, -half + 0.01, -0.01, -d / 2 + 0.22, d / 2, 0.3, seat, p.tone(1.12)),
        _part(p, 0.01, half - 0.01, -d / 2 + 0.22, d / 2, 0.3, seat, p.tone(1.12)),
    ]
    return [
        _part(p, -w / 2 + arm, w / 2 - arm, -d / 2, d / 2, 0.06, 0.3),
        _part(p, -w / 2 + arm, w / 2 - arm, -d / 2, -d / 2 + 0.22, 0.3, h),
        _part(p, -w / 2, -w / 2 + arm, -d / 2, d / 2, 0.0, 0.62),
        _part(p, w / 2 - arm, w / 2, -d / 2, d / 2, 0.0, 0.62),
        *cushions,
    ]


def _bed(w, d, h, p):
    top = 0.52
    return [
        _part(p, -w / 2, w / 2, -d / 2, -d / 2 + 0.08, 0.0, h, p.tone(0.6)),
        _part(p, -w / 2, w / 2, -d / 2 + 0.08, d / 2, 0.0, 0.26, p.tone(0.6)),
        _part(p, -w / 2 + 0.02, w / 2 - 0.02, -d / 2 + 0.08, -d / 2 + 0.6, 0.26, top, CLOTH),
        _part(p, -w / 2 + 0.02, w / 2 - 0.02, -d / 2 + 0.6, d / 2 - 0.01, 0.26, top),
    ]


def _fronts(p: Palette, w, d, h, columns: int, rows: int, z0: float = 0.06) -> list[Part]:
    """Door or drawer fronts with handles, standing 2 cm proud of the face y = d/2 - 0.03."""
    parts, y = [], d / 2 - 0.03
    for i in range(columns):
        for j in range(rows):
            x0, x1 = -w / 2 + w * i / columns + 0.015, -w / 2 + w * (i + 1) / columns - 0.015
            a, b = z0 + (h - z0) * j / rows + 0.015, z0 + (h - z0) * (j + 1) / rows - 0.015
            parts.append(_part(p, x0, x1, y, y + 0.02, a, b, p.tone(1.15)))
            middle, height = (x0 + x1) / 2, (a + b) / 2
            parts.append(
                _part(p, middle - 0.06, middle + 0.06, y + 0.02, y + 0.03, height - 0.015, height + 0.015, METAL)
            )
    return parts


def _cabinet(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.03, 0.0, h), *_fronts(p, w, d, h, 2, 1)]


def _dresser(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.03, 0.0, h), *_fronts(p, w, d, h, 2, 3)]


def _refrigerator(w, d, h, p):
    z, y = 0.62 * h, d / 2
    return [
        _part(p, -w / 2, w / 2, -d / 2, y - 0.06, 0.0, h),
        _part(p, -w / 2, w / 2, y - 0.05, y - 0.02, 0.04, z - 0.01),
        _part(p, -w / 2, w / 2, y - 0.05, y - 0.02, z + 0.01, h),
        _part(p, -w / 2 + 0.05, -w / 2 + 0.08, y - 0.02, y, 0.3, z - 0.1, METAL),
        _part(p, -w / 2 + 0.05, -w / 2 + 0.08, y - 0.02, y, z + 0.08, h - 0.12, METAL),
    ]


def _bookshelf(w, d, h, p):
    levels = 5
    parts = [
        _part(p, -w / 2, -w / 2 + 0.03, -d / 2, d / 2, 0.0, h),
        _part(p, w / 2 - 0.03, w / 2, -d / 2, d / 2, 0.0, h),
        _part(p, -w / 2 + 0.03, w / 2 - 0.03, -d / 2, -d / 2 + 0.02, 0.0, h, p.tone(0.8)),
    ]
    books = [(160, 60, 60), (70, 90, 140), (200, 180, 120), (80, 120, 90)]
    for i in range(levels + 1):
        z = (h - 0.03) * i / levels
        parts.append(_part(p, -w / 2 + 0.03, w / 2 - 0.03, -d / 2 + 0.02, d / 2, z, z + 0.03))
        if i < levels:
            x = -w / 2 + 0.05 + 0.08 * (i % 3)
            top = z + 0.03 + 0.6 * h / levels * (0.8 + 0.2 * (i % 2))
            parts.append(_part(p, x, x + 0.4 * w, -d / 2 + 0.04, d / 2 - 0.06, z + 0.03, top, books[i % 4]))
    return parts


def _nightstand(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.04, h),
        _part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.02, 0.45 * h, h - 0.04, p.tone(0.85)),
        _part(p, -0.05, 0.05, d / 2 - 0.02, d / 2, 0.7 * h, 0.7 * h + 0.03, METAL),
        *_legs(p, w, d, 0.45 * h, 0.05),
    ]


def _lamp(w, d, h, p):
    shade = min(0.32, 0.45 * h)
    return [
        _part(p, -0.3 * w, 0.3 * w, -0.3 * d, 0.3 * d, 0.0, 0.03, METAL),
        _part(p, -0.02, 0.02, -0.02, 0.02, 0.03, h - shade, METAL),
        _part(p, -w / 2, w / 2, -d / 2, d / 2, h - shade, h),
    ]


def _trash_can(w, d, h, p):
    t = 0.025
    return [
        _part(p, -w / 2, -w / 2 + t, -d / 2, d / 2, 0.0, h),
        _part(p, w / 2 - t, w / 2, -d / 2, d / 2, 0.0, h),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2, -d / 2 + t, 0.0, h),
        _part(p, -w / 2 + t, w / 2 - t, d / 2 - t, d / 2, 0.0, h),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2 + t, d / 2 - t, 0.0, 0.5 * h, p.tone(0.4)),
    ]


def _box(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.0, h - 0.005),
        _part(p, -0.04, 0.04, -d / 2, d / 2, h - 0.005, h, WOOD),
    ]


def _backpack(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, 0.2 * d, 0.0, 0.9 * h),
        _part(p, -0.4 * w, 0.4 * w, 0.2 * d, d / 2, 0.04, 0.5 * h, p.tone(0.7)),
        _part(p, -0.05, 0.05, -d / 2, -d / 2 + 0.04, 0.9 * h, h, p.tone(0.5)),
    ]


def _suitcase(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.05, 0.72 * h),
        _part(p, -0.28 * w, -0.2 * w, -0.03, 0.03, 0.72 * h, h - 0.03, METAL),
        _part(p, 0.2 * w, 0.28 * w, -0.03, 0.03, 0.72 * h, h - 0.03, METAL),
        _part(p, -0.28 * w, 0.28 * w, -0.03, 0.03, h - 0.03, h, METAL),
        *_legs(p, w, d, 0.05, 0.06, SCREEN),
    ]


def _tv(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.02, 0.0, h, (48, 48, 52)),
        _part(p, -w / 2 + 0.04, w / 2 - 0.04, d / 2 - 0.02, d / 2, 0.04, h - 0.04, SCREEN),
    ]


def _monitor(w, d, h, p):
    return [
        _part(p, -0.13, 0.13, -d / 2, d / 2, 0.0, 0.02, METAL),
        _part(p, -0.03, 0.03, -0.02, 0.02, 0.02, 0.12, METAL),
        _part(p, -w / 2, w / 2, -0.02, 0.02, 0.12, h, (48, 48, 52)),
        _part(p, -w / 2 + 0.02, w / 2 - 0.02, 0.02, 0.03, 0.14, h - 0.02, (70, 130, 190)),
    ]


def _framed(w, d, h, p, frame, rgb, rail: bool) -> list[Part]:
    t = 0.07
    parts = [
        _part(p, -w / 2, -w / 2 + t, -d / 2, d / 2, 0.0, h, frame),
        _part(p, w / 2 - t, w / 2, -d / 2, d / 2, 0.0, h, frame),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2, d / 2, 0.0, t, frame),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2, d / 2, h - t, h, frame),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2, d / 2 - 0.03, t, h - t, rgb),
    ]
    return parts + [_part(p, -0.025, 0.025, d / 2 - 0.03, d / 2, t, h - t, frame)] * rail


def _window(w, d, h, p):
    return _framed(w, d, h, p, (225, 225, 222), GLASS, True)


def _picture(w, d, h, p):
    return _framed(w, d, h, p, (92, 70, 46), p.main, False)


def _whiteboard(w, d, h, p):
    return [*_framed(w, d, h, p, METAL, (246, 247, 248), False)]


def _door(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.03, 0.0, h),
        _part(p, -0.32 * w, 0.32 * w, d / 2 - 0.03, d / 2 - 0.02, 0.55 * h, 0.9 * h, p.tone(0.8)),
        _part(p, -0.32 * w, 0.32 * w, d / 2 - 0.03, d / 2 - 0.02, 0.08 * h, 0.45 * h, p.tone(0.8)),
        _part(p, 0.38 * w, 0.46 * w, d / 2 - 0.03, d / 2, 0.48 * h, 0.51 * h, METAL),
    ]


def _curtain(w, d, h, p):
    n, parts = 5, []
    for i in range(n):
        x0, back = -w / 2 + w * i / n, -d / 2
        parts.append(_part(p, x0, x0 + w / n, back, d / 2 - 0.03 * (i % 2), 0.0, h, p.tone(0.8) if i % 2 else None))
    return parts


def _pillow(w, d, h, p):
    low = _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.0, 0.6 * h)
    return [low, _part(p, -0.4 * w, 0.4 * w, -0.4 * d, 0.4 * d, 0.6 * h, h, p.tone(1.12))]


def _plant(w, d, h, p):
    pot, z = 0.3 * h, 0.45 * h
    return [
        _part(p, -0.3 * w, 0.3 * w, -0.3 * d, 0.3 * d, 0.0, pot),
        _part(p, -0.02, 0.02, -0.02, 0.02, pot, z, (90, 65, 40)),
        _part(p, -w / 2, w / 2, -d / 2, d / 2, z, 0.75 * h, (38, 120, 48)),
        _part(p, -0.3 * w, 0.3 * w, -0.3 * d, 0.3 * d, 0.75 * h, h, (52, 142, 60)),
    ]


def _ottoman(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.06, h),
        *_legs(p, w, d, 0.06, 0.06, (60, 45, 35)),
    ]


def _kind(label, nyu40, w, d, h, build, **more) -> Kind:
    more.setdefault("nouns", (label,))
    more.setdefault("plural", label + ("es" if label.endswith(("x", "ch")) else "s"))
    return Kind(label, nyu40, (w, d, h), build, **more)


_OTHER = (40, "otherprop")
KINDS: dict[str, Kind] = {
    kind.label: kind
    for kind in (
        _kind("chair", (5, "chair"), (0.42, 0.5), (0.45, 0.52), (0.82, 0.95), _chair),
        _kind("stool", _OTHER, (0.32, 0.44), (0.32, 0.44), (0.42, 0.75), _stool, has_front=False),
        _kind("table", (7, "table"), (1.1, 1.7), (0.75, 0.95), (0.7, 0.77), _table, has_front=False),
        _kind("coffee table", (7, "table"), (0.8, 1.1), (0.48, 0.6), (0.38, 0.46), _coffee_table, has_front=False),
        _kind("desk", (14, "desk"), (1.15, 1.5), (0.6, 0.72), (0.72, 0.77), _desk),
        _kind(
            "couch",
            (6, "sofa"),
            (1.5, 2.1),
            (0.82, 0.92),
            (0.76, 0.88),
            _couch,
            nouns=("couch", "sofa"),
            plural="couches",
        ),
        _kind("bed", (4, "bed"), (1.1, 1.7), (1.95, 2.1), (0.9, 1.1), _bed),
        _kind("cabinet", (3, "cabinet"), (0.6, 1.2), (0.4, 0.52), (0.8, 1.5), _cabinet, nouns=("cabinet", "cupboard")),
        _kind("dresser", (17, "dresser"), (1.0, 1.35), (0.45, 0.52), (0.78, 0.9), _dresser),
        _kind(
            "refrigerator",
            (24, "refrigerator"),
            (0.66, 0.76),
            (0.66, 0.74),
            (1.6, 1.85),
            _refrigerator,
            colors=("white", "black", "red", "blue", "green"),
            nouns=("refrigerator", "fridge"),
        ),
        _kind("bookshelf", (10, "bookshelf"), (0.75, 1.1), (0.3, 0.38), (1.6, 2.0), _bookshelf, plural="bookshelves"),
        _kind("nightstand", (32, "night stand"), (0.42, 0.52), (0.38, 0.44), (0.48, 0.6), _nightstand),
        _kind("lamp", (35, "lamp"), (0.3, 0.46), (0.3, 0.46), (1.2, 1.75), _lamp, has_front=False),
        _kind(
            "trash can",
            (39, "otherfurniture"),
            (0.26, 0.42),
            (0.26, 0.42),
            (0.3, 0.62),
            _trash_can,
            has_front=False,
            nouns=("trash can", "trash bin", "garbage can"),
        ),
        _kind("box", (29, "box"), (0.3, 0.6), (0.26, 0.48), (0.22, 0.5), _box, has_front=False),
        _kind("backpack", _OTHER, (0.27, 0.4), (0.18, 0.28), (0.36, 0.58), _backpack, has_front=False),
        _kind("suitcase", _OTHER, (0.34, 0.54), (0.22, 0.32), (0.62, 1.0), _suitcase, has_front=False),
        _kind(
            "tv",
            (25, "television"),
            (1.0, 1.35),
            (0.08, 0.1),
            (0.6, 0.76),
            _tv,
            colors=(),
            sill=1.0,
            nouns=("tv", "television"),
        ),
        _kind("monitor", _OTHER, (0.48, 0.6), (0.16, 0.2), (0.42, 0.48), _monitor, colors=(), has_front=False),
        _kind("window", (9, "window"), (0.9, 1.5), (0.08, 0.1), (0.9, 1.15), _window, colors=(), sill=0.95),
        _kind("door", (8, "door"), (0.82, 0.95), (0.08, 0.1), (1.98, 2.06), _door),
        _kind(
            "picture",
            (11, "picture"),
            (0.45, 1.0),
            (0.05, 0.06),
            (0.38, 0.75),
            _picture,
            sill=1.35,
            nouns=("picture", "painting"),
        ),
        _kind(
            "whiteboard", (30, "whiteboard"), (1.1, 1.6), (0.05, 0.06), (0.8, 0.95), _whiteboard, colors=(), sill=0.95
        ),
        _kind("curtain", (16, "curtain"), (0.34, 0.5), (0.1, 0.12), (1.85, 2.05), _curtain, sill=0.12),
        _kind("pillow", (18, "pillow"), (0.42, 0.52), (0.28, 0.36), (0.12, 0.16), _pillow, has_front=False),
        _kind("plant", _OTHER, (0.34, 0.6), (0.34, 0.6), (0.6, 1.3), _plant, colors=(), has_front=False),
        _kind("ottoman", (39, "otherfurniture"), (0.42, 0.75), (0.42, 0.7), (0.36, 0.5), _ottoman, has_front=False),
    )
}


def build(label: str, size: tuple[float, float, float], color: str | None, texture: int) -> list[Part]:
    """Parts of one object in its own frame. `size` (w, d, h) metres; `color` a key of COLORS, or None."""
    rgb = COLORS[color] if color else (128, 128, 128)
    return KINDS[label].build(*size, Palette(rgb, texture if color else PLAIN))


def turn(part: Part, quarter_turns: int, at: tuple[float, float, float]) -> Part:
    """`part` turned counter-clockwise (seen from above) by quarter turns about the object's origin, then moved."""
    (x0, y0, z0), (x1, y1, z1) = part.lo, part.hi
    for _ in range(quarter_turns % 4):
        x0, x1, y0, y1 = -y1, -y0, x0, x1
    lo = (round(x0 + at[0], 4), round(y0 + at[1], 4), round(z0 + at[2], 4))
    hi = (round(x1 + at[0], 4), round(y1 + at[1], 4), round(z1 + at[2], 4))
    return Part(lo, hi, part.rgb, part.texture)
