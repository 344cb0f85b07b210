"""Separates a model's answer from its reasoning, and tells when an answer is that there is no object."""

from __future__ import annotations

import re

LONGEST_STATEMENT = 600  # characters of an answer without a box that are read as a sentence

_REASONING = r"(?:think|thinking|thought|reasoning)"
_REASONING_ENDS = re.compile(rf"</{_REASONING}>|◁/think▷", re.IGNORECASE)
_REASONING_STARTS = re.compile(rf"<{_REASONING}>|◁think▷", re.IGNORECASE)
_ANSWER_STARTS = re.compile(r"<answer>|<\|begin_of_box\|>", re.IGNORECASE)
_ANSWER_ENDS = re.compile(r"</answer>|<\|end_of_box\|>", re.IGNORECASE)

_EMPTY = re.compile(r"(?:\[ ?\]|none|null|nothing|n/a|no|no match|zero|0|not found|not present|no such thing)\.?")
_OBJECT = r"(?:objects?|box(?:es)?|match(?:es)?|instances?|items?|things?|targets?|results?|detections?|candidates?)"
_SEEN = r"(?:see|find|locate|identify|detect|spot|ground)"
_BUT = re.compile(
    r"\b(?:but|however|instead|although|though|except|unless|closest|nearest|likely|maybe|perhaps|doubt)\b"
)
_ABSENT = r"(?:present|found|visible|here|there|among|in (?:the|this))"
_STATED = r"(?:match|fit|correspond|meet|satisf|exist|found|present|visible|detected|described)"
_NO_OBJECT = (
    # "there is no brown chair in the room", "no such object is present"
    re.compile(r"\bthere(?:'s| is| are| was| were| exists?) (?:no|not any|not an?|none|nothing|zero|0)\b"),
    re.compile(r"\bthere (?:isn't|aren't|wasn't|weren't) (?:any|an?|such)\b"),
    re.compile(rf"^(?:sorry, )?(?:no|zero|0) (?:[a-z-]+ ){{0,3}}{_OBJECT}\b"),
    re.compile(rf"\b(?:none|nothing|no one|no (?:objects?|item|box))\b.{{0,40}}\b{_STATED}"),
    # "the described object does not exist", "the chair is not in the scene", "no chair was found"
    re.compile(r"\b(?:does not|doesn't|do not|don't) (?:exist|match|correspond|(?:appear|seem) to (?:exist|be))\b"),
    re.compile(rf"\b(?:is|are|was|were) not {_ABSENT}\b"),
    re.compile(rf"\b(?:isn't|aren't|wasn't|weren't) {_ABSENT}\b"),
    re.compile(r"\bno [a-z0-9' -]{1,80}\b(?:found|present|visible|detected|exists?|match(?:es)?)\b"),
    # "I cannot find such an object"; not "I cannot see the images", which is no answer
    re.compile(rf"\b(?:can't|cannot|can not|could not|couldn't|do not|don't|did not|didn't|unable to) {_SEEN} "
               r"(?:any|an?|the|this|that|such|it|one|what|something)\b(?! (?:images?|frames?|pictures?|video|scene))"),
)  # fmt: skip


def final_answer(text: str) -> str:
    """Return a model's answer without the reasoning before it.

    Args:
        text: The answer, with or without reasoning in <think>, <thinking>, <thought> or <reasoning>. The start of the
            reasoning may be missing, since some chat templates write it into the prompt.

    Returns:
        What follows the reasoning, of this the content of <answer> if there is one; "" if the reasoning does not end;
        the text itself if it has no such tags.
    """
    answer = text[max((match.end() for match in _REASONING_ENDS.finditer(text)), default=0) :]
    if (starts := _REASONING_STARTS.search(answer)) is not None:
        answer = answer[: starts.start()]
    if (starts := _ANSWER_STARTS.search(answer)) is not None:
        answer = answer[starts.end() :]
        if (ends := _ANSWER_ENDS.search(answer)) is not None:
            answer = answer[: ends.start()]
    return text if answer == text else answer.strip()


def says_no_object(text: str) -> bool:
    """Return whether a text without a box says that no object is meant.

    Args:
        text: An answer in English, or an empty list. Texts of more than LONGEST_STATEMENT characters are not read, nor
            are those that go on with another object ("no chair, but a stool").
    """
    text = " ".join(text[: LONGEST_STATEMENT * 4].lower().replace("\u2019", "'").split())
    text = text.strip("`*\"'# ")
    if len(text) > LONGEST_STATEMENT or not text:
        return False
    if _EMPTY.fullmatch(text):
        return True
    return _BUT.search(text) is None and any(pattern.search(text) for pattern in _NO_OBJECT)
