"""Matrices and texts as people and programs write them."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.files.text import parse_matrix, parse_values, read_matrix, read_text

MATRIX = np.arange(16.0).reshape(4, 4) / 7
PLAIN = "\n".join(" ".join(map(str, row)) for row in MATRIX)
RIGID = np.vstack([MATRIX[:3], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(" ", ", "),
        "# camera to world\n" + PLAIN.replace("\n", "  // a row\n"),
        PLAIN.replace("\n", "\r\n") + "\r\n\r\n",
        str(MATRIX.tolist()),
        np.array2string(MATRIX, floatmode="unique"),
        "% MATLAB\n" + PLAIN.replace("\n", ";\n"),
    ],
)
def test_a_matrix_is_read_as_programs_print_it(text):
    np.testing.assert_allclose(parse_matrix(text, where="x"), MATRIX)


def test_twelve_numbers_are_the_first_three_rows():
    np.testing.assert_array_equal(parse_matrix(" ".join(map(str, MATRIX[:3].ravel())), where="x"), RIGID)


@pytest.mark.parametrize("text", ["1 2 3", "", "1 " * 13, "a " * 16, "0x10 " * 16, "# " + "1 " * 16])
def test_anything_else_is_refused(text):
    with pytest.raises(DataError, match="not a (4x4 )?matrix"):
        parse_matrix(text, where="x")


def test_values_may_be_infinite():
    assert parse_values("-inf nan 1e5", where="x")[::2] == [-np.inf, 1e5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_with_a_byte_order_mark_are_read(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("1 0\n", encoding=encoding)
    assert read_text(tmp_path / "a.txt") == "1 0\n"


@pytest.mark.parametrize("data", [b"\xff\xfe1", b"\x80", b"\xfe\xff\xd8\x00"])
def test_damaged_encodings_are_refused(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match="not UTF-8"):
        read_matrix(tmp_path / "a.txt")
