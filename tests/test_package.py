"""The package as installed: light to import, its public names and its commands all there."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

import video3d_plugin
from video3d_plugin import cli
from video3d_plugin.cli.parser import COMMANDS, build_parser, commands_of


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_package_imports_nothing_heavy_and_changes_nothing():
    code = (
        "import os, sys, logging; before = dict(os.environ), list(logging.getLogger().handlers);"
        "import video3d_plugin, video3d_plugin.cli, video3d_plugin.scene;"
        "assert before == (dict(os.environ), list(logging.getLogger().handlers));"
        "print([m for m in ('torch', 'transformers', 'cv2', 'datasets', 'lmms_eval') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("name", ["video3d_plugin.patches.registry", "video3d_plugin.lmms_tasks"])
def test_what_lies_beside_the_package_in_a_checkout_is_part_of_it(name):
    assert run_python(f"import {name}; print({name}.__name__)").strip() == name


@pytest.mark.parametrize("name", ["tests", "benchmarks", "docs", "examples", "video3d_plugin"])
def test_nothing_else_of_a_checkout_is_part_of_it(name):
    assert find_spec(f"video3d_plugin.{name}") is None
    with pytest.raises(ModuleNotFoundError):
        import_module(f"video3d_plugin.{name}")


def test_every_public_name_resolves():
    for name in video3d_plugin.__all__:
        assert getattr(video3d_plugin, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(video3d_plugin, "no_such_" + "name")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"examples?:\s+video3d {command}", text)
    assert callable(import_module(COMMANDS[command].module).run)


def options_without_help(parser) -> list[str]:
    """Arguments, positional ones included, whose help is missing or empty."""
    return [
        " ".join(action.option_strings) or action.dest
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction) and not (action.help or "").strip()
    ]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_option_has_help(command):
    parser = build_parser((command,) if command else ())
    assert options_without_help(commands_of(parser)[command] if command else parser) == []


def test_an_option_without_help_is_noticed():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", "-o")
    parser.add_argument("scene", help=" ")
    assert options_without_help(parser) == ["--output -o", "scene"]


def test_a_mistyped_command_is_answered_with_a_suggestion(capsys):
    assert cli.main(["prepair"]) == 2
    assert "did you mean prepare?" in capsys.readouterr().err


def test_an_unknown_command_lists_the_known_ones(capsys):
    assert cli.main(["zzz"]) == 2
    assert "demo, prepare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ask", "scan", "--groud", "x"], "video3d ask: error: no option --groud (did you mean --ground?)"),
        (["prepare", "a", "-o", "b", "--check", "ful"], "invalid choice: 'ful' (did you mean full?)"),
        (["view", "scan", "scan2", "scan3"], "video3d view: error: too many arguments: scan2 scan3"),
        (["sample", "scan", "--max-frames", "0"], "'0' is not a whole number above 0"),
        (["report", "--exmples=3", "results"], "no option --exmples (did you mean --examples?)"),
        (["view"], "required: SCENE"),
        (["--versoin"], "video3d: error: no option --versoin (did you mean --version?)"),
    ],
)
def test_a_mistyped_option_is_answered_in_one_line_with_a_suggestion(capsys, words, said):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and said in error and error.count("\n") == 1 and "--help" in error


def test_without_a_command_the_commands_are_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and all(name in said for name in COMMANDS)


def test_a_missing_file_is_one_line_and_status_2(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error and error.count("\n") == 1


def test_a_traceback_can_be_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VIDEO3D_TRACEBACK", "1")
    assert cli.main(["verify", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback") and error.splitlines()[-1].startswith("video3d: error: ")


def test_help_of_the_whole_command_imports_no_torch():
    code = (
        "import sys; from video3d_plugin import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).strip().endswith("False")
