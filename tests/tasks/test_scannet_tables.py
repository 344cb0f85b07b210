"""ScanNet's facts that ship: the label table's columns, the splits, and ScanRefer's groups without a file."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from video3d_plugin.score.documents import docs_of_files
from video3d_plugin.tasks import get
from video3d_plugin.tasks.object_classes import Labels
from video3d_plugin.tasks.scannet_tables import shipped_labels, shipped_splits


def test_classes_of_some_names_by_hand():
    labels = shipped_labels()
    assert len(labels.nyu40id) == 607
    # of ScanNet's own table
    for name, number, kind in (
        ("kitchen cabinet", 3, "cabinet"),
        ("office chair", 5, "chair"),
        ("couch", 6, "sofa"),
        ("refrigerator", 24, "refrigerator"),
        ("trash can", 39, "otherfurniture"),
        ("bag", 37, "bag"),
    ):
        assert (labels.nyu40id[name], labels.nyu40class[name]) == (number, kind), name
    assert labels.official_class("kitchen_cabinets") == labels.official_class("cabinet") == 0


def test_the_splits_have_scannets_sizes_and_do_not_overlap():
    splits = shipped_splits()
    assert Counter(splits.values()) == {"train": 1201, "val": 312, "test": 100}
    assert (splits["scene0000_00"], splits["scene0011_00"], splits["scene0707_00"]) == ("train", "val", "test")
    spaces = {
        split: {scene_id[:9] for scene_id, own in splits.items() if own == split} for split in set(splits.values())
    }
    assert not spaces["train"] & spaces["val"] and not spaces["train"] & spaces["test"]  # no room is in two splits


def item(number, name, **more):
    return {"scene_id": "scene0011_00", "object_id": str(number), "object_name": name, "ann_id": "0",
            "description": "It.", "gt_box": [0, 0, 0, 1, 1, 1], **more}  # fmt: skip


def groups(tmp_path, items, labels=None):
    path = tmp_path / "ScanRefer_filtered_val.json"
    path.write_text(json.dumps(items))
    docs, _ = docs_of_files(get("scanrefer"), [path], labels=labels)
    return [(doc["eval_type"], doc["multiple"], doc["others"]) for doc in docs]


def test_groups_are_known_without_a_label_file(tmp_path):
    items = [item(1, "kitchen_cabinet"), item(2, "cabinet"), item(3, "couch"), item(4, "wall"), item(5, "bag")]
    # by 18 classes wall and bag are both "others"; by NYU40 ids wall is a class of its own
    assert groups(tmp_path, items) == [
        ("multiple", True, False),
        ("multiple", True, False),
        ("unique", False, False),
        ("unique", True, True),
        ("unique", True, True),
    ]


def test_a_table_that_is_given_counts_and_names_of_processed_files_are_not_grouped(tmp_path):
    table = tmp_path / "labels.tsv"
    table.write_text("raw_category\tnyu40id\tnyu40class\ncouch\t5\tchair\nchair\t5\tchair\n")
    items = [item(1, "couch"), item(2, "chair")]
    assert [group[0] for group in groups(tmp_path, items)] == ["unique", "unique"]
    assert [group[0] for group in groups(tmp_path, items, table)] == ["multiple", "multiple"]
    nameless = [item(1, "", eval_type="multiple"), item(2, "", eval_type="unique")]
    assert groups(tmp_path, nameless) == [("multiple", None, None), ("unique", None, None)]


def test_the_columns_are_those_of_scannets_file(shared):
    paths = sorted(shared.rglob("scannetv2-labels.combined.tsv")) if shared else []
    if not paths:
        pytest.skip("VIDEO3D_SHARED has no label table")
    assert Labels.read(paths[0]) == shipped_labels()
