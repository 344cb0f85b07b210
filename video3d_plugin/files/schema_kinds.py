"""The kinds of values with bounds that `files.schema` checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

LONGEST_TEXT = 100_000  # characters; the longest text of any official file has a few thousand
LONGEST_LIST = 1 << 24
LARGEST = 1e300  # of a number without bounds of its own: some room before sums overflow


@dataclass(frozen=True)
class Text:
    """A string.

    Attributes:
        longest: Largest number of characters.
        shortest: Smallest number of characters.
        one_line: Whether it must be free of control characters and encodable as UTF-8: for names.
        is_path: Whether a file must be able to have this name: no NUL, and encodable as UTF-8.
        encodable: Whether it must be encodable as UTF-8.
    """

    longest: int = LONGEST_TEXT
    shortest: int = 0
    one_line: bool = False
    is_path: bool = False
    encodable: bool = False

    def __str__(self) -> str:
        least = f"{self.shortest} to " if self.shortest else "at most "
        forms = {" on one line": self.one_line, " that can name a file": self.is_path, " in Unicode": self.encodable}
        form = next((words for words, applies in forms.items() if applies), "")
        return f"text of {least}{self.longest} characters{form}"

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str) or not self.shortest <= len(value) <= self.longest:
            return False
        if self.one_line and not value.isprintable():
            return not any(character < " " or "\x7f" <= character < "\xa0" for character in value) and _encodes(value)
        return not (self.is_path and "\0" in value) and (not (self.is_path or self.encodable) or _encodes(value))


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
    """A finite number from `low` to `high`, both included; with `above`, `low` itself is not. True is not a number."""

    low: float = -LARGEST
    high: float = LARGEST
    above: bool = False

    def __str__(self) -> str:
        least, most = (None if abs(bound) == LARGEST else bound for bound in (self.low, self.high))
        return (
            f"a finite number above {least} up to {most:g}" if self.above else "a finite number" + _bounds(least, most)
        )

    def fits(self, value: Any) -> bool:
        if type(value) not in (int, float) or (self.above and value == self.low):
            return False
        return self.low <= value <= self.high  # NaN compares as False


@dataclass(frozen=True)
class OneOf:
    """One of these strings."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(self.names)

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names


@dataclass(frozen=True)
class Matching:
    """A string that a regular expression matches as a whole; `called` says in messages what it is."""

    pattern: str
    called: str
    longest: int = 1000

    def __str__(self) -> str:
        return self.called

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and len(value) <= self.longest and bool(re.fullmatch(self.pattern, value))


@dataclass(frozen=True)
class ListOf:
    """A list of at most `most` values of one kind."""

    kind: Any
    most: int = LONGEST_LIST


@dataclass(frozen=True)
class Table:
    """An object with any field names that fit `name` and values of one kind; at most `most` of them."""

    kind: Any
    name: Text | Matching = Text(1000)
    most: int = LONGEST_LIST


@dataclass(frozen=True)
class Anything:
    """Any JSON value within bounds.

    Attributes:
        depth: Largest number of nested lists and objects.
        most: Largest number of values in it.
        text: Schema of its strings, names of fields included.
        finite: Whether its numbers must be finite.
    """

    depth: int = 6
    most: int = 1_000_000
    text: Text = Text()
    finite: bool = True


NUMBER = Number()


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


def _bounds(low: float | None, high: float | None) -> str:
    least, most = (bound if type(bound) is int else f"{bound:g}" for bound in (low or 0, high or 0))
    if high is None:
        return "" if low is None else f" of {least} or more"
    return f" up to {most}" if low is None else f" from {least} to {most}"
