"""ScanQA and SQA3D: is a short answer right? Strings in, numbers out; the n-gram scores are in `ngrams`.

The conventions, each with the program that defines it:

    exact_match       ScanQA scripts/score.py 0a9f162, Video-3D-LLM eval_scanqa.py 3ff70e8: the raw string
    clean_answer      SQA3D LLM/eval_sqa3d_llm.py a98da8f; LEO, LLaVA-3D, Chat-Scene and Video-3D-LLM share it
    leo_match         LEO evaluator/scanqa_eval.py 567f2d8
    llava3d_match     LLaVA-3D llava/eval/scanqa_evaluator.py 91d979d
    chatscene_match   Chat-Scene utils/helper.py 475e106
    lenient_match     SQA3D LLM/eval_sqa3d_llm.py a98da8f, compute_accuracy

`leo_match`, `llava3d_match` and `chatscene_match` take cleaned strings and give (exact, refined) as 0 or 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SQA3D_TYPES = ("what", "is", "how", "can", "which", "others")

_OUTSIDE = re.compile(r"[^a-zA-Z0-9,'\s\-:]+")
_MISSPELT = {
    "letf": "left", "let": "left", "tehre": "there", "rigth": "right", "rght": "right", "behine": "behind",
    "tv": "TV", "chai": "chair", "wasing": "washing", "waslked": "walked", "oclock": "o'clock",
}  # fmt: skip
_NUMBERS = dict(
    zip(
        [*map(str, range(21)), "23", "none"],
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty twenty-three zero".split(),
        strict=True,
    )
)


def _whole_words(table: dict[str, str]) -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(sorted(table, key=len, reverse=True)) + r")\b")


_MISSPELT_WORDS, _NUMBER_WORDS = _whole_words(_MISSPELT), _whole_words(_NUMBERS)


def clean_answer(text: str) -> str:
    """The normal form of an answer that SQA3D's evaluator compares: lower case, plain characters, words for numbers.

    The order matters: characters outside a-z, 0-9, `,'-:` and white space go before anything is looked up, so
    `café` becomes `caf`, `3.5` becomes `35`, and typographic apostrophes are lost. `tv` becomes `TV`.
    """
    text = re.sub(" {2,}", " ", text.lower().strip(" "))
    text = _OUTSIDE.sub("", text)
    text = _MISSPELT_WORDS.sub(lambda word: _MISSPELT[word[1]], text)
    text = re.sub(r"\bo' +clock\b", "o'clock", text)
    text = _NUMBER_WORDS.sub(lambda word: _NUMBERS[word[1]], text)
    text = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", text)
    for article in ("a", "an", "the"):
        text = re.sub(rf"\b{article}\b ([a-zA-Z]+)", r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def exact_match(answer: str, references: Sequence[str]) -> int:
    """1 if the answer is one of the references, letter for letter."""
    return int(answer in references)


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _contains(a: str, b: str) -> bool:
    """Does one hold the other, white space aside? The empty string is in every string."""
    a, b = _squeeze(a), _squeeze(b)
    return a in b or b in a


def leo_match(answer: str, references: Sequence[str]) -> tuple[int, int]:
    """The first reference that equals, contains or is contained in the answer decides: an equal one may come later."""
    for reference in references:
        if answer == reference:
            return 1, 1
        if _contains(answer, reference):
            return 0, 1
    return 0, 0


def llava3d_match(answer: str, references: Sequence[str]) -> tuple[int, int]:
    """Exact if any reference is equal; refined if any contains the answer or is contained in it."""
    if answer in references:
        return 1, 1
    return 0, int(any(_contains(answer, reference) for reference in references))


def chatscene_match(answer: str, references: Sequence[str]) -> tuple[int, int]:
    """As LLaVA-3D, but an empty answer is wrong."""
    return llava3d_match(answer, references) if answer else (0, 0)


def chatscene_prepare(answer: str) -> str:
    """What Chat-Scene does to a prediction before `clean_answer`: one final full stop off, first letter lower."""
    if len(answer) > 1:
        answer = answer.removesuffix(".")
        answer = answer[0].lower() + answer[1:]
    return answer


def lenient_match(answer: str, reference: str) -> int:
    """The check of SQA3D's script for language models, on a cleaned answer and the raw reference.

    1 if they are equal, the answer is a part of the reference (so an empty one is right), or they share a word.
    """
    part = answer in reference or _squeeze(answer) in _squeeze(reference)
    return int(part or bool(set(answer.split()) & set(reference.split())))


def question_type_by_prefix(question: str) -> str:
    """LEO and Video-3D-LLM: the letters the question begins with, so `Isn't` is "is" and `Candle` is "can"."""
    start = question.lstrip().lower()
    return next((name for name in SQA3D_TYPES[:-1] if start.startswith(name)), "others")


def question_type_by_first_word(question: str) -> str:
    """SQA3D's own MCAN/load_data.py: the first word; an empty question, which it cannot read, is "others"."""
    words = re.sub("[,.?]", "", question.lower()).replace("'s", " 's").split()
    return words[0] if words and words[0] in SQA3D_TYPES[:-1] else "others"


SCANQA_TYPES = ("place", "number", "color", "object_nature", "object", "other")


def scanqa_question_type(question: str) -> str:
    """The classes of ScanQA's own `score.py --detailed`: the first of these phrases that the question holds."""
    phrases = (
        ("Where", "place"), ("How many", "number"), ("What color", "color"), ("What is the color", "color"),
        ("What shape", "object_nature"), ("What type", "object_nature"), ("What kind", "object_nature"),
        ("What is", "object"),
    )  # fmt: skip
    return next((kind for phrase, kind in phrases if phrase in question), "other")


def percent(values: Sequence[float]) -> float | None:
    """100 x mean; None of nothing."""
    return 100 * sum(values) / len(values) if values else None


def by_type(values: Sequence[float], types: Sequence[str], name: str) -> dict[str, float | None]:
    """`name` over all and `name_<type>` for each of SQA3D's types, in percent; None for a type without questions."""
    numbers = {name: percent(values)}
    for kind in SQA3D_TYPES:
        numbers[f"{name}_{kind}"] = percent([v for v, t in zip(values, types, strict=True) if t == kind])
    return numbers
