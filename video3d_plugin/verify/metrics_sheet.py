"""Compares the numbers of a golden file with computed ones and keeps track of those not compared yet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video3d_plugin.errors import DataError
from video3d_plugin.verify import CaseResult

LIMIT = 1e-6
NOT_NUMBERS = {"meta", "notes", "stdout", "missing_note"}  # texts beside the numbers
Path_ = tuple[str, ...]


class Sheet:
    """The numbers of one golden file.

    Args:
        path: JSON file.

    Raises:
        DataError: If the file is not JSON.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.golden = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"not JSON: {error}", where=path) from None
        self.name, self.folder = path.stem, path.parent
        self._worst: dict[str, float] = {}
        self._count: dict[str, int] = {}
        self._where: dict[str, str] = {}
        self._skipped: dict[str, list[str]] = {}
        self._seen: set[Path_] = set()

    def at(self, *path: str | int) -> Any:
        """Return the value at a path of keys and indices."""
        value = self.golden
        for key in path:
            value = value[int(key) if isinstance(value, list) else key]
        return value

    def check(self, case: str, computed: Any, *path: str | int, missing: str | None = None) -> None:
        """Compare computed numbers with the golden ones, down to every leaf.

        Args:
            case: Case that the numbers belong to.
            computed: Number, or nested dicts and lists of numbers.
            *path: Where the golden numbers are.
            missing: Why numbers that are None could not be computed.
        """
        self._compare(case, computed, self.at(*path), tuple(map(str, path)), missing)

    def _compare(self, case: str, computed: Any, golden: Any, path: Path_, missing: str | None) -> None:
        if isinstance(golden, dict) and isinstance(computed, dict):
            for key, value in golden.items():
                if key in computed:
                    self._compare(case, computed[key], value, (*path, str(key)), missing)
            extra = set(map(str, computed)) - set(golden)
            if extra:
                self._note(case, math.inf, (*path, min(extra)))
        elif isinstance(golden, list) and isinstance(computed, list | tuple):
            if len(golden) != len(computed):
                self._note(case, math.inf, path)
            for i, (ours, theirs) in enumerate(zip(computed, golden, strict=False)):
                self._compare(case, ours, theirs, (*path, str(i)), missing)
            self._seen.update(leaf for leaf, _ in _leaves(golden, path))
        elif computed is None and golden is not None:
            self.skip(missing or "could not be computed", *path)
        else:
            self._note(case, _difference(computed, golden), path)

    def _note(self, case: str, difference: float, path: Path_) -> None:
        self._seen.add(path)
        self._count[case] = self._count.get(case, 0) + 1
        if case not in self._worst or difference > self._worst[case]:
            self._worst[case], self._where[case] = difference, "/".join(path)

    def skip(self, reason: str, *path: str | int) -> None:
        """Report the numbers at a path as not computed.

        Args:
            reason: Why.
            *path: Where they are; ignored where the file has no such path.
        """
        try:
            golden = self.at(*path)
        except (KeyError, IndexError, TypeError, ValueError):
            return
        names = tuple(map(str, path))
        self._seen.update(leaf for leaf, _ in _leaves(golden, names))
        self._skipped.setdefault(reason, []).append("/".join(names))

    def results(self) -> Iterator[CaseResult]:
        """Yield a result for each case, and one for each reason for which numbers were not computed."""
        for case, worst in self._worst.items():
            ok = worst <= LIMIT
            note = f"{self._count[case]} numbers" + ("" if ok else f"; worst at {self._where[case]}")
            yield CaseResult("metrics", f"{self.name}/{case}", worst, LIMIT, ok, note=note)
        left = [path for path, _ in _leaves(self.golden, ()) if path not in self._seen and _is_expected(path)]
        for path in left:
            self._skipped.setdefault("unknown to this version", []).append("/".join(path))
        for reason, paths in self._skipped.items():
            shown = ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
            yield CaseResult("metrics", f"{self.name}: {shown}", 0.0, LIMIT, None, note=reason)


def _leaves(value: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from _leaves(item, (*path, str(i)))
    else:
        yield path, value


TABLES = ("ptb_strings", "clean_answer", "question_type")


def _is_expected(path: Path_) -> bool:
    """Return whether a leaf is output of an evaluator (and not an input or a remark)."""
    if NOT_NUMBERS & set(path):
        return False
    return "expected" in path or path[0].startswith(TABLES)


def _difference(computed: Any, golden: Any) -> float:
    """Return the absolute difference of two numbers; for other values 0 if they are equal, else infinity."""
    numbers = [isinstance(v, int | float) for v in (computed, golden)]
    if all(numbers):
        difference = abs(float(computed) - float(golden))
        return math.inf if math.isnan(difference) else difference
    return 0.0 if computed == golden else math.inf
