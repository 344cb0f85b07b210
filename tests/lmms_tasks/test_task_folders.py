"""The YAML files say what the code does: metrics, splits, official scorers; and they work without data until run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from video3d_plugin.tasks import BUILT_IN, VIDEO3D_LLM, get

FOLDER = Path(__file__).resolve().parent.parent.parent / "lmms_tasks"
SCORERS = {
    "scanrefer": "ScanRefer",
    "multi3drefer": "M3DRef-CLIP",
    "scan2cap": "Scan2Cap",
    "scanqa": "ScanQA",
    "sqa3d": "SQA3D",
}


class Loader(yaml.SafeLoader):
    """Reads `!function utils.name` as the name."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def load(path: Path) -> dict:
    """A YAML file with what it includes, as lmms-eval merges them."""
    content = yaml.load(path.read_text(), Loader)
    included = content.pop("include", None)
    return {**(load(path.parent / included) if included else {}), **content}


TASK_FILES = sorted(FOLDER.glob("*/*.yaml"))


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: path.stem)
def test_a_file_is_named_after_its_task_and_names_functions_that_exist(path):
    content = load(path)
    assert content["task"] == path.stem
    source = (path.parent / "utils.py").read_text()
    names = {name for name in re.findall(r"utils\.(\w+)", json.dumps(content))}
    namespace: dict = {}
    exec(compile(source, str(path.parent / "utils.py"), "exec"), namespace)
    assert names and names <= namespace.keys()
    metadata = content["metadata"]
    docs = content["process_docs"].removeprefix("utils.docs_")
    assert metadata["video3d_task"] == path.parent.name and docs in (metadata["video3d_split"], "mini")


@pytest.mark.parametrize("task", BUILT_IN)
def test_the_listed_metrics_are_those_that_the_code_gives(task):
    content = load(FOLDER / task / f"{task}.yaml")
    listed = [metric["metric"] for metric in content["metric_list"]]
    assert sorted(listed) == sorted(get(task).metrics)
    assert set(listed) <= set(get(task).names())
    assert set(get(task).headline) <= set(listed)
    for metric in content["metric_list"]:
        assert metric["higher_is_better"] is not metric["metric"].startswith("count_")


@pytest.mark.parametrize("task", VIDEO3D_LLM)
def test_a_folder_opens_with_a_sample_the_scorers_commit_and_the_differences(task, goldens):
    head = (FOLDER / task / f"{task}.yaml").read_text().split("include:")[0]
    assert "# One question" in head and "# Official scorer: github.com/" in head and "# Known differences:" in head
    golden = goldens / "metrics" / "scanrefer.json"
    if not golden.is_file():
        pytest.skip(f"{golden} is not there")
    assert json.loads(golden.read_text())["meta"]["commits"][SCORERS[task]] in head


def test_the_groups_hold_the_five_benchmarks():
    for name, suffix in (("video3d_all", ""), ("video3d_mini", "_mini")):
        group = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        assert group["group"] == name
        assert group["task"] == [f"{task}{suffix}" for task in VIDEO3D_LLM]


def test_the_published_setting_is_greedy_and_512_tokens():
    options = load(FOLDER / "scanqa" / "scanqa.yaml")["generation_kwargs"]
    assert options == {"max_new_tokens": 512, "temperature": 0, "do_sample": False, "num_beams": 1}


def test_only_tasks_carry_the_yaml_suffix():
    """lmms-eval reads every .yaml as a task: the shared part must not have that suffix."""
    assert {path.name for path in FOLDER.rglob("*.yaml")} == {
        *(path.name for path in TASK_FILES), "video3d_all.yaml", "video3d_mini.yaml"
    }  # fmt: skip
