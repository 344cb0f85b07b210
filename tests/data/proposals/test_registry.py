"""Proposal makers by name: built in, of third parties, broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from add_on import write_add_on

from video3d_plugin.data.proposals import check_source, is_file_source, preload, replace_proposals
from video3d_plugin.data.proposals.registry import MAKERS, identity
from video3d_plugin.errors import DataError
from video3d_plugin.notes import Note
from video3d_plugin.scene import Scene

ADD_ON = """
import numpy as np
from video3d_plugin.data.proposals.maker import Proposals

def make(scene, limit, argument):
    boxes = np.array([[0, 0, 0, 1, 1, 1], [1, 0, 0, 1, 1, 1], [2, 0, 0, 1, 1, 1]], float)
    return Proposals(boxes, np.array([0.1, 0.9, 0.5]), tuple("abc"), (("x",), (), ("y",)), f"proposals of {argument}")

def fails(scene, limit, argument):
    return {}["x"]

def wrong(scene, limit, argument):
    box, one = np.ones((1, 6)), np.ones(1)
    return {
        "none": None, "shape": Proposals(np.ones((2, 5)), np.ones(2)), "score": Proposals(box, 2 * one),
        "count": Proposals(box, np.ones(2)), "nan": Proposals(box * np.nan, one), "size": Proposals(-box, one),
        "label": Proposals(box, one, ("a", "b")),
    }[argument]


class Loading:
    def __init__(self):
        self.loaded = []
    def preload(self, argument):
        if not argument:
            raise ValueError("no argument")
        self.loaded.append(argument)
    def __call__(self, scene, limit, argument):
        return Proposals(np.ones((1, 6)), np.ones(1), tuple(self.loaded))

loading = Loading()
"""


@pytest.fixture
def scene():
    return Scene("room", (), np.eye(4), notes=(Note("no proposals so far", "proposals"), "another"))


@pytest.fixture(autouse=True)
def site(tmp_path, monkeypatch):
    points = {name: f"proposal_add_on:{name}" for name in ("make", "fails", "wrong", "loading", "gone")}
    folder = write_add_on(tmp_path / "site", MAKERS.group, points, {"proposal_add_on.py": ADD_ON})
    monkeypatch.syspath_prepend(folder)


def test_the_built_in_makers_are_those_of_the_package_metadata():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"][MAKERS.group] == MAKERS.built_in


@pytest.mark.parametrize("name", MAKERS.built_in)
def test_every_built_in_maker_loads(name):
    assert callable(MAKERS.get(name))


def test_boxes_of_an_add_on_come_best_first_with_their_labels_and_views(scene):
    made = replace_proposals(scene, "make:this:and that", limit=2)
    assert made.proposals.dtype == np.float32 and made.proposals[:, 0].tolist() == [1, 2]
    assert np.allclose(made.proposal_scores, [0.9, 0.5]) and made.proposal_labels == ("b", "c")
    assert made.proposal_views == ((), ("y",)) and made.notes == ("another", "proposals of this:and that")


@pytest.mark.parametrize("argument", ["none", "shape", "score", "count", "nan", "size", "label"])
def test_a_result_that_breaks_the_interface_is_an_error_that_names_the_maker(scene, argument):
    with pytest.raises(DataError, match=r"proposal maker 'wrong' \(proposal_add_on:wrong of addon 1.0\) failed: "):
        replace_proposals(scene, f"wrong:{argument}")


def test_a_maker_that_fails_or_cannot_be_loaded_is_one_line_that_names_it(scene):
    with pytest.raises(DataError, match=r"room: proposal maker 'fails' \(proposal_add_on:fails .*\) failed: KeyError"):
        replace_proposals(scene, "fails")
    with pytest.raises(
        DataError, match=r"proposal maker 'gone' \(proposal_add_on:gone of addon 1.0\) cannot be loaded"
    ):
        check_source("gone:x")


def test_a_file_of_boxes_is_told_from_the_argument_of_a_maker():
    assert is_file_source("boxes.json") and is_file_source("a:b.json")
    assert not is_file_source("make:settings.json") and not is_file_source("gt")


def test_stored_boxes_are_made_again_where_the_maker_has_changed():
    assert identity("mask3d") is None and identity("boxes.json") is None
    assert identity("auto") == identity("auto:x") != identity("make")
    assert identity("make:x") == "proposal_add_on:make of addon 1.0"


def test_annotated_boxes_replace_scores_and_views_of_earlier_proposals(scene):
    earlier = replace(scene, proposal_scores=np.ones(1, np.float32), proposal_views=(("x",),))
    made = replace_proposals(earlier, "gt")
    assert len(made.proposals) == 0 == len(made.proposal_scores) and made.proposal_views == ()


def test_a_maker_that_reads_files_of_its_own_can_do_so_before_it_is_called(scene):
    for source in ("make", "auto", "gt"):  # which have nothing to load
        preload(source)
    preload("loading:chairs")
    assert replace_proposals(scene, "loading").proposal_labels == ("chairs",)
    with pytest.raises(DataError, match=r"proposal maker 'loading' \(.*\) failed: ValueError: no argument"):
        preload("loading")
    with pytest.raises(DataError, match="known: mask3d"):
        preload("nothing like it")
