"""Sections of the results page: only the named one changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from video3d_plugin.errors import DataError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from page import table, write_section  # noqa: E402


def test_a_page_that_is_not_there_is_begun_with_the_section(tmp_path):
    page = tmp_path / "docs" / "results.md"
    write_section(page, "speed", "12 answers a second\n")
    text = page.read_text()
    assert text.startswith("# Results\n")
    assert text.endswith("\n\n<!-- begin speed -->\n12 answers a second\n<!-- end speed -->\n")


def test_only_the_named_section_changes(tmp_path):
    page = tmp_path / "results.md"
    hand = (
        "# Title\n\nby hand é\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nbetween  \n\n"
        "<!-- begin ab -->\nother\n<!-- end ab -->\ntail"
    )
    page.write_text(hand, encoding="utf-8")
    write_section(page, "a", "new\n\n| x |")
    assert page.read_text(encoding="utf-8") == hand.replace("old", "new\n\n| x |")
    write_section(page, "a", "old")
    assert page.read_text(encoding="utf-8") == hand


def test_an_absent_section_is_added_at_the_end(tmp_path):
    page = tmp_path / "results.md"
    write_section(page, "one", "1")
    before = page.read_text()
    write_section(page, "two", "2")
    assert page.read_text() == f"{before}\n<!-- begin two -->\n2\n<!-- end two -->\n"


@pytest.mark.parametrize(
    "text",
    ["<!-- begin a -->", "<!-- end a -->", "<!-- end a -->\n<!-- begin a -->", "<!-- begin a --><!-- end a -->" * 2],
)
def test_marks_that_do_not_pair_leave_the_page_as_it_is(tmp_path, text):
    page = tmp_path / "results.md"
    page.write_text(text)
    with pytest.raises(DataError, match="section a has"):
        write_section(page, "a", "new")
    assert page.read_text() == text and list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a -->"])
def test_a_name_that_would_break_the_marks_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="section name"):
        write_section(tmp_path / "p.md", name, "x")


def test_a_text_that_holds_marks_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds a section mark"):
        write_section(tmp_path / "p.md", "a", "<!-- end a -->")


def test_a_table_is_markdown():
    assert table(["what", "s"], [["a", "1"]]) == "| what | s |\n| --- | ---: |\n| a | 1 |"
