"""Parses boxes in the text of any model: `[x, y, z, w, h, l]`, JSON, calls, tagged or bare numbers, corners.

`box_forms` lists the forms of a box.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from video3d_plugin.metrics.box_forms import (
    LISTS,
    MAX_DEPTH,
    WrittenBox,
    box_in_mapping,
    box_of_call,
    box_of_numbers,
    box_of_opposite_corners,
    boxes_in_list,
    upright_boxes,
)
from video3d_plugin.metrics.final_answer import says_no_object

MAX_CHARACTERS = 20_000
MAX_STARTS = 200

_NUMBER = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?: ?([cm]m)(?![A-Za-z]))?")
_UNITS_M = {"": 1.0, "cm": 0.01, "mm": 0.001}
_START = re.compile(r"[\[{]")
_GROUP = re.compile(r"[\[(<{]([^\[\](){}<>]*)[\])>}]")
_CALL = re.compile(r"(?<!\w)(\w{1,40})\(([^()]*)\)")
_PAIR = re.compile(r"(?<![\w.])([A-Za-z_]\w*)[\"']? ?[:=] ?[\"']?([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_TAG = re.compile(r"<[A-Za-z/|][^<>]{0,40}>")
_LOW = re.compile(r"(?<![a-z])(?:min|minimum|lower|from|corners?)(?![a-z])", re.IGNORECASE)
_HIGH = re.compile(r"(?<![a-z])(?:max|maximum|upper|to|corners?|and)(?![a-z])", re.IGNORECASE)
_DEGREES = re.compile(r"°|\bdeg(?:rees?)?\b", re.IGNORECASE)
_DASH = re.compile(r"(?<![\d.\-])[\u2013\u2014](?=[\d.])")
# Typographic signs; a comma, colon or bracket of full width stands for the plain one, and so does a digit.
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", None),
        **dict.fromkeys("\u201c\u201d\u201e\uff02", '"'),
        **dict.fromkeys("\u2018\u2019\uff07", "'"),
        **dict.fromkeys("\u3010\u3014\uff3b", "["),
        **dict.fromkeys("\u3011\u3015\uff3d", "]"),
        **{chr(0xFEE0 + ord(sign)): sign for sign in "0123456789().,:;{}<>=+"},
        "\u3001": ",",
        "\u00d7": " ",
        "\u22c5": " ",
    }
)


def parse_boxes(text: str) -> list[list[float]] | None:
    """Parse the boxes in a text.

    Args:
        text: A model's answer. Only its first MAX_CHARACTERS are read.

    Returns:
        Boxes (6,) in the order of the text; [] if the text says that there is none; None if it cannot be parsed.
    """
    text = _DASH.sub("-", text[:MAX_CHARACTERS].translate(_SIGNS))
    text = _TAG.sub("\n", text)
    in_degrees = _DEGREES.search(text) is not None
    for parse in (_boxes_of_calls, _json_boxes, _bracketed_boxes, _boxes_of_names, _bare_boxes):
        boxes = parse(text)
        if boxes is not None:
            return upright_boxes(boxes, in_degrees)
    return [] if says_no_object(text) else None


def _boxes_of_calls(text: str) -> list[WrittenBox] | None:
    """Boxes in calls, as SpatialLM's `bbox_0=Bbox(chair, x, y, z, angle_z, scale_x, scale_y, scale_z)`."""
    boxes = []
    for name, content in _CALL.findall(text):
        if "box" not in name.lower():
            continue
        if "=" in content:
            box = box_in_mapping(_named_numbers(content))
        else:
            arguments = [argument.strip() for argument in content.split(",")]
            numbers = [float(a) for a in arguments if (match := _NUMBER.fullmatch(a)) and not match[2]]
            starts_with_class = arguments[0] and _NUMBER.fullmatch(arguments[0]) is None
            box = box_of_call(numbers) if starts_with_class else box_of_numbers(numbers)
        boxes += [box] if box is not None else []
    return boxes or None


def _json_boxes(text: str) -> list[WrittenBox] | None:
    """Boxes of all JSON values in the text; [] only if the answer is one empty list of boxes."""
    decoder, position, boxes, values = json.JSONDecoder(), 0, [], []
    for _ in range(MAX_STARTS):
        start = _START.search(text, position)
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
        lists = [item for key, item in _lower(value).items() if key in LISTS]
        return bool(lists) and all(item == [] or item is None for item in lists)
    return value == []


def _lower(value: Mapping) -> dict[str, Any]:
    return {str(key).lower().replace(" ", "_").replace("-", "_"): item for key, item in value.items()}


def _boxes_in(value: Any, depth: int, name: str = "") -> list[WrittenBox]:
    if depth == 0:
        return []
    if isinstance(value, Mapping):
        value = _lower(value)
        if (box := box_in_mapping(value)) is not None:
            return [box]
        return [box for key in LISTS if key in value for box in _boxes_in(value[key], depth - 1, key)]
    if not isinstance(value, list):
        return (_bracketed_boxes(value) or _bare_boxes(value) or []) if isinstance(value, str) else []
    if (box := boxes_in_list(value, name)) is not None:
        return [box]
    return [box for item in value for box in _boxes_in(item, depth - 1, name)]


def _bracketed_boxes(text: str) -> list[WrittenBox] | None:
    """A box in each pair of brackets; otherwise two points in a pair of brackets each."""
    groups = [(match.start(), match.end(), _numbers_of_text(match[1])) for match in _GROUP.finditer(text)]
    boxes = [box for *_, numbers in groups if (box := box_of_numbers(numbers)) is not None]
    if boxes:
        return boxes
    points = [group for group in groups if len(group[2]) == 3]
    end = 0
    for (start, middle, one), (middle_end, after, other) in zip(points[::2], points[1::2], strict=False):
        box = _box_of_halves(text[end:start], one, text[middle:middle_end], other)
        boxes += [box] if box is not None else []
        end = after
    return boxes or None


def _box_of_halves(before: str, one: list[float], between: str, other: list[float]) -> WrittenBox | None:
    """Two points: opposite corners if the words before them say so, else centre and size."""
    if _LOW.search(before[-60:]) and _HIGH.search(between[-60:]):
        return box_of_opposite_corners(one, other)
    return box_of_numbers([*one, *other])


def _boxes_of_names(text: str) -> list[WrittenBox] | None:
    """Boxes of numbers with names, `x_min=0.5, ...`, in each line or in the whole text."""
    for parts in (text.splitlines(), [text]):
        boxes = [box for part in parts if (box := box_in_mapping(_named_numbers(part))) is not None]
        if boxes:
            return boxes
    return None


def _named_numbers(text: str) -> dict[str, Any]:
    return {name.lower(): float(number) for name, number in _PAIR.findall(text)}


def _bare_boxes(text: str) -> list[WrittenBox] | None:
    """Six numbers without brackets, in each line or in the whole text."""
    for parts in (text.splitlines(), [text]):
        boxes = [box for part in parts if (box := _bare_box(part)) is not None]
        if boxes:
            return boxes
    return None


def _bare_box(text: str) -> WrittenBox | None:
    numbers = list(_numbers(text))
    if len(numbers) != 6:
        return None
    values = [value for _, _, value in numbers]
    return _box_of_halves(text[: numbers[0][0]], values[:3], text[numbers[2][1] : numbers[3][0]], values[3:])


def _numbers_of_text(text: str) -> list[float]:
    return [value for _, _, value in _numbers(text)]


def _numbers(text: str) -> Iterator[tuple[int, int, float]]:
    """Yield start, end and value in metres of the numbers of a text.

    Names such as `x1` or `bbox3d` are removed first: their digits are no coordinates.
    """
    blanked = _NAME.sub(lambda match: match[0] if match[0] in ("cm", "mm") else " " * len(match[0]), text)
    for match in _NUMBER.finditer(blanked):
        yield match.start(), match.end(), float(match[1]) * _UNITS_M[match[2] or ""]
