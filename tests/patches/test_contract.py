"""One contract for all patches, in processes of their own: both import orders, twice, undone, undone twice, altered."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from video3d_plugin.patches import registry
from video3d_plugin.patches.base import Patch, PatchMismatch, Replace

from video3d_plugin import _startup

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LEDGER = ROOT / "patches" / "README.md"


def run_probe(argument: str) -> dict:
    pytest.importorskip("lmms_eval", reason="the patches' host, lmms-eval, is not installed")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    environment["VIDEO3D_HOOKS"] = "1" if argument == "hook first" else "0"  # this environment may have the hook, too
    done = subprocess.run(
        [sys.executable, str(HERE / "probe.py"), argument], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)[1])


@pytest.mark.parametrize("order", ["hook first", "host first"])
def test_every_patch_applies_twice_and_is_undone_twice(order):
    seen = run_probe(order)
    assert set(seen) == set(registry.NAMES)
    for name, steps in seen.items():
        if steps[0].startswith("absent"):
            assert name.startswith("llava"), (name, steps)
            continue
        before, applied, again, undone, restored, undone_again, reapplied = steps
        if applied == "not needed":  # a torchvision that loads beside its torch, say
            assert (again, undone_again, reapplied) == ("same", "same", "not needed"), (name, steps)
            continue
        early = order == "hook first" or name in ("torchvision_operators", "llava_transformers_names")
        waiting = "applied" if early else "waiting"
        assert before == waiting, (name, steps)
        assert steps[1:] == ["applied", "same", "undone", "restored", "same", "applied"], (name, steps)


def test_an_altered_host_is_left_alone_and_the_version_that_works_is_named():
    seen = run_probe("altered")
    expected = {name: set(registry.get(name).known) for name in registry.NAMES if registry.get(name).known}
    absent = {name for name, functions in seen.items() if "absent" in functions}
    assert all(name.startswith("llava") for name in absent), seen  # it is on no registry
    assert {n: set(functions) for n, functions in seen.items() if n not in absent} == {
        n: functions for n, functions in expected.items() if n not in absent
    }
    for name in set(seen) - absent:
        for dotted, message in seen[name].items():
            works = {version for versions in registry.get(name).known.values() for version in versions.values()}
            assert "is not code it was written for" in message, (name, dotted, message)
            assert all(version in message for version in works), (name, dotted, message)


def test_the_start_up_table_and_the_registry_agree():
    after = {name: target for target, names in _startup.AFTER_IMPORT.items() for name in names}
    before = {name: host for host, names in _startup.BEFORE_IMPORT.items() for name in names}
    patches = [registry.get(name) for name in registry.NAMES]
    assert after == {patch.name: patch.target for patch in patches if patch.before is None}
    assert before == {patch.name: patch.before for patch in patches if patch.before is not None}


def test_each_module_of_the_folder_is_registered_and_declares_its_own_name():
    modules = {path.stem for path in (ROOT / "patches").glob("*.py")} - {"__init__", "base", "registry"}
    assert modules == set(registry.NAMES)
    for name in registry.NAMES:
        assert registry.get(name).name == name


def test_ledger_and_code_agree():
    sections = re.split(r"^## ", LEDGER.read_text(), flags=re.MULTILINE)[1:]
    entries = {section.split("\n", 1)[0].strip(" `"): section for section in sections}
    assert set(entries) == set(registry.NAMES)
    for name, text in entries.items():
        for field in ("Target", "Seen", "Why", "Checked", "Goes when"):
            assert re.search(rf"^- \*\*{field}\*\*: \S", text, re.MULTILINE), f"{name}: the ledger lacks {field}"
        patch = registry.get(name)
        assert f"`{patch.target}" in text and f"`{patch.before or patch.target}" in text, f"{name}: other target"
        for version in {v for seen in patch.known.values() for v in seen.values()}:
            assert version in text, f"{name}: {version} is not in the ledger"


def test_importing_a_patch_imports_no_host():
    hosts = {"lmms_eval", "torchvision", "torch", "transformers", "llava"}
    for path in (ROOT / "patches").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & hosts, path


# The engine itself, on a made-up host.


class Host:
    @staticmethod
    def one():
        return "one"

    @staticmethod
    def two():
        return "two"


def patch_with(changes, **options) -> Patch:
    return Patch(name="made_up", target=__name__, why="test", known={}, changes=changes, **options)


@pytest.fixture
def made_up(monkeypatch):
    """Let the registry know a patch of ours, and forget it afterwards."""

    def use(patch: Patch) -> None:
        monkeypatch.setattr(registry, "get", lambda name: patch)

    yield use
    registry.undo("made_up")


def test_a_failing_change_takes_the_earlier_ones_back(made_up):
    class Fails(Replace):
        def do(self):
            raise RuntimeError("no")

    before = dict(vars(Host))
    made_up(patch_with(lambda module: [Replace(Host, "one", lambda: 1), Fails(Host, "two", None)]))
    with pytest.raises(RuntimeError):
        registry.apply("made_up")
    assert dict(vars(Host)) == before


def test_undoing_is_refused_whole_when_somebody_wrapped_the_wrapper(made_up, monkeypatch):
    made_up(patch_with(lambda module: [Replace(Host, "one", lambda: 1), Replace(Host, "two", lambda: 2)]))
    registry.apply("made_up")
    ours = vars(Host)["two"]
    monkeypatch.setattr(Host, "two", staticmethod(lambda: 3))
    with pytest.raises(PatchMismatch, match="two was replaced again"):
        registry.undo("made_up")
    assert Host.one() == 1
    Host.two = ours
    assert registry.undo("made_up").status == "undone" and Host.one() == "one" and Host.two() == "two"


def test_an_inherited_attribute_is_removed_again_not_copied_down(made_up):
    class Child(Host):
        pass

    made_up(patch_with(lambda module: [Replace(Child, "one", staticmethod(lambda: 1))]))
    registry.apply("made_up")
    assert Child.one() == 1
    registry.undo("made_up")
    assert "one" not in vars(Child) and Child.one() == "one"


def test_the_hook_warns_of_a_patch_that_cannot_be_applied_and_goes_on(made_up):
    def refuse(module):
        raise PatchMismatch("patch made_up: other code")

    made_up(patch_with(refuse))
    with pytest.warns(RuntimeWarning, match="made_up: other code"):
        registry.apply_quietly(("made_up",))
    assert registry.state("made_up").status == "mismatch"


def test_an_unknown_patch_lists_the_known_ones():
    with pytest.raises(Exception, match="lmms_eval_task_folder"):
        registry.get("no_such_patch")
