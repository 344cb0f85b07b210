from __future__ import annotations

import pytest

from video3d_plugin.metrics import captions
from video3d_plugin.metrics.captions import Scan2CapItem
from video3d_plugin.metrics.dense_captions import DenseCaption, DescribedObject, assign, benchmark
from video3d_plugin.metrics.ngrams import NAMES

BOX = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
FAR = [9.0, 9.0, 9.0, 1.0, 1.0, 1.0]
TOKENS = [["a", "chair", "."]]


def item(caption="A chair.", iou=1.0, key="s|1|chair", **more):
    return Scan2CapItem(key, caption, iou, ["a chair."], TOKENS, **more)


def test_tokens_in_scanrefers_manner():
    text = "It's a two-seater, 3.5 ft (café)."
    assert captions.scanrefer_tokens(text) == [
        "it", "'s", "a", "two-seater", ",", "3", ".", "5", "ft", "(", "caf", "é", ")", ".",
    ]  # fmt: skip
    assert captions.scanrefer_tokens("") == []


def test_official_keeps_thirty_tokens_and_its_threshold_is_strict():
    long = item("word " * 40)
    assert captions.official_pairs([long])[0] == {"s|1|chair": "sos " + "word " * 30 + "eos"}
    assert captions.official_pairs([item(iou=0.5)])[0] == {"s|1|chair": "sos eos"}
    assert captions.official_pairs([item(iou=0.51)])[0] == {"s|1|chair": "sos a chair . eos"}
    assert captions.official_pairs([item(iou=None)], 0.0)[0] == {"s|1|chair": "sos eos"}


def test_video3dllm_leaves_double_spaces_and_its_threshold_is_not_strict():
    hypotheses, references = captions.v3d_pairs([item(" A chair. ", iou=0.5)])
    assert hypotheses == {"s|1|chair": "sos a chair .  eos"} and references == {"s|1|chair": ["sos a chair .  eos"]}
    assert captions.v3d_pairs([item(iou=0.4999)])[0] == {"s|1|chair": "sos  eos"}


def test_video3dllm_skipped_objects_keep_their_own_references():
    first, second = item(key="a"), Scan2CapItem("b", "x", None, ["a table."], [["a", "table", "."]])
    assert captions.v3d_pairs([first, second])[1]["b"] == ["sos a table .  eos"]


def test_leo_keeps_capitals_and_splits_full_stops_before_a_space_only():
    assert captions.leo_pairs([item("A chair. It is 3.5 ft.")])[0] == {"s|1|chair": "sos A chair . It is 3.5 ft . eos"}


def test_an_empty_caption_is_not_the_same_as_an_undetected_object_for_leo():
    assert captions.leo_pairs([item("")])[0] == {"s|1|chair": "sos  eos"}
    assert captions.leo_pairs([item("", iou=0.1)])[0] == {"s|1|chair": "sos eos"}


def target(object_id="1", box=BOX):
    return DescribedObject("s", object_id, box, [["a", "b", "c", "d"]])


def caption(box=BOX, words="a b c d"):
    return DenseCaption(box, f"sos {words} eos")


def test_predictions_are_assigned_by_the_largest_sum_of_giou():
    near = [0.2, 0.0, 0.0, 1.0, 1.0, 1.0]
    found = assign([caption(FAR, "far"), caption(near, "near")], [target("1", BOX), target("2", FAR)])
    assert [a.sentence for a in found] == ["sos near eos", "sos far eos"]
    assert found[1].iou == pytest.approx(1.0)


def test_objects_of_a_scene_without_predictions_are_not_found():
    assert [a.iou for a in assign([], [target()])] == [None]


def test_benchmark_by_hand(score):
    # One of two objects is described perfectly, by one of four predictions: precision 1/4, recall 1/2, F1 1/3.
    predictions = {"s": [caption(), caption(FAR, "x"), caption(FAR, "y"), caption(FAR, "z")], "other": [caption()]}
    objects = [target("1"), DescribedObject("s", "2", [5, 5, 5, 1, 1, 1], [["q", "r"]])]
    numbers, _ = benchmark(predictions, objects, score, prefix="")
    assert numbers["rouge_precision@0.5"] == pytest.approx(25)
    assert numbers["rouge_recall@0.5"] == pytest.approx(50)
    assert numbers["rouge_f1@0.5"] == pytest.approx(100 / 3)


def test_benchmark_with_nothing_predicted_is_zero_and_without_objects_is_none(score):
    numbers, _ = benchmark({}, [target()], score, prefix="")
    assert {numbers[f"{name}_f1@0.5"] for name in NAMES if name != "meteor"} == {0.0}
    numbers, missing = benchmark({}, [], score, prefix="")
    assert set(numbers.values()) == {None} and set(missing) == set(numbers)
