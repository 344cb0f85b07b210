"""Correctness of short answers: ScanQA and SQA3D. N-gram scores are in `ngrams`.

The conventions, each with the program that defines it:

    exact_match       ScanQA scripts/score.py 0a9f162, Video-3D-LLM eval_scanqa.py 3ff70e8: the raw string
    clean_answer      SQA3D LLM/eval_sqa3d_llm.py a98da8f; LEO, LLaVA-3D, Chat-Scene and Video-3D-LLM share it
    leo_match         LEO evaluator/scanqa_eval.py 567f2d8
    llava3d_match     LLaVA-3D llava/eval/scanqa_evaluator.py 91d979d
    chatscene_match   Chat-Scene utils/helper.py 475e106
    lenient_match     SQA3D LLM/eval_sqa3d_llm.py a98da8f, compute_accuracy

`leo_match`, `llava3d_match` and `chatscene_match` take cleaned strings and return (exact, refined) as 0 or 1.
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
    """Normalise an answer as SQA3D's evaluator does: lower case, plain characters, words for numbers.

    The order of the steps matters. Characters outside a-z, 0-9, `,'-:` and white space are removed first, so that
    `café` becomes `caf`, `3.5` becomes `35`, and typographic apostrophes are lost. `tv` becomes `TV`.

    Source: SQA3D LLM/eval_sqa3d_llm.py a98da8f.

    Args:
        text: The answer.
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
    """Return 1 if the answer equals one of the references, else 0."""
    return int(answer in references)


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _contains(a: str, b: str) -> bool:
    """Whether one text contains the other, without white space. The empty string is in every string."""
    a, b = _squeeze(a), _squeeze(b)
    return a in b or b in a


def leo_match(answer: str, references: Sequence[str]) -> tuple[int, int]:
    """Compare an answer with its references by LEO's rule (evaluator/scanqa_eval.py 567f2d8).

    The first reference that equals the answer, contains it or is contained in it decides, even if a later one is equal.

    Args:
        answer: The cleaned answer.
        references: The cleaned references.

    Returns:
        (exact match, refined match), each 0 or 1.
    """
    for reference in references:
        if answer == reference:
            return 1, 1
        if _contains(answer, reference):
            return 0, 1
    return 0, 0


def llava3d_match(answer: str, references: Sequence[str]) -> tuple[int, int]:
    """Compare an answer with its references by LLaVA-3D's rule (llava/eval/scanqa_evaluator.py 91d979d).

    The match is exact if any reference is equal, and refined if any contains the answer or is contained in it.

    Args:
        answer: The cleaned answer.
        references: The cleaned references.

    Returns:
        (exact match, refined match), each 0 or 1.
    """
    if answer in references:
        return 1, 1
    return 0, int(any(_contains(answer, reference) for reference in references))


def chatscene_match(answer: str, references: Sequence[str]) -> tuple[int, int]:
    """Compare an answer with its references by Chat-Scene's rule (utils/helper.py 475e106).

    It is LLaVA-3D's rule, except that an empty answer is wrong.

    Args:
        answer: The cleaned answer.
        references: The cleaned references.

    Returns:
        (exact match, refined match), each 0 or 1.
    """
    return llava3d_match(answer, references) if answer else (0, 0)


def chatscene_prepare(answer: str) -> str:
    """Prepare an answer for `clean_answer` as Chat-Scene does: remove one final full stop, lower the first letter.

    Args:
        answer: The model's answer.
    """
    if len(answer) > 1:
        answer = answer.removesuffix(".")
        answer = answer[0].lower() + answer[1:]
    return answer


def lenient_match(answer: str, reference: str) -> int:
    """Compare an answer with its reference by the rule of SQA3D's script for language models (a98da8f).

    The match holds if the answer is a part of the reference, which an empty answer always is, or if they share a word.

    Args:
        answer: The cleaned answer.
        reference: The reference as annotated.

    Returns:
        0 or 1.
    """
    part = answer in reference or _squeeze(answer) in _squeeze(reference)
    return int(part or bool(set(answer.split()) & set(reference.split())))


def question_type_by_prefix(question: str) -> str:
    """Return the question type of LEO and Video-3D-LLM: the type that the question begins with.

    `Isn't` is of type "is", and `Candle` of type "can".

    Args:
        question: The question.
    """
    start = question.lstrip().lower()
    return next((name for name in SQA3D_TYPES[:-1] if start.startswith(name)), "others")


def question_type_by_first_word(question: str) -> str:
    """Return the question type of SQA3D (MCAN/load_data.py a98da8f): the type that is the question's first word.

    Args:
        question: The question. An empty one, on which the original fails, is of type "others".
    """
    words = re.sub("[,.?]", "", question.lower()).replace("'s", " 's").split()
    return words[0] if words and words[0] in SQA3D_TYPES[:-1] else "others"


SCANQA_TYPES = ("place", "number", "color", "object_nature", "object", "other")


def scanqa_question_type(question: str) -> str:
    """Return the question type of ScanQA (scripts/score.py --detailed, 0a9f162), by the phrase that the question holds.

    Args:
        question: The question.
    """
    phrases = (
        ("Where", "place"), ("How many", "number"), ("What color", "color"), ("What is the color", "color"),
        ("What shape", "object_nature"), ("What type", "object_nature"), ("What kind", "object_nature"),
        ("What is", "object"),
    )  # fmt: skip
    return next((kind for phrase, kind in phrases if phrase in question), "other")


def percent(values: Sequence[float]) -> float | None:
    """Return 100 x the mean; None for no values."""
    return 100 * sum(values) / len(values) if values else None


def by_type(values: Sequence[float], types: Sequence[str], name: str) -> dict[str, float | None]:
    """Average values over all questions and over each of SQA3D's question types.

    Args:
        values: A value for each question.
        types: The type of each question.
        name: Name of the metric.

    Returns:
        `name` and `name_<type>`, in per cent; None for a type without questions.
    """
    numbers = {name: percent(values)}
    for kind in SQA3D_TYPES:
        numbers[f"{name}_{kind}"] = percent([v for v, t in zip(values, types, strict=True) if t == kind])
    return numbers
