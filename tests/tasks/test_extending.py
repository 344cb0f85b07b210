"""docs/extending.md to the letter: a sixth benchmark from one Python file, one YAML and an entry point.

It goes through everything that the five go through, and the package does not know of it.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import pytest
from add_on import block, install_from_page, write_add_on

from video3d_plugin import cli, tasks
from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.errors import DataError

ROOT = Path(__file__).resolve().parent.parent.parent
QUESTIONS = [("1", "How many chairs are there?", "3"), ("2", "How many doors are there?", "1")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page's add-on as an installed distribution, on sys.path while this module's tests run."""
    folder = install_from_page(tmp_path_factory.mktemp("site"), "A benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("roomcount", None)


@pytest.fixture(scope="module")
def annotations(room_root, tmp_path_factory):
    """Files like the page's, about the made-up room."""
    (example,) = json.loads(block("A benchmark", "json"))
    (scene_id,) = (path.name for path in (room_root / "posed_images").iterdir() if path.is_dir())
    ids = [{**example, "scene_id": scene_id, "question_id": i, "question": q, "answer": a} for i, q, a in QUESTIONS]
    folder = tmp_path_factory.mktemp("annotations")
    for split, items in (("train", [*ids, {**example, "scene_id": "elsewhere"}]), ("val", ids)):
        (folder / f"roomcount_{split}.json").write_text(json.dumps(items))
    return folder


@pytest.fixture(scope="module")
def data(site, room_root, annotations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare(room_root, folder, annotations=[annotations])
    return folder


@pytest.fixture(scope="module")
def results(data, tiny_checkpoint, tmp_path_factory):
    """(numbers, folder) of lmms-eval's run on the benchmark, with a model of random weights."""
    from video3d_plugin._startup import install

    install()
    pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (pip install 'video3d-plugin[eval]')")
    from video3d_plugin.evaluate import evaluate

    output = tmp_path_factory.mktemp("results")
    quick = {"max_frames": 2, "max_new_tokens": 2}
    return evaluate(["roomcount"], pretrained=tiny_checkpoint, data=data, output=output, **quick), output


def test_the_benchmark_comes_after_the_built_in_ones(site):
    assert tasks.names() == (*tasks.BUILT_IN, "roomcount") and list(tasks.usable()) == list(tasks.names())
    assert tasks.get("roomcount").names()[0] == "accuracy"
    assert tasks.of_host_name("roomcount_val") == "roomcount"


def test_prepare_writes_its_documents_and_counts_what_is_left_out(data):
    folder = DataFolder.open(data)
    assert folder.tasks()["roomcount", "val"] == folder.tasks()["roomcount", "train"] == 2
    doc = folder.docs("roomcount", "val")[0]
    assert doc["prompt"] == "<image> How many chairs are there? Answer with a number." and doc["answer"] == "3"
    report = json.loads((data / "report.json").read_text())
    (train,) = (t for t in report["tasks"] if (t["task"], t["split"]) == ("roomcount", "train"))
    assert train["items"] == 3 and train["omissions"][0]["of"] == "elsewhere"


def test_its_training_questions_are_those_of_the_file(data):
    from video3d_plugin.training.dataset import training_questions

    questions = training_questions(DataFolder.open(data), ["roomcount"])
    assert [(q.task, q.item_id, q.answer) for q in questions] == [("roomcount", i, a) for i, _, a in QUESTIONS]
    assert not any(question.is_grounding for question in questions)


def test_a_processed_training_item_of_it_is_read(site, tmp_path):
    from video3d_plugin.data.training_files import read_training_files

    turns = [{"from": "human", "value": "<image> How many?"}, {"from": "gpt", "value": "3"}]
    item = {"video": "scannet/s", "conversations": turns, "metadata": {"dataset": "RoomCount"}}
    (tmp_path / "items.json").write_text(json.dumps([item]))
    (question,) = read_training_files(tmp_path / "items.json")
    assert (question.task, question.answer, question.targets) == ("roomcount", "3", None)


def test_lmms_eval_asks_it_and_counts(results):
    numbers, output = results
    assert set(numbers["roomcount"]) == {"accuracy", "count_missing"} and numbers["roomcount"]["count_missing"] == 0
    (path,) = output.rglob("*_samples_roomcount.jsonl")
    records = [json.loads(line)["accuracy"] for line in path.read_text().splitlines()]
    assert [record["reference"] for record in records] == ["3", "1"]
    assert tasks.get("roomcount").aggregate(records)["accuracy"] == numbers["roomcount"]["accuracy"]


def test_any_other_model_gets_its_question_in_plain_words(data, monkeypatch):
    from video3d_plugin.hosts.lmms_eval.state import STATE
    from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

    monkeypatch.setenv("VIDEO3D_DATA", str(data))
    STATE.reset()
    (doc, _) = DataFolder.open(data).docs("roomcount", "val")
    text = SceneTask("roomcount").text(doc, {"frames": 2})
    assert text.startswith("These are 2 frames") and text.endswith("How many chairs are there? Answer with a number.")


@pytest.mark.parametrize("source", ["--data", "--annotations"])
def test_a_file_of_predictions_is_scored(source, data, annotations, tmp_path, capsys):
    lines = [
        {"question_id": "1", "prediction": " 3 "},
        {"question_id": "2", "answer": "two"},
        {"id": "9", "answer": "1"},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    truth = data if source == "--data" else annotations / "roomcount_val.json"
    command = ["score", "roomcount", str(tmp_path / "p.jsonl"), source, str(truth), "--without-meteor", "--json"]
    assert cli.main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["values"] == {"accuracy": 50.0}
    assert printed["counts"]["questions"] == 3 and printed["counts"]["extra"] == 1


def test_the_samples_are_scored_again_and_reported(results, capsys):
    numbers, output = results
    (samples,) = output.rglob("*_samples_roomcount.jsonl")
    assert cli.main(["score", "roomcount", str(samples), "--without-meteor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"] == {"accuracy": numbers["roomcount"]["accuracy"]}
    assert cli.main(["report", str(output), "--without-meteor"]) == 0
    printed, page = capsys.readouterr().out, (output / "report.html").read_text()
    assert re.search(r"^roomcount  \(2 questions", printed, flags=re.M) and "accuracy" in printed
    assert ">roomcount</h2>" in page and "How many chairs are there?" in page


def test_the_viewer_lists_its_questions(results, data, tmp_path):
    (scene_id,) = DataFolder.open(data).scene_ids
    page = tmp_path / "scene.html"
    words = ["view", str(data / scene_id), "--boxes", str(results[1]), "--save", str(page), "--all-frames", "2"]
    assert cli.main([*words, "--no-open", "--max-frames", "2"]) == 0
    assert "How many doors are there?" in page.read_text()


def test_the_package_does_not_know_of_it():
    named = [path for path in (ROOT / "video3d_plugin").rglob("*.py") if "roomcount" in path.read_text().lower()]
    assert named == []


# Add-ons that cannot be used

NAMED = """
import dataclasses, pathlib
from video3d_plugin.tasks import get
TASK = dataclasses.replace(get("scanqa"), name=__name__, yaml_folder=pathlib.Path(__file__).{})
"""


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('of another version')\n", "of another version"),
        ("TASK = 'no spec'\n", "is a str, expected a TaskSpec"),
        ("from video3d_plugin.tasks.scanqa import TASK\n", "its TaskSpec is named 'scanqa'"),
        ("from video3d_plugin.tasks import TaskSpec\nTASK = TaskSpec(name='broken_5')\n", "required keyword-only"),
        (NAMED.format("parent"), "holds installed distributions: use a folder of its own"),
    ],
    ids=["raises", "another type", "another name", "not whole", "no folder of its own"],
)
def test_a_broken_benchmark_is_a_warning_that_names_it_and_stops_nobody(
    module, reason, room_root, tmp_path, monkeypatch, request
):
    name = f"broken_{request.node.callspec.id.replace(' ', '_')}"
    points = {name: f"{name}:TASK"}
    monkeypatch.syspath_prepend(write_add_on(tmp_path / "site", "video3d.tasks", points, {f"{name}.py": module}))
    with pytest.warns(UserWarning, match=rf"task '{name}' \({name}:TASK of addon 1.0\) cannot be loaded: .*{reason}"):
        prepare(room_root, tmp_path / "data")
    assert ("scanrefer", "val") in DataFolder.open(tmp_path / "data").tasks()
    with pytest.raises(DataError, match=reason):
        tasks.get(name)


def test_without_the_add_on_its_prepared_folder_still_opens(data, tmp_path, monkeypatch, site):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(site)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = DataFolder.open(data)
        assert len(folder.docs("roomcount", "val")) == 2 and folder.docs("scanrefer", "val")
    assert cli.main(["score", "roomcount", str(tmp_path / "p.jsonl"), "--data", str(data)]) == 2


def test_a_name_that_cannot_be_one_of_files_is_refused(tmp_path, monkeypatch):
    module = NAMED.replace("__name__", "'a-b'").format("parent / 'yaml'")
    points = {"a-b": "broken_name:TASK"}
    monkeypatch.syspath_prepend(write_add_on(tmp_path, "video3d.tasks", points, {"broken_name.py": module}))
    with pytest.raises(DataError, match="task 'a-b' .* must have 1 to 100 letters, digits and _"):
        tasks.get("a-b")
