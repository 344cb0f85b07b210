"""The kind of a question, by its words, for scores and guesses by kind."""

from __future__ import annotations

import re

# By task: name -> pattern; a question is of the first kind whose pattern its lower-case words hold.
_KINDS = {
    "scanqa": {
        "color": r"\bcolor\b",
        "how_many": r"^(how many|what is the number of)",
        "exists": r"^(is there|can you see)",
        "where": r"^where",
        "nearest": r"(closest|nearest) to",
        "by_relation": r"",
    },
    "sqa3d": {
        "color": r"\bcolor\b",
        "how_many": r"^how many",
        "closer": r"^which is closer",
        "nearest": r"closest|nearest",
        "left_or_right": r"\b(left or|right or)\b",
        "direction": r"^(which|where|in which)",
        "in_view": r"^can",
        "on_a_side": r"^is",
    },
}


def question_kind(task: str, question: str) -> str:
    """Return the kind of a generated question.

    >>> question_kind("sqa3d", "Which is closer to me, the bed or the door?")
    'closer'

    Args:
        task: "scanqa" or "sqa3d".
        question: The question, without a situation.

    Returns:
        The kind; "unknown" for a question that was not generated.
    """
    return next((kind for kind, pattern in _KINDS[task].items() if re.search(pattern, question.lower())), "unknown")
