"""Shell completion, asked of a real bash: commands, options, choices and paths."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from video3d_plugin import cli
from video3d_plugin.cli.parser import COMMANDS

pytest.importorskip("shtab", reason="needs shtab: pip install 'video3d-plugin[completion]'")
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
FUNCTION=$(complete -p video3d | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$FUNCTION" video3d "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script as a user makes it, in a process of its own: torch must not be loaded for it."""
    code = (
        "import sys; from video3d_plugin import cli\n"
        "try: cli.main(['--print-completion', 'bash'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path = tmp_path_factory.mktemp("completion") / "video3d.bash"
    path.write_text(done.stdout)
    return path


@pytest.fixture
def complete(script, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    (tmp_path / "my_scan").mkdir()

    def complete(*words: str) -> set[str]:
        command = ["bash", "--norc", "-c", ASK, "ask", str(script), "video3d", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        return set(done.stdout.split())

    return complete


def test_commands_are_completed(complete):
    assert complete("pre") == {"prepare"}
    assert complete("") >= set(COMMANDS)


def test_options_of_a_command_are_completed(complete):
    assert complete("prepare", "--cop") == {"--copy-frames"}
    wanted = {"--lora", "--lora-alpha", "--lora-tower", "--lookup-steps", "--lookup-scenes"}
    assert complete("train", "--lo") == wanted


def test_choices_and_paths_are_completed(complete):
    assert complete("prepare", "--check", "") == {"full", "headers"}
    assert "my_scan" in {name.rstrip("/") for name in complete("prepare", "--output", "my")}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_that_knows_every_command(shell, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", shell])
    text = capsys.readouterr().out
    assert not stop.value.code and all(command in text for command in COMMANDS)


def test_an_unknown_shell_is_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "nushell"])
    assert stop.value.code == 2 and "fish" in capsys.readouterr().err


def test_without_shtab_one_line_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["--print-completion", "bash"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'video3d-plugin[completion]'" in error and error.count("\n") == 1


def test_fish_gets_commands_options_choices_and_files(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "fish"])
    assert stop.value.code == 0
    script = capsys.readouterr().out
    lines = script.splitlines()
    for name in COMMANDS:
        assert any(f"-n __fish_use_subcommand -a {name} -d '" in line for line in lines), name
    of_ask = [line for line in lines if "'__fish_seen_subcommand_from ask'" in line]
    assert any(" -l save -rF" in line for line in of_ask) and any(
        " -l progress -xa 'auto plain'" in line for line in of_ask
    )
    assert any(line.endswith(" -F") for line in of_ask)  # the scan
    assert "complete -c video3d -n __fish_use_subcommand -l version -d" in script
    quotes = [line.replace("\\'", "").count("'") for line in lines]
    assert all(count % 2 == 0 for count in quotes)
    if fish := shutil.which("fish"):
        (tmp_path / "video3d.fish").write_text(script)
        words = f"source {tmp_path / 'video3d.fish'}; complete -C 'video3d prepare --check '"
        asked = subprocess.run([fish, "--no-config", "-c", words], capture_output=True, text=True, check=True)
        assert [line.split("\t")[0] for line in asked.stdout.splitlines()] == ["full", "headers"] and not asked.stderr
