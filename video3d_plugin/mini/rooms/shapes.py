"""Builds each kind of furniture from axis-aligned boxes ("parts").

So ray casting is a slab test, the object's box is exact, and a quarter turn keeps it exact.

Object frame: origin in the middle of the footprint on the lowest plane, y forward (a chair's seat opens to +y, a bed's
foot is at +y), x to the right of somebody who stands behind the object and looks where it faces, z up; metres. Every
builder takes width, depth, height (x, y, z) and a Palette, and fills exactly that box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PLAIN, STRIPES, CHECKS, GRAIN = range(4)  # textures of a part, see render.shade


@dataclass(frozen=True)
class Part:
    """A box from `lo` to `hi` (metres), its colour 0..255 and its texture."""

    lo: tuple[float, float, float]
    hi: tuple[float, float, float]
    rgb: tuple[int, int, int]
    texture: int = PLAIN


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


def chair(w, d, h, p):
    seat = 0.5 * h
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, seat - 0.06, seat),
        _part(p, -w / 2, w / 2, -d / 2, -d / 2 + 0.07, seat, h),
        *_legs(p, w, d, seat - 0.06, 0.05),
    ]


def stool(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.08, h), *_legs(p, w, d, h - 0.08, 0.06, METAL)]


def table(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.05, h), *_legs(p, w, d, h - 0.05, 0.07)]


def coffee_table(w, d, h, p):
    shelf = _part(p, -w / 2 + 0.06, w / 2 - 0.06, -d / 2 + 0.06, d / 2 - 0.06, 0.1, 0.14, p.tone(0.8))
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.06, h), shelf, *_legs(p, w, d, h - 0.06, 0.06)]


def desk(w, d, h, p):
    top = _part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.05, h)
    sides = [
        _part(p, s * w / 2 - 0.02 - s * 0.02, s * w / 2 + 0.02 - s * 0.02, -d / 2, d / 2, 0, h - 0.05) for s in (-1, 1)
    ]
    back = _part(p, -w / 2 + 0.04, w / 2 - 0.04, -d / 2, -d / 2 + 0.03, 0.25, h - 0.05, p.tone(0.75))
    drawers = _part(p, w / 2 - 0.42, w / 2 - 0.04, -d / 2 + 0.03, d / 2 - 0.03, 0.2, h - 0.05, p.tone(0.85))
    return [top, *sides, back, drawers]


def couch(w, d, h, p):
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


def bed(w, d, h, p):
    top = 0.52
    return [
        _part(p, -w / 2, w / 2, -d / 2, -d / 2 + 0.08, 0.0, h, p.tone(0.6)),
        _part(p, -w / 2, w / 2, -d / 2 + 0.08, d / 2, 0.0, 0.26, p.tone(0.6)),
        _part(p, -w / 2 + 0.02, w / 2 - 0.02, -d / 2 + 0.08, -d / 2 + 0.6, 0.26, top, CLOTH),
        _part(p, -w / 2 + 0.02, w / 2 - 0.02, -d / 2 + 0.6, d / 2 - 0.01, 0.26, top),
    ]


def _fronts(p: Palette, w, d, h, columns: int, rows: int, z0: float = 0.06) -> list[Part]:
    """Door or drawer fronts with handles, 2 cm in front of the face y = d/2 - 0.03."""
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


def cabinet(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.03, 0.0, h), *_fronts(p, w, d, h, 2, 1)]


def dresser(w, d, h, p):
    return [_part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.03, 0.0, h), *_fronts(p, w, d, h, 2, 3)]


def refrigerator(w, d, h, p):
    z, y = 0.62 * h, d / 2
    return [
        _part(p, -w / 2, w / 2, -d / 2, y - 0.06, 0.0, h),
        _part(p, -w / 2, w / 2, y - 0.05, y - 0.02, 0.04, z - 0.01),
        _part(p, -w / 2, w / 2, y - 0.05, y - 0.02, z + 0.01, h),
        _part(p, -w / 2 + 0.05, -w / 2 + 0.08, y - 0.02, y, 0.3, z - 0.1, METAL),
        _part(p, -w / 2 + 0.05, -w / 2 + 0.08, y - 0.02, y, z + 0.08, h - 0.12, METAL),
    ]


def bookshelf(w, d, h, p):
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


def nightstand(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, h - 0.04, h),
        _part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.02, 0.45 * h, h - 0.04, p.tone(0.85)),
        _part(p, -0.05, 0.05, d / 2 - 0.02, d / 2, 0.7 * h, 0.7 * h + 0.03, METAL),
        *_legs(p, w, d, 0.45 * h, 0.05),
    ]


def lamp(w, d, h, p):
    shade = min(0.32, 0.45 * h)
    return [
        _part(p, -0.3 * w, 0.3 * w, -0.3 * d, 0.3 * d, 0.0, 0.03, METAL),
        _part(p, -0.02, 0.02, -0.02, 0.02, 0.03, h - shade, METAL),
        _part(p, -w / 2, w / 2, -d / 2, d / 2, h - shade, h),
    ]


def trash_can(w, d, h, p):
    t = 0.025
    return [
        _part(p, -w / 2, -w / 2 + t, -d / 2, d / 2, 0.0, h),
        _part(p, w / 2 - t, w / 2, -d / 2, d / 2, 0.0, h),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2, -d / 2 + t, 0.0, h),
        _part(p, -w / 2 + t, w / 2 - t, d / 2 - t, d / 2, 0.0, h),
        _part(p, -w / 2 + t, w / 2 - t, -d / 2 + t, d / 2 - t, 0.0, 0.5 * h, p.tone(0.4)),
    ]


def box(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.0, h - 0.005),
        _part(p, -0.04, 0.04, -d / 2, d / 2, h - 0.005, h, WOOD),
    ]


def backpack(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, 0.2 * d, 0.0, 0.9 * h),
        _part(p, -0.4 * w, 0.4 * w, 0.2 * d, d / 2, 0.04, 0.5 * h, p.tone(0.7)),
        _part(p, -0.05, 0.05, -d / 2, -d / 2 + 0.04, 0.9 * h, h, p.tone(0.5)),
    ]


def suitcase(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.05, 0.72 * h),
        _part(p, -0.28 * w, -0.2 * w, -0.03, 0.03, 0.72 * h, h - 0.03, METAL),
        _part(p, 0.2 * w, 0.28 * w, -0.03, 0.03, 0.72 * h, h - 0.03, METAL),
        _part(p, -0.28 * w, 0.28 * w, -0.03, 0.03, h - 0.03, h, METAL),
        *_legs(p, w, d, 0.05, 0.06, SCREEN),
    ]


def tv(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.02, 0.0, h, (48, 48, 52)),
        _part(p, -w / 2 + 0.04, w / 2 - 0.04, d / 2 - 0.02, d / 2, 0.04, h - 0.04, SCREEN),
    ]


def monitor(w, d, h, p):
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


def window(w, d, h, p):
    return _framed(w, d, h, p, (225, 225, 222), GLASS, True)


def picture(w, d, h, p):
    return _framed(w, d, h, p, (92, 70, 46), p.main, False)


def whiteboard(w, d, h, p):
    return [*_framed(w, d, h, p, METAL, (246, 247, 248), False)]


def door(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2 - 0.03, 0.0, h),
        _part(p, -0.32 * w, 0.32 * w, d / 2 - 0.03, d / 2 - 0.02, 0.55 * h, 0.9 * h, p.tone(0.8)),
        _part(p, -0.32 * w, 0.32 * w, d / 2 - 0.03, d / 2 - 0.02, 0.08 * h, 0.45 * h, p.tone(0.8)),
        _part(p, 0.38 * w, 0.46 * w, d / 2 - 0.03, d / 2, 0.48 * h, 0.51 * h, METAL),
    ]


def curtain(w, d, h, p):
    n, parts = 5, []
    for i in range(n):
        x0, back = -w / 2 + w * i / n, -d / 2
        parts.append(_part(p, x0, x0 + w / n, back, d / 2 - 0.03 * (i % 2), 0.0, h, p.tone(0.8) if i % 2 else None))
    return parts


def pillow(w, d, h, p):
    low = _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.0, 0.6 * h)
    return [low, _part(p, -0.4 * w, 0.4 * w, -0.4 * d, 0.4 * d, 0.6 * h, h, p.tone(1.12))]


def plant(w, d, h, p):
    pot, z = 0.3 * h, 0.45 * h
    return [
        _part(p, -0.3 * w, 0.3 * w, -0.3 * d, 0.3 * d, 0.0, pot),
        _part(p, -0.02, 0.02, -0.02, 0.02, pot, z, (90, 65, 40)),
        _part(p, -w / 2, w / 2, -d / 2, d / 2, z, 0.75 * h, (38, 120, 48)),
        _part(p, -0.3 * w, 0.3 * w, -0.3 * d, 0.3 * d, 0.75 * h, h, (52, 142, 60)),
    ]


def ottoman(w, d, h, p):
    return [
        _part(p, -w / 2, w / 2, -d / 2, d / 2, 0.06, h),
        *_legs(p, w, d, 0.06, 0.06, (60, 45, 35)),
    ]
