"""The checker of records: each kind accepts what it says and nothing else, and names the part that is wrong."""

from __future__ import annotations

import json
import time

import pytest

from video3d_plugin.errors import DataError
from video3d_plugin.files.schema import (
    Anything,
    ListOf,
    Matching,
    Number,
    OneOf,
    Table,
    Text,
    Whole,
    check,
    fault,
    finite,
    fits,
    optional,
)

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (str, ["", "é"], [None, 1, ["a"], True, "x" * 100_001]),
        (Text(3, shortest=1), ["a", "abc"], ["", "abcd"]),
        (Text(9, one_line=True), ["a b", "é\xa0日"], ["a\nb", "a\0", "\x1b[2J", "\x7f", "\x9b", "\ud800"]),
        (Text(9, is_path=True), ["a/ b\n"], ["a\0", "\ud800"]),
        (int, [0, -5, 10**400], [1.0, True, "1", None]),
        (Whole(0, 9), [0, 9], [-1, 10, False, 9.0]),
        (float, [0, 1.5, -(10**9)], [NAN, INFINITE, -INFINITE, True, "1", None, 10**400, [1.0]]),
        (Number(0, 100), [0, 100.0], [-1e-9, 100.5, NAN, True]),
        (bool, [True, False], [0, 1, None, "true"]),
        (None, [None], [0, "", False]),
        (OneOf(("ok", "missing")), ["ok"], ["OK", None, ["ok"], 1]),
        ((bool, None), [True, None], [0, "x"]),
        ([int], [[], [1, 2]], [None, "12", {"a": 1}, [1, "2"]]),
        ([Number()] * 6, [[0] * 6], [[0] * 5, [0] * 7, 0, [0, 0, 0, 0, 0, None]]),
        ([int, str], [[1, "a"]], [["a", 1], [1]]),
        ({"a": int, "b?": str}, [{"a": 1}, {"a": 1, "b": "", "c": []}], [{}, {"a": "1"}, {"a": 1, "b": None}, [], "a"]),
        (Table([int]), [{}, {"x": [1]}], [{"x": 1}, [], {"x" * 1001: []}, None]),
        (Anything(depth=2, most=5), [1, [[1]], {"a": {"b": 1}}, None], [[[[1]]], [0] * 5, [NAN], object(), {"a": {1}}]),
        (Anything(text=Text(3)), ["abc", {"abc": "a"}], ["abcd", {"abcd": "a"}, [["abcd"]]]),
        (list, [[1]], [{}]),
        (ListOf(int, 2), [[], [1, 2]], [[1, 2, 3], ["1"], None, {}]),
        (Matching(r"[a-z]+", "a word", 3), ["a", "abc"], ["", "A", "abcd", "a\n", None]),
        (Number(0, 1, above=True), [1, 0.5], [0, 0.0, -1, 1.5, NAN]),
        (Text(encodable=True), ["a\0\n"], ["\ud800"]),
        (optional({"a": int}), [{}, {"a": 1}, {"a": None}], [{"a": "1"}, None]),
    ],
)
def test_a_kind_accepts_what_it_says_and_nothing_else(kind, good, bad):
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []


RECORD = {"frames": [{"size": [Whole(1, 9)] * 2, "void?": (Whole(0), None)}], "by_name": (Table({"x": float}), [[int]])}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": [{"size": [1, 10]}]}, "`frames[0].size[1]` is 10, expected a whole number from 1 to 9"),
        ({"frames": [{"size": [1]}]}, "`frames[0].size` has 1 values, expected 2"),
        ({"frames": [{}]}, "`frames[0].size` is missing"),
        ({"frames": None}, "`frames` is None, expected a list"),
        (
            {"frames": [{"size": [1, 1], "void": "no"}]},
            "`frames[0].void` is 'no', expected a whole number of 0 or more",
        ),
        ({"by_name": 5}, "`by_name` is 5, expected an object or a list"),
        ({"by_name": {"a": {"x": NAN}}}, "`by_name['a'].x` is nan, expected a finite number"),
    ],
)
def test_the_message_names_the_part_that_is_wrong_and_what_was_expected(change, message):
    with pytest.raises(DataError) as caught:
        check({"frames": [], "by_name": {}, **change}, RECORD, "f.json", "make it again", at="line 3: ")
    assert str(caught.value).startswith(f"f.json: line 3: {message}") and str(caught.value).endswith("(make it again)")


HUGE = {
    "text": "x" * 5_000_000,
    "list": list(range(100_000)),
    "name": {"a" * 5_000_000: 1},
    "number": 10**5000,
    "control": "\n" * 5_000_000,
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("kind", [int, Text(5), [None], {"a": None}, (None, bool), Table(int, most=0), Table(None)])
def test_a_message_repeats_only_a_little_of_a_value(name, kind):
    found = fault(HUGE[name], kind)
    assert found is None or len("".join(found)) < 250


def test_a_value_as_deep_as_json_reads_it_is_refused_without_a_deep_stack():
    deep = json.loads("[" * 900 + "]" * 900)
    with pytest.raises(DataError, match="`x` is nested more than 6 levels deep"):
        check({"x": deep}, {"x": Anything()}, "f.json")
    wide: list = []
    for _ in range(200):
        wide = [wide, wide]  # 2**200 leaves, if each were visited
    started = time.monotonic()
    assert fault(wide, Anything(depth=1000)) == ("", "holds more than 1000000 values")
    assert time.monotonic() - started < 5


def test_what_json_cannot_hold_becomes_null():
    assert finite({"a": [NAN, 1.5, (INFINITE, None)], 2: True}) == {"a": [None, 1.5, [None, None]], "2": True}
