"""Small text files of unknown origin: matrices, lists of numbers, key = value lines. Reads are bounded."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import numpy as np

from video3d_plugin.errors import DataError
from video3d_plugin.files.regular import read_regular

MATRIX_BYTES = 1 << 16
TEXT_BYTES = 1 << 24
_SEPARATORS = str.maketrans(dict.fromkeys(",;[](){}", " "))


def read_text(path: Path, limit: int = TEXT_BYTES, remedy: str | None = None) -> str:
    """Read a text file: UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Args:
        path: The file.
        limit: Largest size in bytes.
        remedy: What the user can do about a file that cannot be read.

    Raises:
        MissingError: There is no such file.
        DataError: The file is not a regular file, is too large, or is not UTF-8.
    """
    data = read_regular(path, limit, remedy=remedy)
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text (byte {error.start})", where=path, remedy=remedy) from None


def read_matrix(path: Path, remedy: str = "expected 16 numbers, row by row") -> np.ndarray:
    """Read a 4x4 matrix from a text file; see `parse_matrix`."""
    return parse_matrix(read_text(path, MATRIX_BYTES, remedy), where=path, remedy=remedy)


def parse_matrix(text: str, *, where: Path | str, remedy: str = "expected 16 numbers, row by row") -> np.ndarray:
    """Parse a 4x4 matrix: 16 numbers row by row, or the 12 of its first three rows; see `parse_values`.

    Returns:
        (4, 4) float64. Values may be infinite or NaN (ScanNet marks lost poses this way); the caller checks.

    Raises:
        DataError: The text is not 16 or 12 numbers.
    """
    values = parse_values(text, where=where, remedy=remedy)
    if len(values) == 12:
        values += [0.0, 0.0, 0.0, 1.0]
    if len(values) != 16:
        raise DataError(f"not a 4x4 matrix: {len(values)} numbers", where=where, remedy=remedy)
    return np.array(values, np.float64).reshape(4, 4)


def parse_values(text: str, *, where: Path | str, remedy: str | None = None) -> list[float]:
    """Parse the numbers of a matrix, of any count.

    Args:
        text: Numbers separated by blanks, commas, semicolons or brackets, as NumPy and Python print matrices. What
            follows a #, a % or a // is a comment.
        where: What errors name.
        remedy: What the user can do about it.

    Raises:
        DataError: A word is not a number.
    """
    lines = (re.split("#|%|//", line, maxsplit=1)[0] for line in text.splitlines())
    try:
        return [float(word) for word in " ".join(lines).translate(_SEPARATORS).split()]
    except ValueError as error:
        raise DataError(f"not a matrix: {error}", where=where, remedy=remedy) from None


def parse_numbers(text: str, count: int, *, where: Path) -> list[float]:
    """Parse `count` finite numbers separated by blanks; DataError that names `where` for anything else."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError as error:
        raise DataError(f"not {count} numbers: {error}", where=where) from None
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"not {count} finite numbers", where=where)
    return values


def natural_order(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Return a sorting key that compares numbers in names by value: frame9 comes before frame10."""
    parts: list[str | tuple[int, str]] = list(re.split("([0-9]+)", name))  # text and digits in turn
    parts[1::2] = [(len(digits), digits) for digits in (str(part).lstrip("0") for part in parts[1::2])]
    return parts, name


def read_key_values(path: Path) -> dict[str, str]:
    """Read the `key = value` lines of a file. Other lines are ignored: ScanNet's meta files have blank ones."""
    pairs = (line.split("=", 1) for line in read_text(path).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}
