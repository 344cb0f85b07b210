"""The `video3d` command. Each sub-command is a module that offers `add_arguments(parser)` and `run(args) -> int`.

Only the chosen sub-command's module is imported, so `video3d --help` starts without torch.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Collection
from importlib import import_module

from video3d_plugin import __version__
from video3d_plugin.errors import Video3DError

# name -> (module, one line of help, an example)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": (
        "video3d_plugin.demo",
        "make a small benchmark, train a small model on it, evaluate the five tasks, print one table",
        "video3d demo --output demo-data",
    ),
    "prepare": (
        "video3d_plugin.data.prepare_cli",
        "turn ScanNet-style scans and the official annotations into a data folder",
        "video3d prepare ~/scannet --output ~/video3d-data",
    ),
    "train": (
        "video3d_plugin.training.cli",
        "train or fine-tune a model on a data folder",
        "video3d train --preset mini --data ~/video3d-data --output runs/mini",
    ),
    "serve": (
        "video3d_plugin.serve.cli",
        "ask scenes in a browser: choose or upload a scan, type, see the answer and the boxes",
        "video3d serve my_scan/ other_scan.zip",
    ),
    "score": (
        "video3d_plugin.score.cli",
        "score a file of predictions offline",
        "video3d score sqa3d predictions.jsonl --annotations v1_balanced_sqa_annotations_test_scannetv2.json",
    ),
    "report": (
        "video3d_plugin.report.cli",
        "results of lmms-eval beside the published numbers, as a table and a page",
        "video3d report results/",
    ),
    "verify": (
        "video3d_plugin.verify.cli",
        "recompute goldens: does this installation give the right numbers?",
        "video3d verify tests/goldens --kind model",
    ),
    "doctor": (
        "video3d_plugin.doctor",
        "what is installed, which hosts are found, what each patch does and why",
        "video3d doctor --json",
    ),
    "export": (
        "video3d_plugin.model.export_cli",
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
        return int(args.run(args) or 0)
    except Video3DError as error:
        print(f"video3d: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"video3d: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("video3d: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _parse(argv: list[str]) -> argparse.Namespace:
    name = None if "--print-completion" in argv else next((a for a in argv if not a.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        guess = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(COMMANDS)}"
        raise Video3DError(f"no command {name!r} ({hint})")
    return build_parser(() if name is None else (name,)).parse_args(argv)


def build_parser(loaded: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser, with the arguments of the commands in `loaded`; the others have their name and line of help only."""
    parser = argparse.ArgumentParser(
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
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
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
            sub.epilog = f"{sub.epilog or ''}\nexample: {example}".lstrip()
            sub.set_defaults(run=module.run)
    return parser


class _PrintCompletion(argparse.Action):
    """As argparse's own `version` action: prints and ends, whatever else is on the line."""

    def __call__(self, parser, namespace, values, option_string=None):
        from video3d_plugin.completion import completion_script

        print(completion_script(build_parser(), values))
        parser.exit()


if __name__ == "__main__":
    raise SystemExit(main())
