"""`video3d doctor`: one line a part, and an exit status that says whether what was asked for can work."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from stubs import python, stub

from video3d_plugin import cli, dependencies
from video3d_plugin.cli.doctor import command, data, entry_points, hosts, libraries, machine, training
from video3d_plugin.cli.doctor.check import Check, survived
from video3d_plugin.dependencies import remedy_for


@pytest.fixture
def report(capsys, monkeypatch):
    """Arguments -> (status, {part: check}) of a quick report."""

    def report(*arguments, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status = cli.main(["doctor", "--json", "--quick", *arguments])
        content = json.loads(capsys.readouterr().out)
        assert content["ok"] == (status == 0)
        return status, {check["part"]: check for check in content["checks"]}

    for name in ("VIDEO3D_DATA", "LLAVA_NEXT_SRC"):
        monkeypatch.delenv(name, raising=False)
    return report


def test_a_healthy_installation_names_versions_and_places(report):
    status, checks = report()
    assert status == 0
    assert checks["torch"]["status"] == checks["transformers"]["status"] == "ok"
    assert checks["data"] == {
        "part": "data", "status": "absent", "found": "VIDEO3D_DATA is not set",
        "remedy": "video3d prepare SOURCE --output DATA", "needs": "data",
    }  # fmt: skip


def test_what_is_absent_is_a_problem_once_it_is_needed(report):
    status, checks = report("--need", "data")
    assert status == 1 and checks["data"]["status"] == "problem"


def test_a_data_folder_that_was_named_and_is_none_is_a_problem(report, tmp_path):
    status, checks = report(VIDEO3D_DATA=str(tmp_path))
    assert status == 1 and str(tmp_path) in checks["data"]["found"]


def test_a_data_folder_says_what_is_in_it_and_when_its_frames_are_gone(report, benchmark_folder, tmp_path):
    status, checks = report(VIDEO3D_DATA=str(benchmark_folder))
    assert status == 0 and "2 scenes" in checks["data"]["found"] and "sqa3d test" in checks["data"]["found"]
    import shutil

    shutil.copytree(benchmark_folder, tmp_path / "alone")
    record = next((tmp_path / "alone" / "scenes").iterdir())
    gone = [str(tmp_path / "gone")] * 2
    record.write_text(json.dumps({**json.loads(record.read_text()), "root": gone}))
    status, checks = report(VIDEO3D_DATA=str(tmp_path / "alone"))
    assert status == 1 and "frames of 1 of 2 scenes are gone" in checks["data"]["found"]


def test_a_large_data_folder_is_looked_at_here_and_there(report, benchmark_folder, monkeypatch):
    monkeypatch.setattr(data, "SCENES_READ", 2)
    from video3d_plugin.data.folder import DataFolder

    read, folder = [], DataFolder.open(benchmark_folder)
    scene = folder.scene(folder.scene_ids[0])
    monkeypatch.setattr(DataFolder, "scene", lambda self, name: read.append(name) or scene)
    monkeypatch.setattr(DataFolder, "scene_ids", tuple(f"scene{i:04d}" for i in range(500)))
    status, checks = report(VIDEO3D_DATA=str(benchmark_folder))
    assert status == 0 and "500 scenes (2 of them looked at)" in checks["data"]["found"]
    assert read == ["scene0000", "scene0499"]


def test_scenes_to_look_at_are_spread_over_the_folder():
    items = tuple(map(str, range(100)))
    assert data.spread(items[:3], 8) == items[:3] and data.spread((), 8) == ()
    chosen = data.spread(items, 8)
    assert len(set(chosen)) == 8 and (chosen[0], chosen[-1]) == ("0", "99")


def test_a_torch_that_cannot_be_imported_does_not_end_the_report(monkeypatch):
    monkeypatch.setattr(machine, "_GPU", "report(['libcudart.so: cannot open', None, []])")
    (check,) = machine.gpu()
    assert check.status == "problem" and "libcudart.so" in check.found


def test_hooks_that_were_turned_off_are_named(report):
    assert report(VIDEO3D_HOOKS="0")[1]["hooks"]["found"] == "off: VIDEO3D_HOOKS=0"
    assert report("--need", "hooks", VIDEO3D_HOOKS="0")[0] == 1


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """A distribution `madeup` with a model and two samplers, of which one is there; the folder that holds it."""
    body = "def look(scene, max_frames, coverage): return []\nclass Model: pass"
    folder = stub(tmp_path / "madeup", "madeup", "3.0", body)
    (folder / "madeup-3.0.dist-info" / "entry_points.txt").write_text(
        "[video3d.frame_samplers]\nlook = madeup:look\nbroken = madeup:gone\n[video3d.models]\ntheirs = madeup:Model\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return folder


def test_the_entry_points_of_others_are_listed_and_a_broken_one_is_named(third_party, monkeypatch):
    monkeypatch.setattr(entry_points, "GROUPS", {"video3d.models": ((), True), "video3d.frame_samplers": ((), True)})
    ours = ("video3d", "uniform", "mc", "mc-ratio90", "mc-ratio95")
    checks = {check.part.removeprefix("entry point "): check for check in entry_points.entry_points()}
    theirs = {part: check for part, check in checks.items() if part.split(":")[1] not in ours}
    assert {part: check.status for part, check in theirs.items()} == {
        "video3d.models:theirs": "ok", "video3d.frame_samplers:look": "ok", "video3d.frame_samplers:broken": "problem",
    }  # fmt: skip
    broken = theirs["video3d.frame_samplers:broken"]
    assert "madeup:gone of madeup" in broken.found and "has no attribute 'gone'" in broken.found
    assert "madeup" in broken.remedy


def test_a_quick_report_lists_entry_points_without_loading_them(report, third_party):
    status, checks = report()
    found = checks["entry point video3d.frame_samplers:broken"]
    assert status == 0 and found["status"] == "ok" and found["found"].endswith("not loaded")


def test_both_opencv_wheels_at_once_are_a_problem(monkeypatch):
    monkeypatch.setattr(libraries, "version_of", lambda name: "1.0")
    (clash,) = [check for check in libraries.libraries() if check.part == "opencv"]
    assert clash.status == "problem" and "pip uninstall" in clash.remedy


def test_what_an_extra_installs_is_absent_and_named_by_it(monkeypatch):
    monkeypatch.setattr(libraries, "version_of", lambda name: None)
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    checks = {check.part: check for check in [*libraries.libraries(), *training.checks()]}
    for part, extra in (("shtab", "completion"), ("datasets", "eval"), ("LLaVA-NeXT's imports", "llava")):
        assert (checks[part].status, checks[part].remedy) == ("absent", f"pip install 'video3d-plugin[{extra}]'")
    assert checks["torch"].status == "problem"


def test_flash_attention_is_installed_without_build_isolation_and_after_torch(monkeypatch):
    monkeypatch.setattr(machine, "version_of", lambda name: None)
    (check,) = machine.flash_attention()
    assert check.remedy.startswith("pip install --no-build-isolation flash-attn (after torch)")


@pytest.mark.parametrize("use", libraries.USES)
def test_the_modules_of_each_use_exist(use):
    for module in libraries.USES[use].modules:
        if module.startswith("video3d_plugin."):
            assert find_spec(module), module


def test_a_host_that_cannot_be_imported_is_a_problem_not_a_crash(monkeypatch):
    monkeypatch.setattr(hosts, "_PATCHES", "raise SystemExit('libcudart.so: cannot open')")
    (check,) = hosts.patches()
    assert check.status == "problem" and "libcudart.so" in check.found


@pytest.mark.parametrize(
    ("use", "status", "found"),
    [
        (libraries.Use(("json", "colorsys")), "ok", "all can be imported"),
        (libraries.Use(("json",), optional=("no-such-dist",), needs="serve"), "absent", "not installed: no-such-dist"),
        (libraries.Use(("json", "no_such_module")), "problem", "no_such_module is not installed"),
        (libraries.Use((), after="raise RuntimeError('first\\nsecond')"), "problem", "RuntimeError: first"),
        (libraries.Use((), before="import os; os.abort()"), "problem", "ended by signal 6"),
        (libraries.Use((), before="import sys; sys.exit('went away')"), "problem", "ended with status 1: went away"),
    ],
)
def test_what_a_use_imports_is_imported_in_a_process_of_its_own(monkeypatch, use, status, found):
    monkeypatch.setattr(libraries, "USES", {"made up": use})
    (check,) = libraries.imports()
    assert (check.part, check.status) == ("imports for made up", status) and check.found.startswith(found), check
    assert status == "ok" or check.remedy


def test_a_check_that_fails_itself_is_a_problem_and_the_report_goes_on():
    def checks():
        yield Check("first", "ok", "fine")
        raise RuntimeError("broken\nin two lines")

    assert list(survived("part", checks))[1:] == [Check("part", "problem", "RuntimeError: broken", "see the reason")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part"), [("filelock", "imports for evaluation"), ("transformers", "imports for asking")]
)
def test_a_dependency_that_is_too_new_is_a_problem_with_a_remedy(name, part, tmp_path, monkeypatch):
    """doctor itself still reports everything else."""
    monkeypatch.setattr(dependencies, "version_of", lambda distribution: "99.0")  # as in the other process
    done = python(stub(tmp_path / "stubs", name, "99.0"), "-m", "video3d_plugin.cli", "doctor", "--json")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    checks = {check["part"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks[part]["status"] == "problem" and f"{name} 99.0 " in checks[part]["found"], checks[part]
    assert "\n" not in checks[part]["found"] and remedy_for(name) in checks[part]["found"]
    assert checks["python"]["status"] == "ok" and "java" in checks and "data" in checks


def checkout(folder, body: str = "pass"):
    (folder / "llava" / "train").mkdir(parents=True)
    (folder / "llava" / "train" / "train.py").write_text(f"import deepspeed\n\ndef train():\n    {body}\n")
    return folder


def test_a_checkout_that_train_was_written_for_is_told_from_others(report, tmp_path, monkeypatch):
    from video3d_plugin.hosts.llava_next import train
    from video3d_plugin.hosts.source_check import digest_in_file

    known, other = checkout(tmp_path / "known", "return 1"), checkout(tmp_path / "other", "return 2")
    digest = digest_in_file(known / "llava" / "train" / "train.py", "train")
    monkeypatch.setattr(train, "KNOWN_TRAIN", {digest: "LLaVA-NeXT 1234567"})
    status, checks = report("--llava", str(known))
    assert checks["LLaVA-NeXT checkout"]["status"] == "ok" and "1234567" in checks["LLaVA-NeXT checkout"]["found"]
    assert status == 0
    status, checks = report(LLAVA_NEXT_SRC=str(other))
    assert status == 1 and "LLaVA-NeXT 1234567" in checks["LLaVA-NeXT checkout"]["remedy"]
    status, checks = report("--llava", str(tmp_path))
    assert status == 1 and str(tmp_path) in checks["LLaVA-NeXT checkout"]["found"]


def test_the_digest_of_a_file_is_that_of_the_function(tmp_path):
    from video3d_plugin.hosts import source_check

    assert source_check.digest_in_file(Path(source_check.__file__), "find_host") == source_check.source_digest(
        source_check.find_host
    )
    assert source_check.digest_in_file(Path(source_check.__file__), "no_such") is None


def test_what_training_needs_is_a_problem_when_asked_for(report, monkeypatch):
    monkeypatch.setattr(hosts, "find_host", lambda *names: None)
    monkeypatch.setattr(training, "find_host", lambda *names: None)
    monkeypatch.setattr(training, "version_of", {"transformers": "5.1.0"}.get)
    status, checks = report()
    assert status == 0
    for part in ("LLaVA-NeXT checkout", "transformers under LLaVA-NeXT", "deepspeed", "LoRA"):
        assert checks[part]["status"] == "absent" and checks[part]["remedy"], part
    assert "torchrun" in checks["launchers"]["found"]
    for need in ("llava-training", "deepspeed", "lora"):
        assert report("--need", need)[0] == 1


@pytest.mark.parametrize(
    ("state", "status"),
    [("applied", "ok"), ("not needed", "ok"), ("absent", "absent"), ("mismatch", "problem"), ("failed", "problem")],
)
def test_each_state_of_a_patch_has_its_status(monkeypatch, state, status):
    monkeypatch.setattr(hosts, "_PATCHES", f"print('noise'); report([['p', '{state}', 'why']])")
    (check,) = hosts.patches()
    assert (check.part, check.status, check.found) == ("patch p", status, f"{state}: why")


@pytest.mark.slow
def test_the_probe_reports_every_patch():
    from video3d_plugin.patches import registry

    if not all(__import__("importlib").util.find_spec(name) for name in ("lmms_eval", "torchvision")):
        pytest.skip("lmms-eval and torchvision are not installed")
    checks = list(hosts.patches())
    assert [check.part for check in checks] == [f"patch {name}" for name in registry.NAMES]
    assert all(check.status in ("ok", "absent") for check in checks), checks


def test_the_report_for_people_has_a_line_each_and_a_verdict(capsys, monkeypatch):
    monkeypatch.setattr(
        command, "all_checks", lambda quick, llava: [Check("a", "ok", "fine"), Check("bb", "problem", "x", "do y")]
    )
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == ["ok      a   fine", "problem bb  x  -> do y", "1 problem"]
