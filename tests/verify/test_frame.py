"""The frame of `video3d verify`: which kinds run, what is printed, what the exit status says."""

from __future__ import annotations

import json
import sys
import types

import pytest

from video3d_plugin import cli
from video3d_plugin import verify as verify_package
from video3d_plugin.errors import MissingError
from video3d_plugin.verify import SHIPPED_GOLDENS, CaseResult, verify


@pytest.fixture
def made_up_kind(monkeypatch):
    """A kind whose cases read their difference from a file, so that the frame is seen to pass numbers on."""
    module = types.ModuleType("made_up_kind")

    def compute(folder, *, device, dtype):
        for path in sorted(folder.iterdir()):
            worst = float(path.read_text())
            yield CaseResult("made_up", path.name, worst, 1e-4, worst <= 1e-4)

    module.verify = compute
    monkeypatch.setitem(sys.modules, "made_up_kind", module)
    monkeypatch.setattr(verify_package, "KINDS", {"made_up": "made_up_kind"})
    return "made_up"


def case(folder, kind, name, worst):
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / name).write_text(str(worst))


def test_cases_that_agree_exit_with_zero_and_print_a_line_each(tmp_path, made_up_kind, capsys):
    case(tmp_path, made_up_kind, "one", 3.1e-6)
    assert cli.main(["verify", str(tmp_path)]) == 0
    assert "made_up/one  max|Δ| 3.1e-06  ok" in capsys.readouterr().out


def test_one_case_out_is_a_nonzero_exit(tmp_path, made_up_kind, capsys):
    case(tmp_path, made_up_kind, "one", 3.1e-6)
    case(tmp_path, made_up_kind, "two", 0.5)
    assert cli.main(["verify", str(tmp_path)]) == 1
    assert "1 of 2 cases agree; 1 OUT" in capsys.readouterr().out


def test_json_holds_every_case(tmp_path, made_up_kind, capsys):
    case(tmp_path, made_up_kind, "one", 0.5)
    assert cli.main(["verify", str(tmp_path), "--json"]) == 1
    (only,) = json.loads(capsys.readouterr().out)
    assert (only["case"], only["worst"], only["ok"]) == ("one", 0.5, False)


def test_a_kind_that_is_not_there_is_an_error_and_not_a_pass(tmp_path, made_up_kind):
    with pytest.raises(MissingError, match="made_up"):
        list(verify(tmp_path, ["made_up"]))


def test_an_empty_kind_is_not_a_pass(tmp_path, made_up_kind):
    (tmp_path / made_up_kind).mkdir()
    assert cli.main(["verify", str(tmp_path)]) == 1


def test_without_a_folder_the_installed_goldens_are_checked(capsys):
    assert cli.main(["verify", "--kind", "training", "--json"]) == 0
    cases = {result["case"]: result for result in json.loads(capsys.readouterr().out)}
    assert set(cases) == {"default", "head_score"} and all(0 < case["worst"] < 1e-3 for case in cases.values())


def test_the_installed_goldens_hold_every_kind_but_the_images(capsys):
    assert {path.name for path in SHIPPED_GOLDENS.iterdir() if path.is_dir()} == {"model", "training", "metrics"}
    assert cli.main(["verify", "--kind", "video_processor"]) == 2
    assert "no video_processor (its kinds: model, training, metrics)" in capsys.readouterr().err
