"""`video3d doctor`: one line a part, and an exit status that says whether what was asked for can work."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from video3d_plugin import cli, doctor
from video3d_plugin.doctor import Check


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


def test_hooks_that_were_turned_off_are_named(report):
    assert report(VIDEO3D_HOOKS="0")[1]["hooks"]["found"] == "off: VIDEO3D_HOOKS=0"
    assert report("--need", "hooks", VIDEO3D_HOOKS="0")[0] == 1


def test_an_entry_point_that_cannot_be_loaded_is_a_problem(monkeypatch):
    def fail():
        raise ImportError("no module named gone")

    broken = SimpleNamespace(name="theirs", value="gone:sampler", load=fail)
    monkeypatch.setattr(doctor.metadata, "entry_points", lambda group: [broken] if "samplers" in group else [])
    checks = {check.part: check for check in doctor.entry_points()}
    found = checks["entry point video3d.frame_samplers:theirs"]
    assert found.status == "problem" and "no module named gone" in found.found


def test_both_opencv_wheels_at_once_are_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: "1.0")
    (clash,) = [check for check in doctor.libraries() if check.part == "opencv"]
    assert clash.status == "problem" and "pip uninstall" in clash.remedy


def test_a_host_that_cannot_be_imported_is_a_problem_not_a_crash(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", "raise SystemExit('libcudart.so: cannot open')")
    (check,) = doctor.patches()
    assert check.status == "problem" and "libcudart.so" in check.found


def checkout(folder, body: str = "pass"):
    (folder / "llava" / "train").mkdir(parents=True)
    (folder / "llava" / "train" / "train.py").write_text(f"import deepspeed\n\ndef train():\n    {body}\n")
    return folder


def test_a_checkout_that_train_was_written_for_is_told_from_others(report, tmp_path, monkeypatch):
    from video3d_plugin.hosts import llava_next
    from video3d_plugin.hosts.guard import digest_in_file

    known, other = checkout(tmp_path / "known", "return 1"), checkout(tmp_path / "other", "return 2")
    digest = digest_in_file(known / "llava" / "train" / "train.py", "train")
    monkeypatch.setattr(llava_next, "KNOWN_TRAIN", {digest: "LLaVA-NeXT 1234567"})
    status, checks = report("--llava", str(known))
    assert checks["LLaVA-NeXT checkout"]["status"] == "ok" and "1234567" in checks["LLaVA-NeXT checkout"]["found"]
    assert status == 0
    status, checks = report(LLAVA_NEXT_SRC=str(other))
    assert status == 1 and "LLaVA-NeXT 1234567" in checks["LLaVA-NeXT checkout"]["remedy"]
    status, checks = report("--llava", str(tmp_path))
    assert status == 1 and str(tmp_path) in checks["LLaVA-NeXT checkout"]["found"]


def test_the_digest_of_a_file_is_that_of_the_function(tmp_path):
    from video3d_plugin.hosts import guard

    assert guard.digest_in_file(Path(guard.__file__), "find_host") == guard.source_digest(guard.find_host)
    assert guard.digest_in_file(Path(guard.__file__), "no_such") is None


def test_what_training_needs_is_a_problem_when_asked_for(report, monkeypatch):
    from video3d_plugin import doctor_training

    monkeypatch.setattr(doctor, "find_host", lambda *names: None)
    monkeypatch.setattr(doctor_training, "find_host", lambda *names: None)
    monkeypatch.setattr(doctor_training, "version_of", {"transformers": "5.1.0"}.get)
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
    monkeypatch.setattr(doctor, "PROBE", f"print('noise'); print('PATCHES ' + '[[\"p\", \"{state}\", \"why\"]]')")
    (check,) = doctor.patches()
    assert (check.part, check.status, check.found) == ("patch p", status, f"{state}: why")


@pytest.mark.slow
def test_the_probe_reports_every_patch():
    from video3d_plugin.patches import registry

    if not all(__import__("importlib").util.find_spec(name) for name in ("lmms_eval", "torchvision")):
        pytest.skip("lmms-eval and torchvision are not installed")
    checks = list(doctor.patches())
    assert [check.part for check in checks] == [f"patch {name}" for name in registry.NAMES]
    assert all(check.status in ("ok", "absent") for check in checks), checks


def test_the_report_for_people_has_a_line_each_and_a_verdict(capsys, monkeypatch):
    monkeypatch.setattr(
        doctor, "all_checks", lambda quick, llava: [Check("a", "ok", "fine"), Check("bb", "problem", "x", "do y")]
    )
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == ["ok      a   fine", "problem bb  x  -> do y", "1 problem"]
