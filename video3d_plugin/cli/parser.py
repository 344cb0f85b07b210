"""The argument parser of the `video3d` command and the table of its sub-commands."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

from video3d_plugin import __version__
from video3d_plugin.cli import progress
from video3d_plugin.cli.common import suggestion
from video3d_plugin.errors import Video3DError


class Command(NamedTuple):
    """A sub-command.

    Attributes:
        module: Module with `add_arguments(parser)` and `run(args) -> int`; with `take_rest(args, rest)` as well where
            it can use arguments that argparse leaves over.
        summary: One line of help.
        example: Command line shown by --help. A module that sets `parser.epilog` to a text with "examples:" shows
            its own instead.
    """

    module: str
    summary: str
    example: str


COMMANDS: dict[str, Command] = {
    "ask": Command(
        "video3d_plugin.cli.ask",
        "ask questions about a scan: answers in words, boxes, descriptions of places",
        'video3d ask my_scan/ "How many chairs are there?"',
    ),
    "view": Command(
        "video3d_plugin.cli.view",
        "write a web page that shows a scan, its boxes and the samples of an evaluation",
        "video3d view my_scan/ --save scan.html",
    ),
    "objects": Command(
        "video3d_plugin.cli.objects",
        "list the objects that are found in a scan: label, score, box and frames",
        "video3d objects my_scan/ --save objects.html",
    ),
    "sample": Command(
        "video3d_plugin.cli.sample",
        "show which frames of a scan each sampler selects, and how much of the scan they cover",
        "video3d sample my_scan/ --save frames.png",
    ),
    "demo": Command(
        "video3d_plugin.cli.demo",
        "generate rooms, evaluate a small model on the five benchmarks, print one table",
        "video3d demo --output demo-data",
    ),
    "prepare": Command(
        "video3d_plugin.cli.prepare",
        "convert scans and the benchmarks' official annotations to a data folder",
        "video3d prepare ~/scannet --output ~/video3d-data",
    ),
    "train": Command(
        "video3d_plugin.cli.train",
        "train or fine-tune a model on a data folder",
        "video3d train --preset mini --data ~/video3d-data --output runs/mini",
    ),
    "serve": Command(
        "video3d_plugin.cli.serve",
        "serve a web page where scans can be selected or uploaded and asked about",
        "video3d serve my_scan/ other_scan.zip",
    ),
    "score": Command(
        "video3d_plugin.cli.score",
        "compute a benchmark's metrics from a file of predictions",
        "video3d score sqa3d predictions.jsonl --data ~/video3d-data",
    ),
    "report": Command(
        "video3d_plugin.cli.report",
        "compare results of lmms-eval with the published numbers, as a table and a web page",
        "video3d report results/",
    ),
    "verify": Command(
        "video3d_plugin.cli.verify",
        "recompute reference results and compare: does this installation compute the right numbers?",
        "video3d verify",
    ),
    "doctor": Command(
        "video3d_plugin.cli.doctor.command",
        "check the installation: libraries, hosts, start-up hook, patches, GPU, data",
        "video3d doctor --json",
    ),
    "export": Command(
        "video3d_plugin.cli.export",
        "convert a checkpoint to LLaVA-NeXT's format",
        "video3d export runs/mini --format llava --output runs/mini-llava",
    ),
}


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line and suggests the closest option or choice."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        words = re.findall(r"invalid choice: '([^']*)'", message)
        choices = re.findall(r"\(choose from (.*)\)", message)
        if words and choices:
            known = [choice.strip(" '") for choice in choices[0].split(",")]
            message = f"{message.split(' (choose from')[0]} ({suggestion(words[0], known)})"
        print(f"{self.prog}: error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)

    def reject(self, unknown: Sequence[str]) -> NoReturn:
        """Report unknown arguments as an error."""
        options = sorted(option for option in self._option_string_actions if option.startswith("--"))
        messages = []
        for word in unknown:
            if word.startswith("-"):
                name = word.split("=")[0]
                close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
                messages.append(f"no option {name}" + (f" (did you mean {close[0]}?)" if close else ""))
        self.error("; ".join(messages) or f"too many arguments: {' '.join(unknown)}")


def build_parser(loaded: Collection[str] = tuple(COMMANDS)) -> Parser:
    """Build the parser of the whole command line.

    Args:
        loaded: Sub-commands whose modules are imported and whose arguments are added. The others get their name and
            line of help only, which keeps `video3d --help` free of heavy imports.

    Returns:
        A parser; what it parses has `command`, and `run` where the command's module was loaded.
    """
    parser = Parser(
        prog="video3d",
        description="3D scene understanding from posed RGB-D video, as an add-on to LLaVA-NeXT and lmms-eval.",
        epilog="VIDEO3D_TRACEBACK=1 shows the traceback of an error.",
    )
    parser.add_argument("--version", action="version", version=f"video3d-plugin {__version__}")
    parser.add_argument(
        "--print-completion",
        metavar="SHELL",
        choices=("bash", "fish", "zsh", "tcsh"),
        help="print a completion script for bash, fish, zsh or tcsh",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in loaded:
            _load(command, sub)
    return parser


def _load(command: Command, parser: argparse.ArgumentParser) -> None:
    module = import_module(command.module)
    module.add_arguments(parser)
    parser.add_argument(
        "--progress",
        choices=progress.KINDS,
        default="auto",
        help="auto: progress on a terminal; plain: a line for each stage on stderr, also where it is piped",
    )
    epilog = parser.epilog or ""
    parser.epilog = epilog if "examples:" in epilog else f"{epilog}\nexample: {command.example}".lstrip()
    parser.set_defaults(run=module.run)
    if hasattr(module, "take_rest"):
        parser.set_defaults(take_rest=module.take_rest)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, Parser]:
    """Return the parsers of the sub-commands by name."""
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: sub for action in actions for name, sub in action.choices.items()}


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse a command line and load the module of its sub-command.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The parsed arguments; `run` is the sub-command's function, `print_completion` a shell or None.

    Raises:
        Video3DError: If there is no such sub-command.
        SystemExit: On --help, --version and errors in the arguments.
    """
    name = None if "--print-completion" in argv else next((word for word in argv if not word.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        raise Video3DError(f"no command {name!r} ({suggestion(name, COMMANDS)})")
    parser = build_parser(() if name is None else (name,))
    args, unknown = parser.parse_known_args(argv)
    if args.print_completion is not None:
        return args
    if args.command is None and not unknown:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if unknown and "take_rest" in args:
        unknown = args.take_rest(args, unknown)
    if unknown:
        (parser if name is None else commands_of(parser)[name]).reject(unknown)
    return args
