"""Boxes in the forms that models write: lists of numbers, centre and size, opposite corners, with or without angles.

Numbers are metres: the centre x, y, z, then the sizes along x, y and z in this order, whatever their names. Angles are
radians unless the answer says degrees, or one is beyond a full turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video3d_plugin.metrics.iou import box_of_corners, corners_of_box

FARTHEST_M = 1e4
MAX_DEPTH = 20
LISTS = (
    "bbox_3d", "bbox3d", "box_3d", "box3d", "bbox", "box", "bboxes", "boxes", "bboxes_3d", "boxes_3d", "aabb",
    "aabb_bound", "corners", "objects", "predictions", "detections", "results", "answer",
)  # fmt: skip
_CENTRES = ("center", "centre", "position", "location", "xyz", "origin", "centroid", "translation", "center_3d")
_SIZES = ("size", "dimensions", "dims", "extent", "extents", "whl", "scale", "sizes", "lwh")
_CORNERS = (
    ("min", "max"), ("min_corner", "max_corner"), ("corner_min", "corner_max"), ("min_bound", "max_bound"),
    ("min_point", "max_point"), ("bbox_min", "bbox_max"), ("box_min", "box_max"), ("mins", "maxs"),
    ("lower", "upper"), ("minimum", "maximum"), ("from", "to"), ("corner1", "corner2"), ("corner_1", "corner_2"),
)  # fmt: skip
_XYZ = (
    ("x", "y", "z"), ("cx", "cy", "cz"), ("xc", "yc", "zc"), ("x_center", "y_center", "z_center"),
    ("center_x", "center_y", "center_z"), ("position_x", "position_y", "position_z"), ("pos_x", "pos_y", "pos_z"),
)  # fmt: skip
_SIDES = (
    ("dx", "dy", "dz"), ("sx", "sy", "sz"), ("size_x", "size_y", "size_z"), ("x_size", "y_size", "z_size"),
    ("scale_x", "scale_y", "scale_z"), ("width", "depth", "height"),
)  # fmt: skip
_SIDES_AS_WRITTEN = ({"w", "h", "l"}, {"width", "height", "length"})
_LIMITS = (
    ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max"), ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax"),
    ("min_x", "min_y", "min_z", "max_x", "max_y", "max_z"), ("x1", "y1", "z1", "x2", "y2", "z2"),
)  # fmt: skip
_YAWS = ("yaw", "heading", "angle_z", "rotation_z", "rot_z", "rz", "rotation", "angle", "orientation", "theta")
_ROLL_FIRST = ("box_3d", "box3d")  # Gemini's: roll, pitch, yaw
_Z, _Y, _X = 2, 1, 0
Turns = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class WrittenBox:
    """A box as it is written.

    Attributes:
        box: (6,) centre and size in metres, before it is turned.
        turns: Axis and angle of its rotations; the last one is applied first.
        in_degrees: Whether its angles are named as degrees.
    """

    box: list[float]
    turns: Turns = ()
    in_degrees: bool = False


def upright_boxes(written: Sequence[WrittenBox], in_degrees: bool = False) -> list[list[float]]:
    """Replace turned boxes by the axis-aligned boxes around them.

    Args:
        written: The boxes of one answer.
        in_degrees: Whether the answer gives its angles in degrees. They also are degrees if one is beyond a full turn.

    Returns:
        (6,) centre and size of each, in metres.
    """
    angles = [abs(angle) for item in written for _, angle in item.turns]
    in_degrees = in_degrees or any(item.in_degrees for item in written) or max(angles, default=0) > 2 * math.pi + 0.01
    return [_around(item, math.radians(1) if in_degrees else 1.0) for item in written]


def _around(item: WrittenBox, unit: float) -> list[float]:
    matrix = np.eye(3)
    for axis, angle in item.turns:
        matrix = matrix @ _rotation(axis, angle * unit)
    centre = np.asarray(item.box[:3])
    return box_of_corners((corners_of_box(item.box) - centre) @ matrix.T + centre).tolist() if item.turns else item.box


def _rotation(axis: int, angle: float) -> np.ndarray:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[b, a], matrix[a, b] = math.sin(angle), -math.sin(angle)
    return matrix


def box_of_numbers(numbers: Sequence[float], name: str = "") -> WrittenBox | None:
    """Make a box of a list of numbers.

    Args:
        numbers: 6 numbers (centre, size); 7 with a yaw, or 9 with Euler angles; or 24 (eight corners).
        name: Name of the list, if it has one. Euler angles are roll, pitch, yaw in Gemini's `box_3d`, else ZXY as in
            EmbodiedScan. A single angle that is not zero, the first or the last, is the yaw in both.

    Returns:
        The box; None for another count, and for numbers beyond the size of a building.
    """
    if not all(abs(number) < FARTHEST_M for number in numbers):
        return None
    if len(numbers) == 24:
        return checked(box_of_corners(np.reshape(numbers, (8, 3))))
    if len(numbers) not in (6, 7, 9):
        return None
    return checked(numbers[:6], _turns(numbers[6:], roll_first=name in _ROLL_FIRST))


def box_of_call(numbers: Sequence[float]) -> WrittenBox | None:
    """Make a box of the numbers of a call whose first argument is a class, as SpatialLM's `Bbox(chair, ...)`.

    Args:
        numbers: 6 numbers (centre, size), or 7 with the yaw between centre and size.
    """
    if len(numbers) != 7:
        return box_of_numbers(numbers)
    return checked([*numbers[:3], *numbers[4:]], _turns(numbers[3:4]))


def box_of_opposite_corners(one: Sequence[float], other: Sequence[float]) -> WrittenBox | None:
    """Make a box of two opposite corners (3,)."""
    if not are_numbers([*one, *other], 6):
        return None
    return checked(box_of_corners(np.array([one, other], float)))


def _turns(angles: Sequence[float], roll_first: bool = False) -> Turns:
    used = [index for index, angle in enumerate(angles) if angle]
    if not used:
        return ()
    if len(angles) == 1 or used in ([0], [2]):
        return ((_Z, angles[used[0]]),)
    axes = ((_Z, 2), (_Y, 1), (_X, 0)) if roll_first else ((_Z, 0), (_X, 1), (_Y, 2))
    return tuple((axis, angles[index]) for axis, index in axes)


def checked(box: Any, turns: Turns = (), in_degrees: bool = False) -> WrittenBox | None:
    """The box if it is plausible in metres, else None: a pixel box or a list of ids is not."""
    box = [float(v) for v in box]
    plausible = all(abs(v) < FARTHEST_M for v in box) and all(v >= 0 for v in box[3:])
    return WrittenBox(box, turns, in_degrees) if plausible else None


def boxes_in_list(value: list, name: str = "") -> WrittenBox | None:
    """Make a box of a JSON list that is one: its numbers, eight corners, two opposite ones, or centre and size.

    Args:
        value: The list.
        name: Its name in a JSON object. Two points are opposite corners if it says so, else centre and size.
    """
    if len(value) == 8 and all(are_numbers(corner, 3) for corner in value):
        return checked(box_of_corners(value))
    if len(value) == 2 and all(are_numbers(half, 3) for half in value):
        is_corners = "corner" in name or (name.startswith("aabb") and all(a <= b for a, b in zip(*value, strict=True)))
        return box_of_opposite_corners(*value) if is_corners else checked([*value[0], *value[1]])
    return box_of_numbers(value, name) if len(value) > 3 and are_numbers(value, len(value)) else None


def box_in_mapping(value: Mapping[str, Any]) -> WrittenBox | None:
    """Make a box of an object with named numbers or points: corners, or centre, size and angles; None if incomplete.

    Args:
        value: The object, with names in lower case.
    """
    for low, high in _CORNERS:
        if (a := _point(value.get(low))) is not None and (b := _point(value.get(high))) is not None:
            return box_of_opposite_corners(a, b)
    for names in _LIMITS:
        limits: list[Any] = [value.get(name) for name in names]
        if are_numbers(limits, 6):
            return box_of_opposite_corners(limits[:3], limits[3:])
    centre = next((point for name in _CENTRES if (point := _point(value.get(name))) is not None), _point(value))
    size = next((sides for name in _SIZES if (sides := _lengths(value.get(name))) is not None), None)
    size = size if size is not None else _lengths(value, of_xyz=False)
    if centre is None or size is None:
        return None
    return checked([*centre, *size], *_named_angles(value))


def _point(value: Any) -> list[float] | None:
    """Three numbers in a list, or named x, y, z."""
    if isinstance(value, Mapping):
        value = next((p for names in _XYZ if are_numbers(p := [value.get(name) for name in names], 3)), None)
    return list(value) if are_numbers(value, 3) else None


def _lengths(value: Any, of_xyz: bool = True) -> list[float] | None:
    """Three sizes in a list, or named by axis, or in the order of an object with width, height and length."""
    if isinstance(value, Mapping):
        sides: list[Any]
        for names in (*_SIDES, *(_XYZ[:1] if of_xyz else ())):
            if are_numbers(sides := [value.get(name) for name in names], 3):
                return sides
        for known in _SIDES_AS_WRITTEN:
            if are_numbers(sides := [size for name, size in value.items() if name in known], 3):
                return sides
    return list(value) if are_numbers(value, 3) else None


def _named_angles(value: Mapping[str, Any]) -> tuple[Turns, bool]:
    """Turns, and whether they are named as degrees; none for a rotation of another form, such as a quaternion."""
    in_degrees = any("deg" in name for name in value)
    value = {name.replace("_degrees", "").replace("_deg", "").replace("_radians", "").replace("_rad", ""): item
             for name, item in value.items()}  # fmt: skip
    rotation: Any = next((value[name] for name in _YAWS if value.get(name) is not None), 0.0)
    if isinstance(rotation, Mapping):
        value = {str(name).lower(): item for name, item in rotation.items()}
        rotation = value.get("yaw", value.get("z", 0.0))
    if are_numbers(rotation, 3):
        return _turns(rotation, roll_first=True), in_degrees
    angles: list[Any] = [value.get("roll", 0.0), value.get("pitch", 0.0), rotation]
    return (_turns(angles, roll_first=True), in_degrees) if are_numbers(angles, 3) else ((), False)


def are_numbers(value: Any, count: int) -> bool:
    """Return whether a value is a list of so many numbers, none beyond FARTHEST_M."""
    return (
        isinstance(value, list | tuple)
        and len(value) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < FARTHEST_M for v in value)
    )
