"""`video3d ask SCENE [QUESTION]`: answer questions about a scan, find objects, describe places."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from video3d_plugin.cli.chat import Chat
from video3d_plugin.cli.common import (
    add_device_argument,
    add_json_argument,
    add_model_argument,
    add_proposals_argument,
    add_sampling_arguments,
    add_scene_arguments,
    checked_proposals,
    open_scene,
    page_path,
    positive,
    status,
    suggestion,
)
from video3d_plugin.errors import DataError, Video3DError

EPILOG = """\
examples:
  video3d ask my_scan/ "How many chairs are there?"
  video3d ask my_scan/ "the brown chair next to the window" --ground --save chair.html
  video3d ask my_scan/ --point 1.2 -0.4 0.5        what is at this point? (metres, z up)
  video3d ask my_scan/                             interactive; /help lists the commands
  cat questions.txt | video3d ask my_scan/ --json
"""
HELP = """\
a question            an answer in words
/ground DESCRIPTION   the box that fits the description      (/several: all that fit, or none)
/point X Y Z [TEXT]   what is at this point, or a question about it
/save FILE.html       a page with the scan, the questions and the answers
/frames               the frames that the model sees
/quit                 or Ctrl-D"""
LONGEST_LINE = 20_000  # characters of a question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    add_scene_arguments(parser)
    parser.add_argument(
        "question", nargs="?", metavar="QUESTION", help="a question (default: read questions from stdin, one a line)"
    )
    parser.add_argument("--ground", action="store_true", help="find the object that QUESTION describes")
    parser.add_argument("--several", action="store_true", help="find all objects that QUESTION describes, or none")
    parser.add_argument(
        "--point", type=float, nargs=3, metavar=("X", "Y", "Z"), help="ask about a point, world frame, metres"
    )
    add_model_argument(parser)
    add_proposals_argument(parser)
    add_sampling_arguments(parser)
    parser.add_argument(
        "--max-new-tokens", type=positive, default=128, metavar="N", help="longest answer (default: %(default)s)"
    )
    add_device_argument(parser)
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: as suits the device)")
    parser.add_argument("--save", type=Path, metavar="FILE.html", help="write a page with scan, answers and boxes")
    add_json_argument(parser)


def take_rest(args: argparse.Namespace, rest: list[str]) -> list[str]:
    """Take a question that follows an option, which argparse leaves over before Python 3.13; return the rest."""
    if args.question is None and len(rest) == 1 and not rest[0].startswith("-"):
        args.question = rest.pop()
    return rest


def run(args: argparse.Namespace) -> int:
    """Answer the question, or those read from stdin; return the exit status."""
    if (args.ground or args.several) and not args.question:
        raise DataError(
            "--ground needs a description", remedy='for example --ground "the brown chair"; interactively: /ground'
        )
    if (args.ground or args.several) and args.point:
        raise DataError("--ground, or --several, and --point exclude each other")
    if args.question is not None and not args.question.strip():
        raise DataError("the question is empty", remedy="write what to ask or to find")
    if args.save:
        page_path(args.save)
    chat = _open(args)
    refused = 0
    if args.question is None and args.point is None:
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):  # then only JSON goes to stdout
            refused = read_questions(chat, sys.stdin.isatty(), show=not args.json)
    else:
        _show(chat.ask(args.question, args.ground or args.several, args.several, args.point), show=not args.json)
    if args.json:
        print(json.dumps(chat.as_json(), indent=1, ensure_ascii=False))
    if args.save:
        chat.save(args.save)
    return 2 if refused else 0


def _open(args: argparse.Namespace) -> Chat:
    """Load the scan, then the model: a scan is read faster, and is more often the cause of an error."""
    if args.sampler:
        from video3d_plugin.sampling import registry

        registry.get(args.sampler)
    proposals = checked_proposals(args)
    scene = open_scene(args)
    from video3d_plugin.data.proposals import with_proposals
    from video3d_plugin.loading import default_checkpoint
    from video3d_plugin.model.checkpoint.folders import local_folder
    from video3d_plugin.pipeline import load_model

    checkpoint = local_folder(args.model) if args.model else default_checkpoint()  # the hub shows progress of its own
    with status("loading the model"):
        model = load_model(
            checkpoint, device=args.device, dtype=args.dtype, sampler=args.sampler, max_frames=args.max_frames
        )
    with status("looking for objects"):
        scene = with_proposals(scene, proposals)  # made once, for the model and the page
    name = str(args.model) if args.model else "mini (shipped, trained on made-up rooms)"
    return Chat(model, scene, name, args.max_new_tokens)


def read_questions(chat: Chat, on_terminal: bool, show: bool) -> int:
    """Answer lines of stdin until it ends or /quit.

    Returns:
        How many lines of a pipe could not be answered. Each is reported with its number, and the others are answered.
    """
    if on_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() a history and arrow keys)
        print(f"{chat.scene.scene_id}: {len(chat.scene.frames)} frames, {len(chat.scene.proposals)} proposals. /help")
    refused = 0
    for number in itertools.count(1):
        try:
            line = input("> ").strip() if on_terminal else _piped_line()
        except EOFError:
            if on_terminal:
                print()
            break
        if line == "/quit":
            break
        if not line:
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"a question is longer than {LONGEST_LINE} characters", remedy="write one question a line"
                )
            _answer_line(chat, line, show)
        except Video3DError as error:
            if on_terminal:
                print(f"  {error}")
                continue
            refused += 1
            chat.refuse(line[:LONGEST_LINE], error)
            print(f"video3d: error: line {number}: {error}", file=sys.stderr, flush=True)
    return refused


def _piped_line() -> str:
    """Read a line of stdin; of a longer one than LONGEST_LINE, its beginning, and skip the rest."""
    try:
        line = sys.stdin.readline(LONGEST_LINE + 2)
        rest = line
        while rest and not rest.endswith("\n"):
            rest = sys.stdin.readline(LONGEST_LINE)
    except UnicodeDecodeError as error:
        raise DataError(f"the questions are not UTF-8 text: {error.reason}", remedy="save them as UTF-8") from None
    if not line:
        raise EOFError
    return line.strip()


def _answer_line(chat: Chat, line: str, show: bool) -> None:
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if not line.startswith("/"):
        _show(chat.ask(line, False, False, None), show)
    elif command in ("/ground", "/several"):
        if not rest:
            raise DataError(f"{command} needs a description", remedy=f"for example {command} the brown chair")
        _show(chat.ask(rest, True, command == "/several", None), show)
    elif command == "/point":
        words = rest.split(maxsplit=3)
        try:
            point = [float(word) for word in words[:3]]
        except ValueError:
            point = []
        if len(point) != 3:
            raise DataError("/point needs three numbers", remedy="for example /point 1.2 -0.4 0.5, in metres")
        _show(chat.ask(words[3] if len(words) > 3 else None, False, False, point), show)
    elif command == "/save":
        if not rest:
            raise DataError("/save needs a file name", remedy="for example /save scan.html")
        chat.save(page_path(Path(rest)))
    elif command == "/frames":
        print("  " + " ".join(chat.scene.frames[i].name for i in chat.frames()), flush=True)
    elif command == "/help":
        print(HELP)
    else:
        known = ("/ground", "/several", "/point", "/save", "/frames", "/help", "/quit")
        raise DataError(f"no command {command}", remedy=suggestion(command, known))


def _show(item: dict[str, Any], show: bool) -> None:
    if show:
        print(item.get("shown") or item["answer"], flush=True)  # a program at the other end of a pipe may wait for it
