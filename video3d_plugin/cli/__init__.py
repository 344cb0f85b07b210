"""The `video3d` command. Each sub-command is a module that offers `add_arguments(parser)` and `run(args) -> int`.

Only the chosen sub-command's module is imported, so `video3d --help` starts without torch.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from importlib import import_module
from typing import NoReturn

from video3d_plugin import __version__
from video3d_plugin.errors import Video3DError

# name -> (module, one line of help, an example)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "ask": (
        "video3d_plugin.cli.ask",
        "ask a scan a question: an answer in words, boxes, or a description of a place",
        'video3d ask my_scan/ "How many chairs are there?"',
    ),
    "view": (
        "video3d_plugin.cli.view",
        "show a scan, its boxes and the samples of an evaluation, as one page for the browser",
        "video3d view my_scan/ --save scan.html",
    ),
    "sample": (
        "video3d_plugin.cli.sample",
        "which frames each sampler takes of a scan, and how much of it they show",
        "video3d sample my_scan/ --save frames.png",
    ),
    "demo": (
        "video3d_plugin.cli.demo",
        "make a small benchmark, train a small model on it, evaluate the five tasks, print one table",
        "video3d demo --output demo-data",
    ),
    "prepare": (
        "video3d_plugin.cli.prepare",
        "turn ScanNet-style scans and the official annotations into a data folder",
        "video3d prepare ~/scannet --output ~/video3d-data",
    ),
    "train": (
        "video3d_plugin.cli.train",
        "train or fine-tune a model on a data folder",
        "video3d train --preset mini --data ~/video3d-data --output runs/mini",
    ),
    "serve": (
        "video3d_plugin.cli.serve",
        "ask scenes in a browser: choose or upload a scan, type, see the answer and the boxes",
        "video3d serve my_scan/ other_scan.zip",
    ),
    "score": (
        "video3d_plugin.cli.score",
        "score a file of predictions offline",
        "video3d score sqa3d predictions.jsonl --annotations v1_balanced_sqa_annotations_test_scannetv2.json",
    ),
    "report": (
        "video3d_plugin.cli.report",
        "results of lmms-eval beside the published numbers, as a table and a page",
        "video3d report results/",
    ),
    "verify": (
        "video3d_plugin.cli.verify",
        "recompute goldens: does this installation give the right numbers?",
        "video3d verify tests/goldens --kind model",
    ),
    "doctor": (
        "video3d_plugin.cli.doctor.cli",
        "what is installed, which hosts are found, what each patch does and why",
        "video3d doctor --json",
    ),
    "export": (
        "video3d_plugin.cli.export",
        "write a checkpoint that LLaVA-NeXT's own loader opens",
        "video3d export runs/mini --format llava --output runs/mini-llava",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (2: the user can mend it, 130: interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    if not sys.stderr.isatty():  # bars of libraries too; our own ask for themselves
        for name in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
    try:
        args = _parse(argv)
        args.words = argv
        return int(args.run(args) or 0)
    except Video3DError as error:
        print(f"video3d: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # what a dependency caused is one line; a bug of this package keeps its traceback
        from video3d_plugin.dependencies import explain

        said = explain(error)
        if said is None and isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            said = f"{where}{error.strerror or error}"
        if said is None:
            raise
        print(f"video3d: error: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        start = "\n" if sys.stderr.isatty() else ""  # after the ^C that the terminal shows
        print(f"{start}video3d: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to say to a word that is none of the known ones: the nearest of them, or all."""
    known = list(known)
    guess = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {guess[0]}?" if guess else f"known: {', '.join(known)}"


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line, with the nearest option or choice that there is."""

    def error(self, message: str) -> NoReturn:
        words = re.findall(r"invalid choice: '([^']*)'", message)
        choices = re.findall(r"\(choose from (.*)\)", message)
        if words and choices:
            known = [choice.strip(" '") for choice in choices[0].split(",")]
            message = f"{message.split(' (choose from')[0]} ({suggestion(words[0], known)})"
        print(f"{self.prog}: error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)

    def complain_of(self, unknown: Sequence[str]) -> NoReturn:
        """Arguments that nobody knows."""
        options = sorted(option for option in self._option_string_actions if option.startswith("--"))
        said = []
        for word in unknown:
            if word.startswith("-"):
                name = word.split("=")[0]
                near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
                said.append(f"no option {name}" + (f" (did you mean {near[0]}?)" if near else ""))
        self.error("; ".join(said) or f"too many arguments: {' '.join(unknown)}")


def _parse(argv: list[str]) -> argparse.Namespace:
    name = None if "--print-completion" in argv else next((a for a in argv if not a.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        raise Video3DError(f"no command {name!r} ({suggestion(name, COMMANDS)})")
    parser = build_parser(() if name is None else (name,))
    args, unknown = parser.parse_known_args(argv)
    if args.command is None and not unknown:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if unknown and "take_rest" in args:
        unknown = args.take_rest(args, unknown)
    if unknown:
        (parser if name is None else commands_of(parser)[name]).complain_of(unknown)
    return args


def build_parser(loaded: Collection[str] = tuple(COMMANDS)) -> Parser:
    """The parser, with the arguments of the commands in `loaded`; the others have their name and line of help only."""
    parser = Parser(
        prog="video3d",
        description="3D scene understanding from posed RGB-D video, as an add-on to LLaVA-NeXT and lmms-eval.",
    )
    parser.add_argument("--version", action="version", version=f"video3d-plugin {__version__}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        metavar="SHELL",
        choices=("bash", "zsh", "tcsh"),
        help="print a completion script for bash, zsh or tcsh",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command, (module_name, summary, example) in COMMANDS.items():
        sub = commands.add_parser(
            command,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command in loaded:
            module = import_module(module_name)
            module.add_arguments(sub)
            given = sub.epilog or ""
            sub.epilog = given if "examples:" in given else f"{given}\nexample: {example}".lstrip()
            sub.set_defaults(run=module.run)
            if hasattr(module, "take_rest"):
                sub.set_defaults(take_rest=module.take_rest)
    return parser


def commands_of(parser: argparse.ArgumentParser) -> dict[str, Parser]:
    """{name: parser} of the sub-commands."""
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: sub for action in actions for name, sub in action.choices.items()}


class _PrintCompletion(argparse.Action):
    """As argparse's own `version` action: prints and ends, whatever else is on the line."""

    def __call__(self, parser, namespace, values, option_string=None):
        from video3d_plugin.cli.completion import completion_script

        print(completion_script(build_parser(), values))
        parser.exit()


if __name__ == "__main__":
    raise SystemExit(main())
