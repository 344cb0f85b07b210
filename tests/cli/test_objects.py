"""`video3d objects` as typed, and --proposals of the other commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from add_on import write_add_on
from tiny_onnx import detector_file

from video3d_plugin import cli, load_model, load_scene
from video3d_plugin.data.proposals.registry import MAKERS
from video3d_plugin.errors import DataError

ADD_ON = """
import numpy as np
from video3d_plugin.data.proposals.maker import Proposals

def make(scene, limit, argument):
    boxes = np.array([[0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1]], float)[:limit]
    labels, views = ("sofa </script>", argument), (tuple(f.name for f in scene.frames[:4]), ())
    return Proposals(boxes, np.array([0.75, 0.5])[:limit], labels[:limit], views[:limit], "proposals of an add-on")

def fails(scene, limit, argument):
    raise RuntimeError("no weights")
"""


@pytest.fixture(autouse=True)
def site(tmp_path, monkeypatch):
    points = {name: f"objects_add_on:{name}" for name in ("make", "fails")}
    monkeypatch.syspath_prepend(write_add_on(tmp_path / "site", MAKERS.group, points, {"objects_add_on.py": ADD_ON}))


def page_data(path):
    text = path.read_text().split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return json.loads(text)


def test_the_table_lists_label_score_box_and_frames(my_scan, capsys):
    assert cli.main(["objects", str(my_scan), "--proposals", "make:lamp"]) == 0
    head, names, first, second = capsys.readouterr().out.splitlines()
    frames = [frame.name for frame in load_scene(my_scan).frames[:3]]
    assert head == "my_scan: 2 objects; proposals of an add-on" and names.split()[:2] == ["label", "score"]
    assert first.split() == "0 sofa </script> 0.75 0.00 0.00 1.00 1.00 1.00 1.00".split() + [
        *frames,
        "and",
        "1",
        "more",
    ]
    assert second.split() == "1 lamp 0.50 1.00 0.00 1.00 1.00 1.00 1.00".split()


def test_json_holds_every_object_and_the_page_their_labels(my_scan, tmp_path, capsys):
    page = tmp_path / "objects.html"
    assert cli.main(["objects", str(my_scan), "--proposals", "make:lamp", "--json", "--save", str(page)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["format"] == "video3d objects" and printed["scene_id"] == "my_scan"
    first, second = printed["objects"]
    assert (first["label"], first["score"], first["box"]) == ("sofa </script>", 0.75, [0, 0, 1, 1, 1, 1])
    assert len(first["frames"]) == 4 and second["frames"] == []
    data = page_data(page)
    assert data["proposalLabels"] == ["sofa </script>", "lamp"] and data["proposalScores"] == [0.75, 0.5]
    assert page.read_text().count("sofa </script>") == 0


def test_auto_is_what_a_scan_without_proposals_gets(my_scan, capsys):
    assert cli.main(["objects", str(my_scan), "--json", "--limit", "3"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert 0 < len(printed["objects"]) <= 3 and any("(auto)" in note for note in printed["notes"])
    assert all(row["label"] is None and 0 < row["score"] < 1 and row["frames"] for row in printed["objects"])


@pytest.mark.parametrize("command", ["objects", "ask", "view", "serve"])
@pytest.mark.parametrize(
    "source, message",
    [
        ("atuo", "did you mean 'auto'?"),
        ("none.json", "none.json: file not found"),
        ("fails", "'fails' (objects_add_on:"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line(my_scan, tiny_checkpoint, capsys, command, source, message):
    if command == "serve" and source != "atuo":
        pytest.skip("scans are read when they are chosen")
    words = [command, str(my_scan), "--proposals", source]
    words += ["chair", "--ground", "--model", str(tiny_checkpoint)] if command == "ask" else []
    assert cli.main(words) in (2, 3)
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and error[-1].startswith("video3d: error: ") and "Traceback" not in "".join(error)


def test_ask_and_view_use_the_named_maker(my_scan, tiny_checkpoint, tmp_path, capsys):
    page = tmp_path / "page.html"
    model = ["--model", str(tiny_checkpoint)]
    assert cli.main(["ask", str(my_scan), "chair", "--ground", "--json", "--proposals", "make", *model]) == 0
    assert len(json.loads(capsys.readouterr().out)["items"][0]["proposals"]) == 2
    assert cli.main(["view", str(my_scan), "--proposals", "make", "--save", str(page)]) == 0
    assert len(page_data(page)["proposals"]) == 2


def test_a_loaded_model_makes_proposals_of_its_own_source(my_scan, tiny_checkpoint):
    scene = load_scene(my_scan)
    model = load_model(tiny_checkpoint, proposals="make")
    assert len(model.inputs(scene).proposals) == 2 == len(model.ground(scene, "the chair"))
    assert np.array_equal(model.inputs(scene, proposals=np.ones((3, 6))).proposals.numpy(), np.ones((3, 6)))
    with pytest.raises(DataError, match="did you mean 'auto'"):
        load_model(tiny_checkpoint, proposals="atuo")


def test_classes_complete_the_source_of_a_detector(my_scan, tmp_path, capsys):
    bias = np.array([12, 8, 36, 24, 0.8, 1.0])
    model = tmp_path / "chairs.onnx"
    model.write_bytes(detector_file(np.zeros((3, 6)), bias, (1, 1, 6), (32, 48)))
    model.with_suffix(".json").write_text(json.dumps({"size": [48, 32], "labels": ["person", "chair"]}))
    assert cli.main(["objects", str(my_scan), "--proposals", f"detector:{model}", "--classes", "person", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"] == []
    assert cli.main(["objects", str(my_scan), "--proposals", f"detector:{model}", "--classes", "sofa"]) == 2
    assert "has no class 'sofa' (its classes: person, chair)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["objects", "view", "ask"])
def test_classes_without_a_detector_are_refused(command, my_scan, capsys):
    more = ["what is this?"] if command == "ask" else []
    assert cli.main([command, str(my_scan), *more, "--classes", "chair"]) == 2
    assert "add --proposals detector:MODEL" in capsys.readouterr().err
