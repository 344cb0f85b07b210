from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video3d_plugin.metrics import grounding
from video3d_plugin.metrics.grounding import Answered, Located
from video3d_plugin.metrics.scanrefer_groups import Labels, multiple_by_object

UNIT = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
FAR = [9.0, 9.0, 9.0, 1.0, 1.0, 1.0]


def located(iou=1.0, multiple=False, others=False, **more):
    return Located(iou, iou, multiple, others, multiple, **more)


def test_scanrefer_by_hand():
    items = [located(0.6), located(0.3, multiple=True), located(0.1, multiple=True, others=True)]
    numbers = grounding.scanrefer_official(items)
    assert numbers["acc@0.25"] == pytest.approx(200 / 3) and numbers["acc@0.5"] == pytest.approx(100 / 3)
    assert numbers["unique_acc@0.5"] == 100 and numbers["multiple_acc@0.25"] == 50
    assert numbers["multiple_in_others_acc@0.25"] == 0 and numbers["count_multiple_in_others"] == 1
    assert numbers["unique_in_others_acc@0.25"] == 0.0 and numbers["count_unique_in_others"] == 0


def test_a_missing_prediction_is_left_out_by_scanrefer_and_video3dllm_and_wrong_for_m3dref():
    items = [located(1.0), located(0.0, submitted=False)]
    assert grounding.scanrefer_official(items)["acc@0.5"] == 100
    assert grounding.scanrefer_v3d(items)["v3d_acc@0.5"] == 100
    assert grounding.scanrefer_m3dref(items)["m3dref_acc@0.5"] == 50


def test_a_prediction_for_an_unknown_item_counts_only_in_the_official_mean():
    items = [located(1.0), located(0.0, known=False)]
    assert grounding.scanrefer_official(items)["acc@0.5"] == 50
    assert grounding.scanrefer_v3d(items)["v3d_acc@0.5"] == 100
    assert grounding.scanrefer_m3dref(items)["m3dref_acc@0.5"] == 100


def test_items_of_an_unknown_group_count_in_the_overall_number_alone():
    numbers = grounding.scanrefer_official([located(1.0, multiple=None, others=None)])
    assert numbers["count"] == 1 and numbers["count_unique"] == numbers["count_multiple"] == 0
    assert numbers["count_in_others"] == numbers["count_not_in_others"] == 0


def test_no_items_give_zero_officially_and_none_elsewhere():
    assert grounding.scanrefer_official([])["acc@0.25"] == 0.0
    assert set(grounding.scanrefer_v3d([]).values()) == {None}
    assert set(grounding.multi3drefer_official([]).values()) == {None}


def test_f1_by_hand():
    # One of two right: 2 * 1 / (2 + 1); a duplicate of the right box is as wrong as any other.
    assert grounding.f1_v3d([UNIT, FAR], [UNIT]) == pytest.approx((2 / 3, 2 / 3))
    assert grounding.f1_v3d([UNIT, UNIT], [UNIT]) == pytest.approx((2 / 3, 2 / 3))


def test_zero_target_goes_by_emptiness_for_video3dllm_and_by_type_for_m3dref():
    assert grounding.f1_v3d([], []) == (1, 1) and grounding.f1_v3d([], [UNIT]) == (0, 0)
    assert grounding.f1_m3dref([], [UNIT], "zt_w_d") == (1, 1)
    assert grounding.f1_m3dref([UNIT], [], "zt_wo_d") == (0, 0)
    assert grounding.f1_m3dref([], [UNIT], "mt") == (0, 0)


def test_an_exact_half_counts_in_multi3drefer_of_video3dllm_though_not_in_scanrefer():
    half = [0.5, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert grounding.f1_v3d([half], [[0.0, 0.0, 0.0, 2.0, 1.0, 1.0]]) == (1, 1)


def test_missing_queries_by_convention():
    items = [Answered("mt", (1.0, 1.0), (1.0, 1.0)), Answered("mt", (1.0, 1.0), (1.0, 1.0), submitted=False)]
    assert grounding.multi3drefer_official(items)["f1@0.25"] == 50
    assert grounding.multi3drefer_torchmetrics(items)["torchmetrics_f1@0.25"] == 100
    assert grounding.multi3drefer_v3d(items)["v3d_f1@0.25"] == 100


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_assignment_has_the_largest_sum_of_all(predicted, truth, seed):
    ious = np.random.default_rng(seed).random((predicted, truth)).astype(np.float32)
    side = max(ious.shape)
    padded = np.zeros((side, side), np.float32)
    padded[:predicted, :truth] = ious
    best = max(sum(float(padded[i, j]) for i, j in enumerate(order)) for order in permutations(range(side)))
    assert grounding.matched_ious(ious).sum() == pytest.approx(best, abs=1e-5)


TABLE = "id\traw_category\tcategory\tcount\tnyu40id\tnyu40class\n"


def labels(tmp_path, *rows):
    path = tmp_path / "labels.tsv"
    path.write_text(TABLE + "".join(f"1\t{name}\t{name}\t1\t{number}\t{nyu}\n" for name, number, nyu in rows))
    return Labels.read(path)


def test_walls_are_others_officially_and_a_class_of_their_own_elsewhere(tmp_path):
    table = labels(tmp_path, ("wall", 1, "wall"), ("office chair", 5, "chair"), ("lamp", 35, "lamp"))
    items = [
        {"scene_id": "s", "object_id": str(i), "object_name": n} for i, n in enumerate(["wall", "lamp", "office_chair"])
    ]
    assert multiple_by_object(items, table.official_class) == {("s", "0"): True, ("s", "1"): True, ("s", "2"): False}
    assert not any(multiple_by_object(items, table.v3d_class).values())


def test_an_object_with_several_descriptions_is_one_object(tmp_path):
    table = labels(tmp_path, ("chair", 5, "chair"))
    twice = [{"scene_id": "s", "object_id": "1", "object_name": "chair"}] * 2
    assert multiple_by_object(twice, table.official_class) == {("s", "1"): False}


def test_a_table_that_is_not_scannets_is_refused(tmp_path):
    from video3d_plugin.errors import DataError, MissingError

    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match="column"):
        Labels.read(tmp_path / "x.tsv")
    with pytest.raises(MissingError):
        Labels.read(tmp_path / "absent.tsv")


@pytest.mark.parametrize("number", ["nan", "1e5", "", "-1", "1.0", "５", " 5", "9" * 5000, "inf"])
def test_an_id_that_is_no_whole_number_is_refused_with_its_row(tmp_path, number):
    from video3d_plugin.errors import DataError

    with pytest.raises(DataError, match="labels.tsv: row 3: `nyu40id` is .*expected .*download it again") as caught:
        labels(tmp_path, ("chair", 5, "chair"), ("sofa", number, "sofa"))
    assert len(str(caught.value)) < 500


def test_a_row_without_a_name_or_cut_short_is_refused(tmp_path):
    from video3d_plugin.errors import DataError

    with pytest.raises(DataError, match="row 2: `raw_category` is ''"):
        labels(tmp_path, ("", 5, "chair"))
    (tmp_path / "labels.tsv").write_text(TABLE + "1\tchair\n")
    with pytest.raises(DataError, match="row 2: `nyu40class` is None"):
        Labels.read(tmp_path / "labels.tsv")
