"""The commands and code in the documentation, as blocks with their place."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "patches" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
_VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")


@dataclass(frozen=True)
class Block:
    """place: page and line of the opening fence."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command line: its words, the variables set for it, and where its streams come from and go to."""

    place: str
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    stdin: str | None = None
    stdout: str | None = None

    def __str__(self) -> str:
        return " ".join(self.words)


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, also those in a list, which are indented."""
    found, start, language, lines = [], 0, "", []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.lstrip().startswith("```"):
            lines.append(line)
        elif start:
            found.append(Block(page, start, language, dedent("\n".join(lines))))
            start = 0
        else:
            start, language, lines = number, line.strip()[3:].strip(), []
    assert not start, f"{page}:{start}: a fence that is not closed"
    return found


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page)]


def commands_in(block: Block) -> list[Command]:
    """The command lines of a bash block, or those after `$ ` in a transcript. `export A=b` counts for what follows."""
    exported: list[tuple[str, str]] = []
    commands = []
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language != "bash":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "export":
            exported += [_VARIABLE.fullmatch(word).groups() for word in words[1:]]
            continue
        variables = list(exported)
        while match := _VARIABLE.fullmatch(words[0]):
            variables.append(match.groups())
            words.pop(0)
        streams = {}
        for sign, name in (("<", "stdin"), (">", "stdout")):
            if sign in words:
                at = words.index(sign)
                streams[name] = words[at + 1]
                del words[at : at + 2]
        commands.append(Command(block.place, tuple(words), tuple(variables), **streams))
    return commands
