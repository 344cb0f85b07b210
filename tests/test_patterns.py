"""No text makes a regular expression, or a parser of text, run for long: each takes a time linear in the length.

The strings are made from the patterns themselves: for each repetition, what leads to it, then its body very often,
then something that cannot follow.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import video3d_plugin
from video3d_plugin.errors import Video3DError

try:
    from re import _constants as codes
    from re import _parser as sre
except ImportError:  # Python 3.10
    import sre_constants as codes
    import sre_parse as sre

PACKAGE = Path(video3d_plugin.__file__).parent
SIZES = (300, 3_000, 20_000)  # a slow one is seen at a small size, before it takes hours
LARGEST = 100_000
ALLOWED_S = 1.0  # of processor time
FUNCTIONS = ("compile", "match", "fullmatch", "search", "split", "findall", "finditer", "sub", "subn")


def patterns() -> dict[str, str]:
    """{pattern: where it is}: those that modules hold compiled, and literals in calls of `re`."""
    found: dict[str, str] = {}
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                found.setdefault(value.pattern, f"{module.__name__}.{name}")
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS:
                is_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                if is_re and node.args and isinstance(node.args[0], ast.Constant):
                    found.setdefault(node.args[0].value, f"{module.__name__}:{node.lineno}")
    return found


def modules() -> Iterator[object]:
    skipped = ("video3d_plugin.patches", "video3d_plugin.lmms_tasks")  # inside the package when it is installed
    for one in pkgutil.walk_packages([str(PACKAGE)], "video3d_plugin.", onerror=lambda name: None):
        if not one.name.startswith(skipped) and one.name != "video3d_plugin.cli":
            try:
                yield importlib.import_module(one.name)
            except (ImportError, SystemExit, Video3DError):  # a host or an extra that is not installed
                continue


def sample(tree: sre.SubPattern) -> str:
    """A short text that matches."""
    return "".join(_sample_of(operator, argument) for operator, argument in tree)


def _sample_of(operator, argument) -> str:
    if operator is codes.LITERAL:
        return chr(argument)
    if operator is codes.NOT_LITERAL:
        return "b" if argument == ord("a") else "a"
    if operator is codes.IN:
        return _one_of(argument)
    if operator is codes.ANY:
        return "a"
    if operator is codes.BRANCH:
        return sample(argument[1][0])
    if operator is codes.SUBPATTERN:
        return sample(argument[-1])
    if operator in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return sample(argument[2]) * max(argument[0], 1)
    return ""


def _one_of(items) -> str:
    negated = items[0][0] is codes.NEGATE
    for character in "a1 -.,A_é(%\n":
        if any(_holds(item, character) for item in items[negated:]) != negated:
            return character
    return "x"


def _holds(item, character: str) -> bool:
    operator, argument = item
    if operator is codes.LITERAL:
        return ord(character) == argument
    if operator is codes.RANGE:
        return argument[0] <= ord(character) <= argument[1]
    tests = {codes.CATEGORY_SPACE: str.isspace, codes.CATEGORY_DIGIT: str.isdigit}
    if argument in tests:
        return tests[argument](character)
    return argument is codes.CATEGORY_WORD and (character.isalnum() or character == "_")


def pumps(tree: sre.SubPattern, before: str = "") -> Iterator[tuple[str, str]]:
    """(what leads to a repetition, its body) of every repetition, nested ones included."""
    for operator, argument in tree:
        if operator in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            yield before, sample(argument[2])
            yield from pumps(argument[2], before)
        elif operator is codes.SUBPATTERN:
            yield from pumps(argument[-1], before)
        elif operator is codes.BRANCH:
            for branch in argument[1]:
                yield from pumps(branch, before)
        before += _sample_of(operator, argument)


def hostile_texts(pattern: str, size: int) -> Iterator[str]:
    tree = sre.parse(pattern)
    whole = sample(tree) or "a"
    bodies = list(pumps(tree))
    neighbours = [(before, a + b) for (before, a), (_, b) in zip(bodies, bodies[1:], strict=False)]
    for before, body in [*bodies, *neighbours, ("", whole), ("", whole[:-1] or "a"), ("", whole[:1])]:
        if body:
            yield before + body * (size // len(body)) + "\0"
            yield (before + body) * (size // len(before + body)) + "\0"


COMMON = [
    "a",
    " ",
    "\t\n",
    "0",
    "-",
    "[",
    "(",
    "{",
    "<",
    "[1,",
    '{"a":',
    '["',
    "<a",
    "1e",
    "a-",
    "'s",
    "a b ",
    "\u2028",
    "é",
    "]",
]


def timed(function: Callable[[str], object], text: str) -> float:
    """Seconds of processor time: other programs do not count."""
    started = time.process_time()
    function(text)
    return time.process_time() - started


def slowest(
    function: Callable[[str], object], texts: Callable[[int], Iterator[str]], sizes: tuple[int, ...] = SIZES
) -> tuple[float, str]:
    """(seconds, the text) of the slowest one; stops at the first that is too slow."""
    worst = (0.0, "")
    for size in sizes:
        for text in texts(size):
            taken = timed(function, text)
            worst = max(worst, (taken, f"{text[:60]!r}... of {len(text)} characters"))
            if taken > ALLOWED_S:
                return worst
    return worst


def every_way(pattern: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def run(text: str) -> None:
        compiled.fullmatch(text)
        compiled.search(text)
        compiled.sub("", text)

    return run


def test_every_pattern_of_the_package_is_linear():
    found = patterns()
    assert len(found) > 15 and any("parse_boxes" in where or "box_text" in where for where in found.values())
    for pattern, where in found.items():
        taken, text = slowest(every_way(pattern), lambda size, p=pattern: hostile_texts(p, size))
        assert taken < ALLOWED_S, f"{where}: {pattern!r} takes {taken:.1f} s for {text}"


@pytest.mark.parametrize("bad", [r"(a+)+b", r"\s*[.!]?\s*x", r"(\w+\s?)*$y", r"(.*)\{(.*)\}\.json"])
def test_a_pattern_that_is_not_linear_is_seen(bad):
    sizes = (18, 22) if "+)" in bad or "?)*" in bad else (100, 400)
    times = [max(timed(every_way(bad), text) for text in hostile_texts(bad, size)) for size in sizes]
    assert times[1] > 3 * times[0] * sizes[1] / sizes[0]


def parsers() -> dict[str, Callable[[str], object]]:
    """Whatever takes text of models, files or users and reads it."""

    from video3d_plugin.cli.common import suggestion
    from video3d_plugin.config import parse_projector
    from video3d_plugin.data.training_files import list_files
    from video3d_plugin.files.json import parse_json
    from video3d_plugin.files.text import natural_order, parse_matrix
    from video3d_plugin.metrics import answers, captions
    from video3d_plugin.metrics.box_text import parse_boxes
    from video3d_plugin.tasks import usable

    box = [0.0, 0, 0, 1, 1, 1]
    doc = {"scene_id": "s", "object_id": "1", "ann_id": "0", "question_id": "q", "question": "What is it?"}
    doc |= {"gt_box": box, "gt_boxes": [box], "eval_type": "mt", "references": ["a"], "answers": ["a"], "answer": "a"}
    records = {f"record of {name}": lambda text, t=task: t.record(doc, text) for name, task in usable().items()}
    return records | {
        "parse_boxes": parse_boxes,
        "clean_answer": answers.clean_answer,
        "question_type": lambda text: (answers.question_type_by_first_word(text), answers.scanqa_question_type(text)),
        "matches": lambda text: (answers.leo_match(text, [text[1:]]), answers.lenient_match(text, text[::-1])),
        "scanrefer_tokens": captions.scanrefer_tokens,
        "v3d_sentence": captions.v3d_sentence,
        "natural_order": natural_order,
        "parse_matrix": lambda text: parse_matrix(text, where="x"),
        "parse_json": lambda text: parse_json(text, dict, Path("x")),
        "data_path": lambda text: list_files(text + "}.json"),
        "projector": parse_projector,
        "suggestion": lambda text: suggestion(text, ["score", "report"]),
    }


@pytest.mark.parametrize("name", parsers())
def test_no_text_of_100_kilobytes_keeps_a_parser_busy(name):
    parser = parsers()[name]

    def run(text: str) -> None:
        try:
            parser(text)
        except Video3DError as error:
            assert len(str(error)) < 1500

    sources = [*patterns(), *COMMON]

    def texts(size: int) -> Iterator[str]:
        for source in COMMON:
            yield source * (size // len(source))
        if size == LARGEST:
            for pattern in sources[: -len(COMMON)]:
                yield next(hostile_texts(pattern, size))

    taken, text = slowest(run, texts, (3_000, LARGEST))
    assert taken < ALLOWED_S, f"{name} takes {taken:.1f} s for {text}"
