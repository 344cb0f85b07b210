from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video3d_plugin.metrics.box_text import MAX_CHARACTERS, parse_boxes

BOX = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3, 4, 5, 6]",
        "The object is at [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].",
        "(1 2 3 4 5 6)",
        "<box>1, 2, 3, 4, 5, 6</box>",
        '```json\n{"label": "chair 7", "bbox_3d": [1, 2, 3, 4, 5, 6]}\n```',
        '{"center": [1, 2, 3], "size": [4, 5, 6]}',
        '{"Center": [1, 2, 3], "Dimensions": [4, 5, 6]}',
        '{"min": [-1, -0.5, 0], "max": [3, 4.5, 6]}',
        '{"x": 1, "y": 2, "z": 3, "w": 4, "h": 5, "l": 6}',
        '{"x": 1, "y": 2, "z": 3, "dx": 4, "dy": 5, "dz": 6}',
        "x=1, y=2, z=3, w=4, h=5, l=6",
        "x1: 1 y1: 2 z1: 3 w1: 4 h1: 5 l1: 6",
        "1 2 3 4 5 6",
        "1\n2\n3\n4\n5\n6",
        "[[1, 2, 3], [4, 5, 6]]",
        "The chair (id 5) is at (1, 2, 3) with size (4, 5, 6)",
        "[1, 2, 3, 4, 5, 6",
        "bbox3d: [1 2 3 4 5 6]",
        "[1e0, 20e-1, 3., 4.0, 5, 6]",
        "[1, 2, 3, 4, 5, 6, 0]",
        "[1, 2, 3, 4, 5, 6, 0, 0, 0]",
        "[[-1,-0.5,0],[3,-0.5,0],[3,4.5,0],[-1,4.5,0],[-1,-0.5,6],[3,-0.5,6],[3,4.5,6],[-1,4.5,6]]",
        '{"bbox": "[1, 2, 3, 4, 5, 6]"}',
    ],
)
def test_the_usual_ways_to_write_a_box(text):
    (box,) = parse_boxes(text)
    assert box == pytest.approx(BOX)


@pytest.mark.parametrize(
    "text",
    [
        "[1,2,3,4,5,6] and [0,0,0,1,1,1]",
        "[[1,2,3,4,5,6],[0,0,0,1,1,1]]",
        '[{"bbox_3d": [1,2,3,4,5,6]}, {"bbox_3d": [0,0,0,1,1,1]}]',
        '{"objects": [{"box": [1,2,3,4,5,6]}, {"box": [0,0,0,1,1,1]}]}',
        "<box>1,2,3,4,5,6</box><box>0,0,0,1,1,1</box>",
        "1 2 3 4 5 6\n0 0 0 1 1 1",
    ],
)
def test_several_boxes_in_order(text):
    assert parse_boxes(text) == [BOX, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "None",
        "There is no such object.",
        "no object",
        '{"boxes": []}',
        '{"bbox_3d": null}',
        "No matching objects",
    ],
)
def test_saying_that_nothing_is_there_is_an_answer(text):
    assert parse_boxes(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot tell.",
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        "[nan, 2, 3, 4, 5, 6]",
        "[1, 2, 3, 4, 5, 1e999]",
        "[1, 2, 3, -4, 5, 6]",
        "[102400, 2, 3, 4, 5, 6]",
        f"[1, 2, 3, 4, 5, {10**400}, 0.5]",
        f'{{"min": [0, 0, {-(10**400)}], "max": [1, 1, 1]}}',
        str([[0, 0, 10**400]] * 8),
        f"[{', '.join(['1'] * 23)}, {10**400}]",
        '{"boxes": [[1, 2]]}',
        "There are no chairs but I see 5 tables",
        "[true, 2, 3, 4, 5, 6]x",
        "１２３",
    ],
)
def test_text_without_a_box_is_told_from_an_empty_answer(text):
    assert parse_boxes(text) is None


def test_what_comes_after_the_limit_is_not_read():
    assert parse_boxes(" " * MAX_CHARACTERS + "[1, 2, 3, 4, 5, 6]") is None
    assert parse_boxes(" " * (MAX_CHARACTERS - 100) + "[1, 2, 3, 4, 5, 6]") == [BOX]


def test_a_turned_box_becomes_the_box_around_it():
    (box,) = parse_boxes(f"[1, 2, 3, 4, 2, 6, {math.pi / 2}]")
    assert box == pytest.approx([1, 2, 3, 2, 4, 6])


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "{" * 50_000, '{"a":' * 50_000, "(" * 50_000, "9" * 50_000, "1," * 50_000]
)
def test_hostile_text_is_read_to_its_limit_and_no_further(text):
    assert len(text) > MAX_CHARACTERS and parse_boxes(text) is None


@given(st.text(alphabet="[](){}<>,.-+eE0123456789 \n\"':xyzbo", max_size=300))
def test_any_text_gives_finite_boxes_or_none(text):
    for box in parse_boxes(text) or []:
        assert len(box) == 6 and all(map(math.isfinite, box)) and min(box[3:]) >= 0
