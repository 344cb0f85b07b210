"""`video3d ask SCENE "question"`: an answer, boxes, or a description, of one's own scan."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video3d_plugin import __version__
from video3d_plugin.cli.common import (
    add_scene_arguments,
    add_view_arguments,
    open_scene,
    page_path,
    positive,
    save_page,
    status,
)
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.prompts import POINT_QUESTION
from video3d_plugin.tokens import COORD_TOKEN

if TYPE_CHECKING:
    from video3d_plugin.grounding_result import Grounding
    from video3d_plugin.pipeline import Video3D
    from video3d_plugin.scene import Scene

EPILOG = """\
examples:
  video3d ask my_scan/ "How many chairs are there?"
  video3d ask my_scan/ "the brown chair next to the window" --ground --save chair.html
  video3d ask my_scan/ --point 1.2 -0.4 0.5        what is at this point? (metres, z up)
  video3d ask my_scan/                             one question after the other; /help lists what else
  cat questions.txt | video3d ask my_scan/ --json
"""
HELP = """\
a question            an answer in words
/ground DESCRIPTION   the box that fits the description      (/several: all that fit, or none)
/point X Y Z [TEXT]   what is at this point, or a question about it
/save FILE.html       a page with the scan and all that was asked
/frames               the frames that the model sees
/quit                 or Ctrl-D"""
LONGEST_LINE = 20_000  # characters of a question
SHOWN = 5  # boxes listed for a description


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    add_scene_arguments(parser)
    parser.add_argument("question", nargs="?", help="without one, questions are read one after the other")
    parser.add_argument("--ground", action="store_true", help="find the object that the question describes")
    parser.add_argument("--several", action="store_true", help="with --ground: all objects that fit, or none")
    parser.add_argument("--point", type=float, nargs=3, metavar=("X", "Y", "Z"), help="ask about a point, metres")
    parser.add_argument("--model", metavar="CHECKPOINT", help="a folder or hub name (default: the small one shipped)")
    add_view_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON (video3d view --boxes reads it)")
    parser.add_argument("--save", type=Path, metavar="FILE.html", help="write a page with scan, answers and boxes")
    parser.add_argument("--max-new-tokens", type=positive, default=128, metavar="N", help="default: 128")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16")


def take_rest(args: argparse.Namespace, rest: list[str]) -> list[str]:
    """A question that stands behind an option is left over by argparse before Python 3.13; returns what still is."""
    if args.question is None and len(rest) == 1 and not rest[0].startswith("-"):
        args.question = rest.pop()
    return rest


def run(args: argparse.Namespace) -> int:
    if (args.ground or args.several) and not args.question:
        raise DataError("--ground needs a description", remedy='like --ground "the brown chair"; or /ground when asked')
    if (args.ground or args.several) and args.point:
        raise DataError("--ground, or --several, and --point exclude each other")
    if args.save:
        page_path(args.save)
    chat = _open(args)
    if args.question is None and args.point is None:
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):  # then only JSON goes to stdout
            _read_questions(chat, sys.stdin.isatty(), show=not args.json)
    else:
        _show(chat.ask(args.question, args.ground or args.several, args.several, args.point), show=not args.json)
    if args.json:
        print(json.dumps(chat.as_json(), indent=1, ensure_ascii=False))
    if args.save:
        chat.save(args.save)
    return 0


@dataclass
class Chat:
    """Questions to one scan, with what came of them."""

    model: Video3D
    scene: Scene
    name: str
    max_new_tokens: int = 128
    items: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, text: str | None, ground: bool, several: bool, point: list[float] | None) -> dict[str, Any]:
        """One question; its item (`view.items`) is kept."""
        from video3d_plugin.view.items import item_of_answer, item_of_grounding

        number = len(self.items) + 1
        with status("thinking"):
            if ground:
                found = self.model.ground(self.scene, text or "", several=several)
                item = item_of_grounding(found, number) | {"shown": _rows(found)}
            elif point is not None:
                item = self._about_point(text, point, number)
            else:
                answer = self.model.answer(self.scene, text or "", max_new_tokens=self.max_new_tokens)
                item = item_of_answer(text or "", answer, number=number)
        self.items.append(item)
        return item

    def _about_point(self, text: str | None, point: list[float], number: int) -> dict[str, Any]:
        from video3d_plugin.view.items import item_of_answer

        if not text:
            answer = self.model.caption(self.scene, point, max_new_tokens=self.max_new_tokens)
            return item_of_answer("Describe the object here.", answer, point, number)
        asked = text if COORD_TOKEN in text else POINT_QUESTION.replace("{question}", text)
        answer = self.model.answer(self.scene, asked, points=[point], max_new_tokens=self.max_new_tokens)
        return item_of_answer(text, answer, point, number)

    def frames(self) -> list[int]:
        """Indices of the frames that the model sees."""
        from video3d_plugin.data.inputs import sample

        return sample(self.scene, self.model.sampler, self.model.max_frames)

    def as_json(self) -> dict[str, Any]:
        from video3d_plugin.view.items import finite
        from video3d_plugin.view.results import ASK_FORMAT

        return {
            "format": ASK_FORMAT,
            "version": __version__,
            "scene_id": self.scene.scene_id,
            "model": self.name,
            "sampler": self.model.sampler,
            "frames": [self.scene.frames[i].name for i in self.frames()],
            "items": [finite({k: v for k, v in item.items() if k != "shown"}) for item in self.items],
        }

    def save(self, path: Path) -> None:
        from video3d_plugin.view.scene_view import gather

        view = gather(self.scene, self.frames(), self.model.sampler)
        save_page(path, view, [{k: v for k, v in i.items() if k != "shown"} for i in self.items], model=self.name)


def _open(args: argparse.Namespace) -> Chat:
    """Scan and model, ready; the scan first, since it is read faster and wrong more often."""
    if args.sampler:
        from video3d_plugin.sampling import registry

        registry.get(args.sampler)
    scene = open_scene(args)
    from video3d_plugin.data.proposals import with_proposals
    from video3d_plugin.loading import default_checkpoint
    from video3d_plugin.pipeline import load_model

    checkpoint = args.model or default_checkpoint()
    with status("loading the model"):
        model = load_model(
            checkpoint, device=args.device, dtype=args.dtype, sampler=args.sampler, max_frames=args.max_frames
        )
    with status("looking for objects"):
        scene = with_proposals(scene)  # once, for the model and for the page
    name = str(args.model) if args.model else "mini (shipped, trained on made-up rooms)"
    return Chat(model, scene, name, args.max_new_tokens)


def _read_questions(chat: Chat, on_terminal: bool, show: bool) -> None:
    """Lines of stdin until it ends, or /quit. On a terminal a wrong line is said and forgotten; in a pipe it is an
    error, so that nobody takes a shorter list of answers for a whole one."""
    if on_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() a history and arrow keys)
        print(f"{chat.scene.scene_id}: {len(chat.scene.frames)} frames, {len(chat.scene.proposals)} proposals. /help")
    while True:
        try:
            line = (input("> ") if on_terminal else sys.stdin.readline(LONGEST_LINE + 1) or "/quit").strip()
        except EOFError:
            print()
            return
        except UnicodeDecodeError as error:
            raise DataError(f"the questions are not UTF-8 text: {error.reason}", remedy="save them as UTF-8") from None
        if len(line) > LONGEST_LINE:
            raise DataError(f"a question of more than {LONGEST_LINE} characters", remedy="one question a line")
        if line == "/quit":
            return
        if not line:
            continue
        try:
            _answer_line(chat, line, show)
        except Video3DError as error:
            if not on_terminal:
                raise
            print(f"  {error}")


def _answer_line(chat: Chat, line: str, show: bool) -> None:
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if not line.startswith("/"):
        _show(chat.ask(line, False, False, None), show)
    elif command in ("/ground", "/several"):
        if not rest:
            raise DataError(f"{command} needs a description", remedy=f"like {command} the brown chair")
        _show(chat.ask(rest, True, command == "/several", None), show)
    elif command == "/point":
        words = rest.split(maxsplit=3)
        try:
            point = [float(word) for word in words[:3]]
        except ValueError:
            point = []
        if len(point) != 3:
            raise DataError("/point needs three numbers", remedy="like /point 1.2 -0.4 0.5, metres")
        _show(chat.ask(words[3] if len(words) > 3 else None, False, False, point), show)
    elif command == "/save":
        if not rest:
            raise DataError("/save needs a name", remedy="like /save scan.html")
        chat.save(page_path(Path(rest)))
    elif command == "/frames":
        print("  " + " ".join(chat.scene.frames[i].name for i in chat.frames()), flush=True)
    elif command == "/help":
        print(HELP)
    else:
        from video3d_plugin.cli import suggestion

        known = ("/ground", "/several", "/point", "/save", "/frames", "/help", "/quit")
        raise DataError(f"no {command}", remedy=suggestion(command, known))


def _show(item: dict[str, Any], show: bool) -> None:
    if show:
        print(item.get("shown") or item["answer"], flush=True)  # a program at the other end waits for it


def _rows(found: Grounding) -> str:
    """The chosen boxes marked, the next best below them."""
    chosen = {box.index for box in found.chosen}
    lines = [f"    {'score':>7} {'sure':>5}   centre x, y, z (m)        size x, y, z (m)"]
    listed = [*found.chosen, *(box for box in found if box.index not in chosen)][: max(SHOWN, len(chosen))]
    for box in listed:
        mark = "->" if box.index in chosen else "  "
        centre, size = (" ".join(f"{v:7.2f}" for v in values) for values in (box.centre, box.size))
        lines.append(f"{mark}  {box.score:7.3f} {box.confidence:5.0%}  {centre}   {size}")
    if not chosen:
        lines.append("->  nothing here fits")
    return "\n".join(lines)
