"""Schemas of records: what a value read from disk must be. Values are checked once, when they are read.

A kind is written as plain Python:

    str, int, float, bool, None    one value of that JSON type; a bool is no number, a number is finite
    Text(...), Whole(...), Number(...), OneOf(...)    the same with bounds
    (kind, kind)                   either of them
    [kind]                         a list of any length;  [kind] * 6, or [kind, kind]: a list of that length
    {"name": kind, "name?": kind}  an object with at least these fields; those marked with ? may be absent
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError

LONGEST_TEXT = 100_000  # characters; the longest text of any official file has a few thousand
LONGEST_LIST = 1 << 24
LARGEST = 1e300  # of a number without bounds of its own: some room before sums overflow
_SHOWN = 60  # characters of a refused value that a message repeats

Fault = tuple[str, str]  # where in the value: ".frames[3]"; what is wrong


@dataclass(frozen=True)
class Text:
    """A string.

    Attributes:
        longest: Largest number of characters.
        shortest: Smallest number of characters.
        one_line: Whether it must be free of control characters and encodable as UTF-8: for names.
        is_path: Whether a file must be able to have this name: no NUL, and encodable as UTF-8.
    """

    longest: int = LONGEST_TEXT
    shortest: int = 0
    one_line: bool = False
    is_path: bool = False

    def __str__(self) -> str:
        least = f"{self.shortest} to " if self.shortest else "at most "
        form = " on one line" if self.one_line else " that can name a file" if self.is_path else ""
        return f"text of {least}{self.longest} characters{form}"

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str) or not self.shortest <= len(value) <= self.longest:
            return False
        if self.one_line and not value.isprintable():
            return not any(character < " " or "\x7f" <= character < "\xa0" for character in value) and _encodes(value)
        return not self.is_path or ("\0" not in value and _encodes(value))


def _encodes(text: str) -> bool:
    """Return whether the text can be encoded as UTF-8; half of a surrogate pair cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Whole:
    """An integer from `low` to `high`, both included. 3.0 and True are not integers."""

    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        return "a whole number" + _bounds(self.low, self.high)

    def fits(self, value: Any) -> bool:
        return type(value) is int and _within(value, self.low, self.high)


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`, both included. True is not a number."""

    low: float = -LARGEST
    high: float = LARGEST

    def __str__(self) -> str:
        least, most = (None if abs(bound) == LARGEST else bound for bound in (self.low, self.high))
        return "a finite number" + _bounds(least, most)

    def fits(self, value: Any) -> bool:
        return type(value) in (int, float) and self.low <= value <= self.high  # NaN compares as False


@dataclass(frozen=True)
class OneOf:
    """One of these strings."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(self.names)

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names


@dataclass(frozen=True)
class Table:
    """An object with any field names that fit `name` and values of one kind; at most `most` of them."""

    kind: Any
    name: Text = Text(1000)
    most: int = LONGEST_LIST


@dataclass(frozen=True)
class Anything:
    """Any JSON value within bounds.

    Attributes:
        depth: Largest number of nested lists and objects.
        most: Largest number of values in it.
        text: Schema of its strings.
        finite: Whether its numbers must be finite.
    """

    depth: int = 6
    most: int = 1_000_000
    text: Text = Text()
    finite: bool = True


NUMBER = Number()
_PLAIN: dict[Any, Any] = {str: Text(), int: Whole(), float: NUMBER}
_NAMES = {bool: "true or false", type(None): "null", object: "anything", list: "a list", dict: "an object"}


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
    if isinstance(kind, list):
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


def _fault_of_list(value: Any, kinds: list) -> Fault | None:
    if not isinstance(value, list | tuple):
        return _unlike(value, kinds)
    if len(kinds) != 1 and len(value) != len(kinds):
        return "", f"has {len(value)} values, expected {len(kinds)}"
    if len(value) > LONGEST_LIST:
        return "", f"has {len(value)} values, more than {LONGEST_LIST}"
    for index, one in enumerate(value):
        inner = fault(one, kinds[0] if len(kinds) == 1 else kinds[index])
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
    for _ in range(kind.depth + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                if not kind.text.fits(one):
                    return _unlike(one, kind.text)
            elif type(one) is float:
                if kind.finite and not math.isfinite(one):
                    return _unlike(one, NUMBER)
            elif isinstance(one, Mapping):
                below.extend(one.values())
            elif isinstance(one, list | tuple):
                below.extend(one)
            elif type(one) is not int and one is not None and type(one) is not bool:
                return "", f"holds a {type(one).__name__}, which JSON cannot"
        count += len(below)
        if count > kind.most:
            return "", f"holds more than {kind.most} values"
        if not below:
            return None
        level = below
    return "", f"is nested more than {kind.depth} levels deep"


def _unlike(value: Any, kind: Any) -> Fault:
    return "", f"is {shown(value)}, expected {_described(kind)}"


def _described(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(dict.fromkeys(_described(one) for one in kind))
    if isinstance(kind, list):
        return "a list" if len(kind) == 1 else f"a list of {len(kind)}"
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


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


def _bounds(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" of {low:g} or more"
    return f" up to {high:g}" if low is None else f" from {low:g} to {high:g}"


def finite(value: Any) -> Any:
    """Return the value with every number that JSON cannot represent replaced by None, at any depth."""
    if isinstance(value, Mapping):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
