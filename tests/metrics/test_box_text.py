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
        "bbox_0=Bbox(office chair,1,2,3,0,4,5,6)",
        "wall_0=Wall(0,0,0,4,0,0,2.5,0.1)\nbbox_0=Bbox(chair_2,1.0,2.0,3.0,0.0,4.0,5.0,6.0)",
        'Bbox("chair", 1, 2, 3, 4, 5, 6)',
        "bbox(class='chair', position_x=1, position_y=2, position_z=3, angle_z=0, scale_x=4, scale_y=5, scale_z=6)",
        "make_bbox, id=7, class=chair, position_x=1, position_y=2, position_z=3, angle_z=0.0, scale_x=4, scale_y=5, "
        "scale_z=6",
        '```json\n[\n\t{"bbox_3d":[1, 2, 3, 4, 5, 6, 0, 0, 0],"label":"chair"}\n]\n```',
        '[{"label": "chair", "box_3d": [1, 2, 3, 4, 5, 6, 0, 0, 180]}]',
        '{"center": {"x": 1, "y": 2, "z": 3}, "size": {"x": 4, "y": 5, "z": 6}, "rotation": {"yaw": 0}}',
        '{"center": {"x": 1, "y": 2, "z": 3}, "dimensions": {"width": 4, "depth": 5, "height": 6}}',
        '{"center": [1, 2, 3], "size": [4, 5, 6], "yaw": 0}',
        '{"center": [1, 2, 3], "size": [4, 5, 6], "rotation": [0, 0, 0, 1]}',
        '{"min_corner": [-1, -0.5, 0], "max_corner": [3, 4.5, 6]}',
        '{"corners": [[-1, -0.5, 0], [3, 4.5, 6]]}',
        '{"x_min": -1, "y_min": -0.5, "z_min": 0, "x_max": 3, "y_max": 4.5, "z_max": 6}',
        "x_min=-1, x_max=3, y_min=-0.5, y_max=4.5, z_min=0, z_max=6",
        "{'min': [-1, -0.5, 0], 'max': [3, 4.5, 6]}",
        "The box spans from (-1, -0.5, 0) to (3, 4.5, 6).",
        "Min corner: (−1, −0.5, 0), max corner: (3, 4.5, 6)",
        "min: -1, -0.5, 0\nmax: 3, 4.5, 6",
        "opposite corners [-1, -0.5, 0] and [3, 4.5, 6]",
        "**Center:** (1.0 m, 2.0 m, 3.0 m)\n**Size:** 4.0 m × 5.0 m × 6.0 m",
        "[100 cm, 200 cm, 300 cm, 400 cm, 500 cm, 6000 mm]",
        "［1，2，3，4，5，6］",
        "（１，2，3，4，5，6）",
        "【[1, 2, 3, 4, 5, 6]】",
        "{“bbox_3d”: [1, 2, 3, 4, 5, 6]}",
        "<|begin_of_box|>[1, 2, 3, 4, 5, 6]<|end_of_box|>",
        "$$\\boxed{[1, 2, 3, 4, 5, 6]}$$",
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
        "There is no object that matches the description.",
        "There are no brown chairs in this room.",
        "There isn’t any lamp here.",
        "None of the objects match the description.",
        "Nothing in the scene fits.",
        "No matching object was found in the scene.",
        "The described object does not exist.",
        "The object is not present in the scene.",
        "I cannot find such an object.",
        "I don't see any red chair in the room.",
        "**None**",
        "```json\n[]\n```",
        "There is no lamp in the scene.\n\n[]",
        "Not found",
        "0 objects",
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
        "There is no doubt that it is the chair at the window.",
        "I cannot see the images.",
        "I can't find the video you mention.",
        "The closest object is at the window, since none of them match.",
        "It is not clear which chair is meant.",
        "wall_0=Wall(0,0,0,4,0,0,2.5,0.1)",
        "<OBJ012>",
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


HALF_PI = math.pi / 2


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3, 4, 2, 6, 90]",
        "[1, 2, 3, 4, 2, 6, 90°]",
        f"bbox_0=Bbox(bed,1,2,3,{HALF_PI},4,2,6)",
        f"[1, 2, 3, 4, 2, 6, {HALF_PI}, 0, 0]",
        '[{"label": "bed", "box_3d": [1, 2, 3, 4, 2, 6, 0, 0, 90]}]',
        '{"center": [1, 2, 3], "size": [4, 2, 6], "yaw_deg": 90}',
        f'{{"center": [1, 2, 3], "size": [4, 2, 6], "rotation": {{"roll": 0, "pitch": 0, "yaw": {HALF_PI}}}}}',
        '{"x": 1, "y": 2, "z": 3, "dx": 4, "dy": 2, "dz": 6, "heading": 90}',
        "x: 1, y: 2, z: 3, dx: 4, dy: 2, dz: 6, yaw: 90 degrees",
    ],
)
def test_an_angle_turns_the_box_in_radians_or_degrees(text):
    (box,) = parse_boxes(text)
    assert box == pytest.approx([1, 2, 3, 2, 4, 6])


def test_angles_of_all_boxes_of_an_answer_have_one_unit():
    first, second = parse_boxes("[0, 0, 0, 4, 2, 1, 5]\n[0, 0, 0, 4, 2, 1, 90]")
    expected = [4 * math.cos(math.radians(5)) + 2 * math.sin(math.radians(5))]
    assert first[3] == pytest.approx(*expected) and second == pytest.approx([0, 0, 0, 2, 4, 1])


def test_roll_pitch_and_yaw_and_embodiedscans_angles_have_their_own_order():
    turned = [0.3, HALF_PI, 0.0]  # EmbodiedScan: 0.3 about z, then a quarter turn about x
    (box,) = parse_boxes(str([0, 0, 0, 2, 4, 6, *turned]))
    assert box[3:] == pytest.approx([2 * math.cos(0.3) + 6 * math.sin(0.3), 2 * math.sin(0.3) + 6 * math.cos(0.3), 4])
    (box,) = parse_boxes(str({"box_3d": [0, 0, 0, 2, 4, 6, HALF_PI, 0.0, 0.3]}).replace("'", '"'))
    assert box[3:] == pytest.approx([2 * math.cos(0.3) + 6 * math.sin(0.3), 2 * math.sin(0.3) + 6 * math.cos(0.3), 4])


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "{" * 50_000, '{"a":' * 50_000, "(" * 50_000, "9" * 50_000, "1," * 50_000]
)
def test_hostile_text_is_read_to_its_limit_and_no_further(text):
    assert len(text) > MAX_CHARACTERS and parse_boxes(text) is None


@given(st.text(alphabet="[](){}<>,.-+eE0123456789 \n\"':xyzbo", max_size=300))
def test_any_text_gives_finite_boxes_or_none(text):
    for box in parse_boxes(text) or []:
        assert len(box) == 6 and all(map(math.isfinite, box)) and min(box[3:]) >= 0
