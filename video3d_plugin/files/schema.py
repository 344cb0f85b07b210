"""Schemas of records: what a value read from disk must be. Values are checked once, when they are read.

A kind is written as plain Python:

    str, int, float, bool, None    one value of that JSON type; a bool is no number, a number is finite
    Text(...), Whole(...), Number(...), OneOf(...), Matching(...)    the same with bounds
    (kind, kind)                   either of them
    [kind]                         a list of any length;  [kind] * 6, or [kind, kind]: a list of that length
    ListOf(kind, most)             a list of at most that length
    {"name": kind, "name?": kind}  an object with at least these fields; those marked with ? may be absent
    optional({"name": kind})       the same, with fields that may be absent or null
    Table(kind)                    an object with any names, whose values are all of the kind
    Anything(...)                  any JSON value, within bounds on nesting and size

    FRAME = {"name": Text(longest=200), "size": [Whole(1, 65535)] * 2, "depth?": (Number(0, 100), None)}
    check({"name": "0", "size": [480, True]}, FRAME, where=path)
    # DataError: path: `size[1]` is True, expected a whole number from 1 to 65535

Fields that a schema does not name are not checked. Code that passes them on checks them with `Anything`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema_kinds import (
    LONGEST_LIST,
    NUMBER,
    Anything,
    ListOf,
    Matching,
    Number,
    OneOf,
    Table,
    Text,
    Whole,
)

__all__ = ["Anything", "ListOf", "Matching", "Number", "OneOf", "Table", "Text", "Whole", "check", "finite", "fits",
           "optional", "shown"]  # fmt: skip

_SHOWN = 60  # characters of a refused value that a message repeats
_PLAIN: dict[Any, Any] = {str: Text(), int: Whole(), float: NUMBER}
_NAMES = {bool: "true or false", type(None): "null", object: "anything", list: "a list", dict: "an object"}

Fault = tuple[str, str]  # where in the value: ".frames[3]"; what is wrong


def optional(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object whose fields have these kinds, and may each be absent or null."""
    return {f"{name}?": (kind, None) for name, kind in kinds.items()}


def check(value: Any, kind: Any, where: str | Path, remedy: str | None = None, name: str = "", at: str = "") -> None:
    """Check a value against a schema.

    Args:
        value: What a file held; any JSON value.
        kind: The schema (see above).
        where: The file.
        remedy: What the user can do.
        name: Name of the value in the message; "the record" by default.
        at: Begins the message: "line 3: " if the value is a part of the file.

    Raises:
        DataError: The value does not fit; the message names the first part that does not.
    """
    first_fault = fault(value, kind)
    if first_fault is not None:
        path, what = first_fault
        called = f"`{(name + path).lstrip('.')}`" if name + path else "the record"
        raise DataError(f"{at}{called} {what}", where=where, remedy=remedy)


def fits(value: Any, kind: Any) -> bool:
    """Return whether `value` fits the schema."""
    return fault(value, kind) is None


def fault(value: Any, kind: Any) -> Fault | None:
    """Return where `value` does not fit first, and what is wrong there; None if it fits."""
    kind = type(None) if kind is None else _PLAIN.get(kind, kind) if isinstance(kind, type) else kind
    if isinstance(kind, tuple):
        return _fault_of_either(value, kind)
    if isinstance(kind, list | ListOf):
        return _fault_of_list(value, kind)
    if isinstance(kind, dict):
        return _fault_of_object(value, kind)
    if isinstance(kind, Table):
        return _fault_of_table(value, kind)
    if isinstance(kind, Anything):
        return _fault_of_any(value, kind)
    is_fit = isinstance(value, kind) if isinstance(kind, type) else kind.fits(value)
    return None if is_fit else _unlike(value, kind)


def _fault_of_either(value: Any, kinds: tuple) -> Fault | None:
    faults = []
    for kind in kinds:
        inner = fault(value, kind)
        if inner is None:
            return None
        faults.append(inner)
    deepest = max(faults, key=lambda f: len(f[0]))  # the alternative that was meant agrees with the most of the value
    return deepest if deepest[0] else _unlike(value, kinds)


def _fault_of_list(value: Any, kinds: list | ListOf) -> Fault | None:
    if not isinstance(value, list | tuple):
        return _unlike(value, kinds)
    each = kinds.kind if isinstance(kinds, ListOf) else kinds[0] if len(kinds) == 1 else None
    most = kinds.most if isinstance(kinds, ListOf) else LONGEST_LIST
    if each is None and isinstance(kinds, list) and len(value) != len(kinds):
        return "", f"has {len(value)} values, expected {len(kinds)}"
    if len(value) > most:
        return "", f"has {len(value)} values, more than {most}"
    for index, one in enumerate(value):
        inner = fault(one, kinds[index] if isinstance(kinds, list) and len(kinds) != 1 else each)
        if inner is not None:
            return f"[{index}]{inner[0]}", inner[1]
    return None


def _fault_of_object(value: Any, kinds: dict) -> Fault | None:
    if not isinstance(value, Mapping):
        return _unlike(value, kinds)
    for name, kind in kinds.items():
        plain = name.removesuffix("?")
        if plain in value:
            inner = fault(value[plain], kind)
            if inner is not None:
                return f".{plain}{inner[0]}", inner[1]
        elif plain == name:
            return f".{plain}", "is missing"
    return None


def _fault_of_table(value: Any, kind: Table) -> Fault | None:
    if not isinstance(value, Mapping):
        return _unlike(value, {})
    if len(value) > kind.most:
        return "", f"has {len(value)} entries, more than {kind.most}"
    for name, one in value.items():
        if not kind.name.fits(name):
            return "", f"has an entry called {shown(name)}, expected {kind.name}"
        inner = fault(one, kind.kind)
        if inner is not None:
            return f"[{shown(name)}]{inner[0]}", inner[1]
    return None


def _fault_of_any(value: Any, kind: Anything) -> Fault | None:
    """Check level by level, so that a deeply nested value needs no deep stack."""
    level, count = [value], 1
    for depth in range(kind.depth + 1):
        below: list[Any] = []
        for one in level:
            expected = _expected_of_any(one, kind)
            if expected is not None:
                return "", f"{'holds' if depth else 'is'} {shown(one)}, expected {expected}"
            if isinstance(one, Mapping):
                unfit = next((name for name in one if not kind.text.fits(name)), None)
                if unfit is not None:
                    return "", f"has an entry called {shown(unfit)}, expected {kind.text}"
                below.extend(one.values())
            elif isinstance(one, list | tuple):
                below.extend(one)
            elif type(one) not in (str, int, float, bool, type(None)):
                return "", f"holds a {type(one).__name__}, which JSON cannot"
        count += len(below)
        if count > kind.most:
            return "", f"holds more than {kind.most} values"
        if not below:
            return None
        level = below
    return "", f"is nested more than {kind.depth} levels deep"


def _expected_of_any(value: Any, kind: Anything) -> Text | Number | None:
    """Return what a string or a number should have been; None if it fits, and for values of other types."""
    if isinstance(value, str):
        return None if kind.text.fits(value) else kind.text
    return NUMBER if type(value) is float and kind.finite and not math.isfinite(value) else None


def _unlike(value: Any, kind: Any) -> Fault:
    return "", f"is {shown(value)}, expected {_described(kind)}"


def _described(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(dict.fromkeys(_described(one) for one in kind))
    if isinstance(kind, list):
        return "a list" if len(kind) == 1 else f"a list of {len(kind)}"
    if isinstance(kind, ListOf):
        return "a list"
    if isinstance(kind, dict | Table):  # a table may hold lists, which have no hash
        return "an object"
    if isinstance(kind, Anything):
        return f"a value of at most {kind.depth} levels"
    if kind is None:
        return _NAMES[type(None)]
    if isinstance(kind, type):
        kind = _PLAIN.get(kind, kind)
    return _NAMES.get(kind) or str(kind)


def shown(value: Any) -> str:
    """Return how a message shows a value: at most 60 characters, without the content of lists and objects."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if type(value) is int and abs(value) >= 10**_SHOWN:
        return "a whole number of more than 60 digits"  # Python refuses to print the longest
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def finite(value: Any) -> Any:
    """Return the value with every number that JSON cannot represent replaced by None, at any depth."""
    if isinstance(value, Mapping):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
