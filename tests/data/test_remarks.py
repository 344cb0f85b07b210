"""What is said of a scan on the terminal, in one wording; notes keep their kind wherever they go."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.records import scene_from_json
from video3d_plugin.data.remarks import assumptions, remarks
from video3d_plugin.errors import DataError
from video3d_plugin.files.json import read_json
from video3d_plugin.notes import Note, kind_of
from video3d_plugin.scene import Omission, Scene


def test_notes_and_omissions_are_said_once_and_boxes_elsewhere():
    note = Note("poses are taken as metres", "assumption")
    boxes = [Note("no mesh", "annotations"), Note("no mask file", "proposals")]
    left_out = (Omission("frame 1", "no pose"), Omission("frame 2", "a"))
    scene = Scene("x", (), np.eye(4), notes=(note, note, *boxes), omissions=left_out)
    assert remarks(scene) == [
        "x: note: poses are taken as metres",
        "x: 2 left out, the first: frame 1: no pose",
    ]


def test_nothing_is_said_of_a_scan_without_remarks():
    assert remarks(Scene("x", (), np.eye(4))) == []


def test_the_words_of_a_note_do_not_matter_to_its_kind():
    notes = ("assumed, estimated, not levelled, annotated boxes", Note("a camera", "assumption"), Note("b", "check"))
    scene = Scene("x", (), np.eye(4), notes=notes)
    assert assumptions(scene) == ("a camera",)
    assert len(remarks(scene)) == 3


def test_a_note_keeps_its_kind_in_another_process():
    note = pickle.loads(pickle.dumps(Note("a camera", "assumption")))
    assert note == "a camera" and kind_of(note) == "assumption"


@pytest.fixture
def record(full_root, tmp_path):
    """A prepared scene's record, its file and the data folder."""
    prepare(full_root.path, tmp_path / "data", stages=("scenes",))
    path = next((tmp_path / "data" / "scenes").glob("*.json"))
    return read_json(path, dict, ""), path, tmp_path / "data"


def test_a_data_folder_keeps_the_kinds(record):
    value, path, folder = record
    value |= {"notes": ["a", "b"], "note_kinds": ["assumption", "check"]}
    assert [kind_of(note) for note in scene_from_json(value, folder, path).notes] == ["assumption", "check"]


def test_a_data_folder_of_before_opens(record):
    value, path, folder = record
    scene = DataFolder.open(folder).scene(path.stem)
    assert value.pop("note_kinds") == [kind_of(note) for note in scene.notes]
    of_before = scene_from_json(value, folder, path)
    assert of_before.notes == scene.notes and {kind_of(note) for note in of_before.notes} <= {"information"}


@pytest.mark.parametrize("kinds", [["check"] * 9, ["opinion"]])
def test_kinds_that_are_none_are_refused(record, kinds):
    value, path, folder = record
    with pytest.raises(DataError, match="kind"):
        scene_from_json({**value, "notes": ["a"], "note_kinds": kinds}, folder, path)
