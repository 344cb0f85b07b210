from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video3d_plugin.errors import DataError
from video3d_plugin.metrics import boxes

UNIT = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_iou_by_hand():
    # Two unit cubes half a metre apart along x share 1/2 x 1 x 1; the union is 3/2.
    assert boxes.iou(UNIT, [0.5, 0, 0, 1, 1, 1]) == pytest.approx((1 / 2) / (3 / 2 + 1e-8), abs=1e-15)
    assert boxes.iou(UNIT, [1.0, 0, 0, 1, 1, 1]) == 0


def test_an_exact_half_falls_below_the_threshold_in_float64_and_on_it_in_float32():
    twice = [0.0, 0, 0, 2, 1, 1]
    inside = [0.5, 0, 0, 1, 1, 1]
    assert boxes.iou(inside, twice) < 0.5
    assert boxes.iou_float32(inside, twice) == 0.5


def test_a_negative_size_acts_as_positive():
    assert boxes.iou([0, 0, 0, -1, -1, -1], UNIT) == boxes.iou(UNIT, UNIT)


def test_boxes_without_volume_give_zero_and_no_warning():
    with np.errstate(all="raise"):
        assert boxes.iou([1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]) == 0
        assert boxes.giou_matrix([[1, 1, 1, 0, 0, 0]], [[1, 1, 1, 0, 0, 0]]).tolist() == [[0.0]]


def test_matrices_of_nothing_have_the_right_shape():
    assert boxes.iou_matrix([], [UNIT]).shape == (0, 1)
    assert boxes.iou_matrix_float32([UNIT], []).shape == (1, 0)


def test_giou_by_hand():
    # Cubes with a gap of one metre: no overlap, union 2, the box around both has volume 3.
    assert boxes.giou_matrix([UNIT], [[2.0, 0, 0, 1, 1, 1]])[0, 0] == pytest.approx(-(3 - 2) / 3)
    assert boxes.giou_matrix([UNIT], [UNIT])[0, 0] == pytest.approx(1)


@pytest.mark.parametrize(
    "wrong",
    [
        [1, 2, 3],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [["a"] * 6],
        7,
        None,
        [[0, 0, 0, 1, 1, 1e39]],
        [[0, 0, 0, 1, 1, 10**400]],
        [["a"] * 3] * 8,
    ],
)
def test_what_is_no_box_is_an_error_in_one_line(wrong):
    for reader in (boxes.as_boxes, boxes.as_box):
        with pytest.raises(DataError) as error:
            reader(wrong, "gt_box")
        assert "gt_box" in str(error.value) and "\n" not in str(error.value)


def test_one_box_is_six_numbers_or_eight_corners():
    for form in (UNIT, [UNIT], boxes.corners_of_box(UNIT)):
        assert boxes.as_box(form).tolist() == UNIT
    for several in ([], [UNIT, UNIT]):
        with pytest.raises(DataError):
            boxes.as_box(several)


def test_the_largest_numbers_allowed_stay_finite_in_float32():
    far, farther = [boxes.LARGEST_M] * 6, [-boxes.LARGEST_M] * 6
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(boxes.iou_matrix_float32([far], [far, farther])).all()
        assert np.isfinite(boxes.giou_matrix([far], [far, farther])).all()


finite = st.floats(-50, 50, allow_nan=False)
box = st.tuples(finite, finite, finite, *[st.floats(0.01, 20)] * 3).map(list)


@given(box)
def test_corners_and_box_undo_each_other(b):
    assert boxes.box_of_corners(boxes.corners_of_box(b)) == pytest.approx(b, abs=1e-9)


@given(box, box)
def test_iou_against_a_sum_over_intervals(a, b):
    inter = 1.0
    for axis in range(3):
        low = max(a[axis] - a[axis + 3] / 2, b[axis] - b[axis + 3] / 2)
        high = min(a[axis] + a[axis + 3] / 2, b[axis] + b[axis + 3] / 2)
        inter *= max(0.0, high - low)
    union = a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - inter
    assert boxes.iou(a, b) == pytest.approx(inter / (union + 1e-8), abs=1e-6)
    assert boxes.iou(a, b) == pytest.approx(boxes.iou(b, a), abs=1e-12)
    assert boxes.giou_matrix([a], [b])[0, 0] <= inter / union + 1e-9


@pytest.mark.parametrize("bad", [["1", 2, 3, 4, 5, 6], [True] * 6, [None] * 6, [1j] * 6, [10**400] * 6, [[[1]]], "box"])
def test_only_numbers_are_coordinates(bad):
    with pytest.raises(DataError):
        boxes.as_box(bad)
