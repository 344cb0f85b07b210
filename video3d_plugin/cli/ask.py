"""`video3d ask SCENE [QUESTION]`: answer questions about a scan, find objects, describe places."""

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
    add_device_argument,
    add_json_argument,
    add_model_argument,
    add_sampling_arguments,
    add_scene_arguments,
    open_scene,
    page_path,
    positive,
    save_page,
    status,
    suggestion,
)
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.prompts import ANSWER_PROMPT, CAPTION_PROMPT, POINT_QUESTION
from video3d_plugin.questions import as_point, ground_question, text_question
from video3d_plugin.scene import Question
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
SHOWN = 5  # boxes listed for a description


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
    """Questions about one scan, and their answers.

    Attributes:
        model: The model.
        scene: The scan, with proposals.
        name: Name of the model on pages and in JSON.
        max_new_tokens: Largest number of tokens of an answer.
        items: What was asked and answered so far (`view.items`).
    """

    model: Video3D
    scene: Scene
    name: str
    max_new_tokens: int = 128
    items: list[dict[str, Any]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # frames that a sampler chose for the questions

    def ask(self, text: str | None, ground: bool, several: bool, point: list[float] | None) -> dict[str, Any]:
        """Ask a question and append its item to `items`.

        Args:
            text: A question, or a description where `ground` is set; None describes the object at `point`.
            ground: Whether to find the object that `text` describes.
            several: With `ground`, whether to find all such objects, or none.
            point: x, y, z in metres, world frame.

        Returns:
            The item, with `shown`, a text for the terminal, where boxes were found.
        """
        from video3d_plugin.view.items import item_of_answer, item_of_grounding

        number = len(self.items) + 1
        with status("thinking"):
            if ground:
                grounding = self.model.ground(self.scene, text or "", several=several)
                item = item_of_grounding(grounding, number) | {"shown": _rows(grounding)}
            elif point is not None:
                item = self._about_point(text, point, number)
            else:
                answer = self.model.answer(self.scene, text or "", max_new_tokens=self.max_new_tokens)
                item = item_of_answer(text or "", answer, number=number)
            self._note_frames(text or "", ground, several, point)
        self.items.append(item)
        return item

    def _note_frames(self, text: str, ground: bool, several: bool, point: list[float] | None) -> None:
        """Remember the frames of a sampler that chooses them for each question, as the model was asked it."""
        from video3d_plugin.data.inputs import sample
        from video3d_plugin.sampling.registry import reads_question

        if reads_question(self.model.sampler):
            question = _question(self.scene.scene_id, text, ground, several, point)
            self.seen.update(sample(self.scene, self.model.sampler, self.model.max_frames, question=question))

    def _about_point(self, text: str | None, point: list[float], number: int) -> dict[str, Any]:
        from video3d_plugin.view.items import item_of_answer

        if not text:
            answer = self.model.caption(self.scene, point, max_new_tokens=self.max_new_tokens)
            return item_of_answer("Describe the object here.", answer, point, number)
        asked = _about_point(text)
        answer = self.model.answer(self.scene, asked, points=[point], max_new_tokens=self.max_new_tokens)
        return item_of_answer(text, answer, point, number)

    def frames(self) -> list[int]:
        """Return the indices of the frames that the model sees, or has seen for the questions until now."""
        from video3d_plugin.data.inputs import sample
        from video3d_plugin.sampling.registry import reads_question

        if reads_question(self.model.sampler):
            return sorted(self.seen)
        return sample(self.scene, self.model.sampler, self.model.max_frames)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints, which `video3d view --boxes` reads."""
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
        """Write a page with the scan, the questions and the answers."""
        from video3d_plugin.view.scene_view import gather

        view = gather(self.scene, self.frames(), self.model.sampler)
        save_page(path, view, [{k: v for k, v in i.items() if k != "shown"} for i in self.items], model=self.name)


def _about_point(text: str) -> str:
    return text if COORD_TOKEN in text else POINT_QUESTION.replace("{question}", text)


def _question(scene_id: str, text: str, ground: bool, several: bool, point: list[float] | None) -> Question:
    """The question that `Chat.ask` puts to the model."""
    if ground:
        return ground_question(text, 0, scene_id, several)
    if point is not None and not text:
        return Question("caption", "0", scene_id, CAPTION_PROMPT, coords=(as_point(point),))
    coords = () if point is None else (as_point(point),)
    return text_question(text if point is None else _about_point(text), 0, scene_id, ANSWER_PROMPT, coords)


def _open(args: argparse.Namespace) -> Chat:
    """Load the scan, then the model: a scan is read faster, and is more often the cause of an error."""
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
        scene = with_proposals(scene)  # made once, for the model and the page
    name = str(args.model) if args.model else "mini (shipped, trained on made-up rooms)"
    return Chat(model, scene, name, args.max_new_tokens)


def _read_questions(chat: Chat, on_terminal: bool, show: bool) -> None:
    """Answer lines of stdin until it ends or /quit.

    A faulty line is reported on a terminal. In a pipe it is an error, so that incomplete answers are noticed.
    """
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
            raise DataError(f"a question is longer than {LONGEST_LINE} characters", remedy="write one question a line")
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


def _rows(grounding: Grounding) -> str:
    """Return a table of boxes: the selected ones, marked, then the next best."""
    selected = {box.index for box in grounding.chosen}
    lines = [f"    {'score':>7} {'sure':>5}   centre x, y, z (m)        size x, y, z (m)"]
    boxes = [*grounding.chosen, *(box for box in grounding if box.index not in selected)]
    for box in boxes[: max(SHOWN, len(selected))]:
        mark = "->" if box.index in selected else "  "
        centre, size = (" ".join(f"{v:7.2f}" for v in values) for values in (box.centre, box.size))
        lines.append(f"{mark}  {box.score:7.3f} {box.confidence:5.0%}  {centre}   {size}")
    if not selected:
        lines.append("->  nothing here fits")
    return "\n".join(lines)
