"""The `video3d` command.

`parser` has the table of sub-commands; each is a module with `add_arguments(parser)` and `run(args) -> int`. Only the
module of the sub-command that is called is imported, so `video3d --help` starts without torch.
"""

from __future__ import annotations

import os
import sys
import traceback

from video3d_plugin.cli import progress
from video3d_plugin.cli.completion import completion_script
from video3d_plugin.cli.parser import build_parser, parse
from video3d_plugin.dependencies import explain, traceback_wanted
from video3d_plugin.errors import Interrupted, Video3DError


def main(argv: list[str] | None = None) -> int:
    """Run the `video3d` command.

    Args:
        argv: Arguments without the program's name; default: those of the process.

    Returns:
        The exit status: 0; 1 where a check failed (`verify`, `doctor`); 2 after an error that the user can act on;
        130 after an interruption.

    Raises:
        SystemExit: On --help, --version, --print-completion and errors in the arguments.
        Exception: Any error that is a bug of this package, with its traceback.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not sys.stderr.isatty():  # progress bars of libraries as well; this package's own test stderr themselves
        for name in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
    try:
        args = parse(argv)
        if args.print_completion is not None:
            print(completion_script(build_parser(), args.print_completion))
            raise SystemExit(0)
        args.words = argv
        progress.choose(args.progress)
        return int(args.run(args) or 0)
    except BrokenPipeError:  # the program at the other end of a pipe has ended: there is nobody to report to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        start = "\n" if sys.stderr.isatty() else ""  # after the ^C that the terminal shows
        finished = f"; {stop}" if isinstance(stop, Interrupted) else ""
        print(f"{start}video3d: stopped{finished}", file=sys.stderr)
        return 130
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        if traceback_wanted():
            traceback.print_exc()
        print(f"video3d: error: {message}", file=sys.stderr)
        return 2


def _message(error: Exception) -> str | None:
    """Return one line for an error that the user can act on, None for a bug, which keeps its traceback."""
    if isinstance(error, Video3DError):
        return str(error)
    if message := explain(error):
        return message
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return None
