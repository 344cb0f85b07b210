"""Checks of the public functions' arguments.

Each function raises ArgumentError, a TypeError that names the argument and what was expected.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from video3d_plugin.errors import DataError


class ArgumentError(DataError, TypeError):
    """An argument has a type or value that the function does not accept.

    Args:
        name: The argument's name.
        value: Its value.
        expected: Completes "expected ...".
    """

    def __init__(self, name: str, value: Any, expected: str):
        shown = repr(value) if isinstance(value, str | bool | int | float | None) else f"a {type(value).__name__}"
        super().__init__(f"{name} is {shown[:80]}, expected {expected}")


def check_path(name: str, value: Any, optional: bool = False) -> None:
    """Accept a path as text or pathlib.Path, and None if `optional`."""
    if not ((optional and value is None) or (isinstance(value, str | os.PathLike) and str(value))):
        raise ArgumentError(name, value, "a path as text or pathlib.Path")
    if value is not None and "\0" in str(value):
        raise ArgumentError(name, value, "a path without null characters")


def check_text(name: str, value: Any, optional: bool = False) -> None:
    """Accept text, and None if `optional`."""
    if not ((optional and value is None) or isinstance(value, str)):
        raise ArgumentError(name, value, "text")


def check_count(name: str, value: Any, least: int = 1, optional: bool = False) -> None:
    """Accept a whole number of at least `least`, and None if `optional`."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ArgumentError(name, value, f"a whole number, {least} or more")


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Accept a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not low <= value <= high:
        raise ArgumentError(name, value, f"a number from {low:g} to {high:g}")


def check_flag(name: str, value: Any) -> None:
    """Accept True or False, of NumPy and torch too."""
    if not isinstance(value, bool | numbers.Integral) and type(value).__name__ not in ("bool", "bool_"):
        raise ArgumentError(name, value, "True or False")


def check_one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Accept one of the texts `known`."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(name, value, f"one of {', '.join(known)}")


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """Accept an instance of `kinds`."""
    if not isinstance(value, kinds):
        raise ArgumentError(name, value, expected)


def check_items(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """Accept a list, or another sized iterable, of `kinds`; no text and no mapping."""
    if isinstance(value, str | bytes | Mapping) or not (hasattr(value, "__iter__") and hasattr(value, "__len__")):
        raise ArgumentError(name, value, f"a list, each {expected}")
    for index, item in enumerate(value):
        if not isinstance(item, kinds):
            raise ArgumentError(f"{name}[{index}]", item, expected)


def check_known(function: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Accept keywords that are among `known`, the arguments of `function`."""
    for name in given:
        if name not in known:
            raise ArgumentError(name, given[name], f"no such argument of {function} (known: {', '.join(known)})")
