"""Shell completion: a static script that shtab generates from the parser of the command line.

eval "$(video3d --print-completion bash)"
video3d --print-completion fish | source

shtab does not know fish, whose `complete` lines are written here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from video3d_plugin.cli.parser import commands_of
from video3d_plugin.errors import MissingError


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Generate a script that completes commands, options, choices and paths.

    Args:
        parser: Parser of the whole command line, with all commands loaded.
        shell: "bash", "fish", "zsh" or "tcsh".

    Raises:
        MissingError: If shtab is not installed, which fish does not need.
    """
    if shell == "fish":
        return _fish(parser)
    try:
        import shtab
    except ImportError as error:
        raise MissingError("shell completion needs shtab", remedy="pip install 'video3d-plugin[completion]'") from error
    for command in commands_of(parser).values():
        for action in command._actions:
            if _takes_file(action):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _takes_file(action: argparse.Action) -> bool:
    return action.choices is None and (action.type is Path or action.dest in ("scene", "model"))


def _fish(parser: argparse.ArgumentParser) -> str:
    first = "-n __fish_use_subcommand"
    lines = ["complete -c video3d -f"]
    lines += [_fish_line(first, action) for action in parser._actions if action.option_strings]
    for name, command in commands_of(parser).items():
        lines.append(f"complete -c video3d {first} -a {name} -d {_quoted(command.description)}")
        seen = f"-n {_quoted(f'__fish_seen_subcommand_from {name}')}"
        lines += [_fish_line(seen, action) for action in command._actions]
    return "\n".join(lines)


def _fish_line(condition: str, action: argparse.Action) -> str:
    values = "" if action.choices is None else f" -xa {_quoted(' '.join(map(str, action.choices)))}"
    files = _takes_file(action)
    if not action.option_strings:
        return f"complete -c video3d {condition}{values or (' -F' if files else ' -f')}"
    names = "".join(f" {'-l' if o.startswith('--') else '-s'} {o.lstrip('-')}" for o in action.option_strings)
    takes = values or (" -rF" if files else "" if action.nargs == 0 else " -x")
    text = "" if action.help in (None, argparse.SUPPRESS) else f" -d {_quoted(action.help)}"
    return f"complete -c video3d {condition}{names}{takes}{text}"


def _quoted(text: str | None) -> str:
    """A text in single quotes, in which fish reads \\ and \' only; of a help text the first part."""
    first = (text or "").split("(default")[0].split(";")[0].strip()
    return "'" + first.replace("\\", "\\\\").replace("'", "\\'").replace("%%", "%") + "'"
