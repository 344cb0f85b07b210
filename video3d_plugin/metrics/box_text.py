"""Parses boxes in the text of any model: `[x, y, z, w, h, l]`, JSON, tagged or bare numbers, eight corners.

Numbers are metres: the centre x, y, z, then the sizes along x, y and z in this order, whatever their names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from video3d_plugin.metrics.iou import box_of_corners, corners_of_box

MAX_CHARACTERS = 20_000
MAX_STARTS = 200
MAX_DEPTH = 20
FARTHEST_M = 1e4

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_GROUP = re.compile(r"[\[(<{]([^\[\](){}<>]*)[\])>}]")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_TAG = re.compile(r"<[A-Za-z/|][^<>]{0,40}>")
_NONE = re.compile(
    r"(?:\[\s*\]|none|null|nothing|n/a|"
    r"(?:there (?:is|are) )?(?:no|not any|zero) (?:such |matching |corresponding |target )?"
    r"(?:objects?|box(?:es)?|match(?:es)?)"
    r"(?: (?:here|found|is found|are found|exists?|in (?:the|this) (?:scene|room)|matches? the description))?)"
    r"(?:\s*[.!])?",
    re.IGNORECASE,
)
_LISTS = (
    "bbox_3d", "bbox3d", "box_3d", "box3d", "bbox", "box", "bboxes", "boxes", "bboxes_3d", "boxes_3d", "aabb",
    "aabb_bound", "corners", "objects", "predictions", "detections", "results", "answer",
)  # fmt: skip
_CENTRES = ("center", "centre", "position", "location", "xyz", "origin")
_SIZES = ("size", "dimensions", "dims", "extent", "extents", "whl", "scale")
_SIDES = (
    ("w", "h", "l"), ("dx", "dy", "dz"), ("sx", "sy", "sz"), ("size_x", "size_y", "size_z"),
    ("x_size", "y_size", "z_size"),
    ("width", "height", "length"),
)  # fmt: skip


def parse_boxes(text: str) -> list[list[float]] | None:
    """Parse the boxes in a text.

    Args:
        text: A model's answer. Only its first MAX_CHARACTERS are read.

    Returns:
        Boxes (6,) in the order of the text; [] if the text says that there is none; None if it cannot be parsed.
    """
    text = _TAG.sub("\n", text[:MAX_CHARACTERS])
    if _NONE.fullmatch(text.strip()):
        return []
    boxes = _json_boxes(text)
    if boxes is None:
        boxes = _bracketed_boxes(text) or _bare_box(text)
    return boxes


def _json_boxes(text: str) -> list[list[float]] | None:
    """Boxes of all JSON values in the text; [] only if the answer is one empty list of boxes."""
    decoder, position, boxes, values = json.JSONDecoder(), 0, [], []
    for _ in range(MAX_STARTS):
        start = re.compile(r"[\[{]").search(text, position)
        if start is None:
            break
        try:
            value, position = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.start() + 1
            continue
        values.append(value)
        boxes += _boxes_in(value, MAX_DEPTH)
    says_none = len(values) == 1 and _holds_nothing(values[0])
    return boxes if boxes or says_none else None


def _holds_nothing(value: Any) -> bool:
    if isinstance(value, Mapping):
        lists = [value[key] for key in _lower(value) if key in _LISTS]
        return bool(lists) and all(item == [] or item is None for item in lists)
    return value == []


def _lower(value: Mapping) -> dict[str, Any]:
    return {str(key).lower(): item for key, item in value.items()}


def _boxes_in(value: Any, depth: int) -> list[list[float]]:
    if depth == 0:
        return []
    if isinstance(value, Mapping):
        return _boxes_in_mapping(_lower(value), depth)
    if not isinstance(value, list):
        return _boxes_in_text(value) if isinstance(value, str) else []
    if (box := _box_of_list(value)) is not None:
        return [box]
    return [box for item in value for box in _boxes_in(item, depth - 1)]


def _boxes_in_text(value: str) -> list[list[float]]:
    return _bracketed_boxes(value) or _bare_box(value) or []


def _boxes_in_mapping(value: dict[str, Any], depth: int) -> list[list[float]]:
    pairs: tuple[tuple[Any, Any], ...] = (
        (_first(value, _CENTRES), _first(value, _SIZES)),
        (value.get("min"), value.get("max")),
    )
    for pair in pairs:
        if _numbers(pair[0], 3) and _numbers(pair[1], 3):
            is_corners = pair[0] is value.get("min")
            box = box_of_corners(np.array(pair)).tolist() if is_corners else [*pair[0], *pair[1]]
            return [checked] if (checked := _checked(box)) else []
    for sides in _SIDES:
        numbers = [value.get(key) for key in ("x", "y", "z", *sides)]
        if _numbers(numbers, 6):
            return [checked] if (checked := _checked(numbers)) else []
    return [box for key in _LISTS if key in value for box in _boxes_in(value[key], depth - 1)]


def _first(value: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if name in value), None)


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < FARTHEST_M for v in value)
    )


def _box_of_list(value: list) -> list[float] | None:
    if len(value) == 8 and all(_numbers(corner, 3) for corner in value):
        return _checked(box_of_corners(value))
    if len(value) == 2 and all(_numbers(half, 3) for half in value):
        return _checked([*value[0], *value[1]])
    return box_of_numbers(value) if len(value) > 3 and _numbers(value, len(value)) else None


def box_of_numbers(numbers: list[float]) -> list[float] | None:
    """Make an axis-aligned box of a list of numbers.

    Args:
        numbers: 6 numbers (centre, size); 7 with a yaw, or 9 with Euler angles, in radians, ZXY as in EmbodiedScan; or
            24 (eight corners). A rotated box is replaced by the axis-aligned box around it.

    Returns:
        (6,) centre and size in metres; None for another count, and for numbers beyond the size of a building.
    """
    if not all(abs(n) < FARTHEST_M for n in numbers):
        return None
    if len(numbers) == 6:
        return _checked(numbers)
    if len(numbers) in (7, 9):
        return _checked(_hull_of_turned(numbers[:6], numbers[6:]))
    if len(numbers) == 24:
        return _checked(box_of_corners(np.reshape(numbers, (8, 3))))
    return None


def _hull_of_turned(box: list[float], angles: list[float]) -> list[float]:
    z, x, y = (*angles, 0.0, 0.0)[:3]
    if not any(angles):
        return box
    turn = _rotation(2, z) @ _rotation(0, x) @ _rotation(1, y)
    centre = np.asarray(box[:3])
    return box_of_corners((corners_of_box(box) - centre) @ turn.T + centre).tolist()


def _rotation(axis: int, angle: float) -> np.ndarray:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[b, a], matrix[a, b] = math.sin(angle), -math.sin(angle)
    return matrix


def _checked(box: Any) -> list[float] | None:
    """The box if it is plausible in metres, else None: a pixel box or a list of ids is not."""
    box = [float(v) for v in box]
    plausible = all(abs(v) < FARTHEST_M for v in box) and all(v >= 0 for v in box[3:])
    return box if plausible else None


def _bracketed_boxes(text: str) -> list[list[float]] | None:
    """A box in each pair of brackets; otherwise centre and size in a pair of brackets each."""
    groups = [_numbers_of_text(group) for group in _GROUP.findall(text)]
    boxes = [box for numbers in groups if (box := box_of_numbers(numbers)) is not None]
    if not boxes:
        triples = [numbers for numbers in groups if len(numbers) == 3]
        halves = zip(triples[::2], triples[1::2], strict=False)
        boxes = [box for a, b in halves if (box := box_of_numbers([*a, *b])) is not None]
    return boxes or None


def _bare_box(text: str) -> list[list[float]] | None:
    """Six numbers without brackets, in each line or in the whole text."""
    for parts in (text.splitlines(), [text]):
        lists = [numbers for part in parts if len(numbers := _numbers_of_text(part)) == 6]
        boxes = [box for numbers in lists if (box := box_of_numbers(numbers)) is not None]
        if boxes:
            return boxes
    return None


def _numbers_of_text(text: str) -> list[float]:
    """The numbers of a text. Names such as `x1` or `bbox3d` are removed first: their digits are no coordinates."""
    return [float(n) for n in _NUMBER.findall(_NAME.sub(" ", text))]
