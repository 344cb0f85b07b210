"""Every benchmark's record is whole, and its parts agree; none of it stands anywhere else."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from video3d_plugin import tasks
from video3d_plugin.errors import DataError
from video3d_plugin.tasks.question_answering import question_answering
from video3d_plugin.tasks.spec import boxes_of_record
from video3d_plugin.tasks.systems import KNOWN

PACKAGE = Path(tasks.__file__).resolve().parent.parent
SPECS = [pytest.param(spec, id=name) for name, spec in tasks.usable().items() if name in tasks.BUILT_IN]
NAMES = re.compile("|".join(tasks.BUILT_IN), re.IGNORECASE)
# Goldens are named after the programs that printed them, and help shows an example.
MAY_NAME = ("tasks/", "mini/", "verify/", "cli/__init__.py", "cli/")
# The embedded small model's rooms, curriculum and demo.
SMALL_MODEL = ("data/synthetic/", "demo.py", "training/presets.py", "training/told.py")


def texts_naming_a_benchmark(source: str) -> list[str]:
    """The strings of a module, documentation apart, that name a benchmark."""
    tree = ast.parse(source)
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr)
    }
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in texts if id(node) not in documented and NAMES.search(node.value)]


def test_no_module_outside_tasks_names_a_benchmark():
    named = {
        str(path.relative_to(PACKAGE)): texts
        for path in PACKAGE.rglob("*.py")
        if not str(path.relative_to(PACKAGE)).startswith(MAY_NAME + SMALL_MODEL)
        if (texts := texts_naming_a_benchmark(path.read_text()))
    }
    assert named == {}, "say it in the benchmark's TaskSpec, and derive the table from tasks.usable()"


def test_a_table_of_benchmarks_is_seen_and_documentation_is_not():
    assert texts_naming_a_benchmark('"""As ScanQA does."""\nLIMITS = {"scanqa": 3}\n') == ["scanqa"]
    assert texts_naming_a_benchmark('def f():\n    """ScanRefer."""\n    return "rooms"\n') == []


@pytest.mark.parametrize("spec", SPECS)
def test_splits_and_numbers_of_a_benchmark_agree(spec):
    names = set(spec.names())
    assert spec.eval_split in spec.files and set(spec.hidden_splits) <= set(spec.files) - {spec.eval_split}
    assert set(spec.headline) <= set(spec.metrics) <= names and len(set(spec.metrics)) == len(spec.metrics)
    assert not spec.metrics[0].startswith("count_")
    assert {name for numbers in spec.published.values() for name in numbers} <= names
    assert set(spec.published) <= {system.name for system in KNOWN}
    assert (spec.item_score is None) != (spec.corpus_scores is None) and spec.score_meaning
    assert spec.submission is None or spec.hidden_splits


@pytest.mark.parametrize("spec", SPECS)
def test_a_benchmark_s_module_opens_with_a_sample_and_links_the_scorer(spec):
    source = (PACKAGE / "tasks" / f"{spec.name}.py").read_text()
    head = ast.get_docstring(ast.parse(source)) or ""
    assert '{"scene_id": "scene' in head and re.search(r"^Official scorer: https://github\.com/\S+/\S+", head, re.M)


def test_a_spec_is_frozen_and_changed_with_replace():
    spec = tasks.get("scanqa")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"
    assert dataclasses.replace(spec, question_count=3).question_count == 3 and spec.question_count == 4675


@pytest.mark.parametrize(
    ("task", "item", "keys"),
    [
        ("scanrefer", {"scene_id": "s", "object_id": 5, "ann_id": "0"}, ["s|5|0"]),
        ("scanrefer", {"scene_id": "s", "object_id": None, "ann_id": "0"}, []),
        ("scan2cap", {"scene_id": "s", "object_id": "5", "object_name": "chair"}, ["s|5|chair", "s|5"]),
        ("scan2cap", {"scene_id": "s", "object_id": "5"}, ["s|5"]),
        ("sqa3d", {"scene_id": "s", "situation": "I sit.", "question": "Why?"}, ["s|I sit.|Why?"]),
        ("sqa3d", {}, []),
    ],
)
def test_ids_are_those_whose_fields_are_all_there(task, item, keys):
    assert tasks.get(task).keys(item) == keys


def test_the_host_s_variants_belong_to_their_benchmark():
    assert [tasks.of_host_name(n) for n in ("scanqa", "scanqa_test_w_obj", "scanqapro", "mmlu")] == [
        "scanqa", "scanqa", None, None
    ]  # fmt: skip
    assert tasks.is_grounding("scanrefer") and not tasks.is_grounding("scanqa") and not tasks.is_grounding("vsibench")


def test_a_record_without_boxes_draws_none():
    assert boxes_of_record({}) == ([], []) and boxes_of_record({"gt_box": [1] * 6, "box": None}) == ([[1] * 6], [])


@pytest.mark.parametrize("change", [{"question_id": None}, {"answer": 3}, {"scene_id": ""}])
def test_an_item_of_a_question_answering_file_that_is_not_whole_is_named(tmp_path, change):
    item = {"scene_id": "s", "question_id": "1", "question": "Why?", "answer": "so"} | change
    path = tmp_path / "made_up.json"
    path.write_text(__import__("json").dumps([item]))
    spec = question_answering("made_up", {"val": path.name}, "<image> {question}", lambda records: {"a": None}, ["a"])
    (field,) = change
    with pytest.raises(DataError, match=rf"{path.name}: item 0\b.*\b{field}\b"):
        spec.read([path])
