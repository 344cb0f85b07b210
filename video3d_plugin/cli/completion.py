"""Shell completion: a static script that shtab generates from the parser of the command line.

eval "$(video3d --print-completion bash)"
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
        shell: "bash", "zsh" or "tcsh".

    Raises:
        MissingError: If shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise MissingError("shell completion needs shtab", remedy="pip install 'video3d-plugin[completion]'") from error
    for command in commands_of(parser).values():
        for action in command._actions:
            if (action.type is Path or action.dest in ("scene", "model")) and action.choices is None:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)
