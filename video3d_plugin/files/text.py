"""Small text files that strangers wrote: matrices, key = value lines, tables. Bounded reads, one-line errors."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import read_regular

MATRIX_BYTES = 1 << 16
TEXT_BYTES = 1 << 24


def read_text(path: Path, limit: int = TEXT_BYTES, remedy: str | None = None) -> str:
    """UTF-8 text, a byte-order mark allowed."""
    try:
        return read_regular(path, limit, remedy=remedy).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text (byte {error.start})", where=path, remedy=remedy) from None


def read_matrix(path: Path, remedy: str = "expected 16 numbers, row by row") -> np.ndarray:
    """(4, 4) float64 from a text file of 16 numbers; values may be infinite or NaN: the caller decides."""
    return parse_matrix(read_text(path, MATRIX_BYTES, remedy), where=path, remedy=remedy)


def parse_matrix(text: str, *, where: Path | str, remedy: str = "expected 16 numbers, row by row") -> np.ndarray:
    """(4, 4) float64 from 16 numbers separated by blanks or commas."""
    try:
        values = [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise DataError(f"not a matrix: {error}", where=where, remedy=remedy) from None
    if len(values) != 16:
        raise DataError(f"not a 4x4 matrix: {len(values)} numbers", where=where, remedy=remedy)
    return np.array(values, np.float64).reshape(4, 4)


def natural_order(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sorting key by which numbers in names count by their value: 9 comes before 10 also without padding."""
    parts: list[str | tuple[int, str]] = list(re.split("([0-9]+)", name))  # text and digits in turn
    parts[1::2] = [(len(digits), digits) for digits in (str(part).lstrip("0") for part in parts[1::2])]
    return parts, name


def read_key_values(path: Path) -> dict[str, str]:
    """`key = value` lines; other lines are ignored, as ScanNet's meta files have blank ones."""
    pairs = (line.split("=", 1) for line in read_text(path).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def read_label_map(path: Path, column: str = "nyu40id") -> dict[str, str]:
    """raw_category -> `column`, from scannetv2-labels.combined.tsv. A category listed twice keeps its last row."""
    try:
        rows = list(csv.reader(io.StringIO(read_text(path)), delimiter="\t", quoting=csv.QUOTE_NONE))
    except csv.Error as error:  # a NUL (before Python 3.11), or a field of more than 128 KB
        raise DataError(f"not a table: {error}", where=path, remedy="expected ScanNet's labels file") from None
    header = rows[0] if rows else []
    for name in ("raw_category", column):
        if name not in header:
            raise DataError(f"no column {name!r}", where=path, remedy="expected ScanNet's labels file")
    raw, wanted = header.index("raw_category"), header.index(column)
    return {row[raw]: row[wanted] for row in rows[1:] if len(row) > max(raw, wanted)}
