"""Points and phrases as one row of token ids, and the columns of the tokens whose states are supervised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING

import torch

from video3d_plugin.mini.curriculum.phrases import Phrase
from video3d_plugin.prompts import ANSWER_PROMPT, GROUND_PROMPT
from video3d_plugin.scene import Question
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

if TYPE_CHECKING:
    from video3d_plugin.model.processing import Video3DProcessor


@dataclass(frozen=True)
class _Item:
    """A phrase as token ids.

    Attributes:
        ids: The token ids.
        names: Index of the last token of each name.
        question_end: Index of the token whose state predicts the first word of the answer; the answer follows it.
        end: Index of the token whose state denotes the target: `question_end`, or the last token of an answer's
            beginning.
        situation_end: Index of the last token of the situation, if there is one.
    """

    ids: list[int]
    names: list[int]
    question_end: int
    end: int
    situation_end: int | None = None


def phrase_rows(points: int, phrases: Sequence[Phrase], processor: Video3DProcessor) -> dict[str, torch.Tensor]:
    """Tokenize points and phrases as the items of one shared sequence.

    Args:
        points: Number of points, each an item of one <coord> token.
        phrases: The phrases, an item each.
        processor: The model's processor.

    Returns:
        The entries "ids", "segments", "answers", "answer_shares" and those ending in "_columns" and "situated" of
        `scene_supervision`.
    """
    prefix, frames = (
        processor.prefix_ids(),
        {is_question: _frame(processor, is_question) for is_question in (False, True)},
    )
    coord_id = processor.config.coord_token_id
    ids, segments = [*prefix, *[coord_id] * points], [0] * len(prefix) + list(range(1, points + 1))
    names, mentions, ends, situations, situated, answer_columns, shares = [], [], [], [], [], [], []
    for segment, phrase in enumerate(phrases, points + 1):
        item, begin = _item(phrase, processor, frames), len(ids) - len(prefix)
        names += [begin + name for name in item.names]
        mentions += [begin + name for name in item.names]
        mentions += [begin + column for column, token in enumerate(item.ids) if token == coord_id]
        ends.append(begin + item.end)
        if item.situation_end is not None:
            situations.append(begin + item.situation_end)
            situated.append(len(ends) - 1)
        if phrase.asks == "words":
            length = len(item.ids) - 1 - item.question_end
            answer_columns += range(begin + item.question_end, begin + item.question_end + length)
            shares += [1 / length] * length
        ids += item.ids
        segments += [segment] * len(item.ids)
    columns = {"point_columns": list(range(points)), "name_columns": names, "end_columns": ends}
    columns |= {"mention_columns": mentions, "situation_columns": situations, "situated": situated}
    answers = {"answer_columns": answer_columns, "answers": [ids[len(prefix) + c + 1] for c in answer_columns]}
    parts = {"ids": ids, "segments": segments, **columns, **answers}
    rows = {name: torch.tensor(part, dtype=torch.long) for name, part in parts.items()}
    return {**rows, "answer_shares": torch.tensor(shares)}


def _item(phrase: Phrase, processor: Video3DProcessor, frames: dict[bool, tuple[str, list[int]]]) -> _Item:
    before, after = frames[phrase.asks is not None] if phrase.framed else ("", [])
    text = before + (phrase.text.capitalize() if phrase.framed else phrase.text)
    name_ends = [len(before) + end for end, _ in phrase.names]
    situation = [phrase.viewpoint[0]] if phrase.viewpoint else []  # never framed, so nothing stands before it
    points = phrase.question.coords if phrase.question else phrase.points
    ids, last = _tokenize(text, {*name_ends, *situation}, processor, len(points))
    names, situation_end = [last[end] for end in name_ends], last[situation[0]] if situation else None
    start, _ = _tokenize(phrase.answer_start, (), processor)
    if phrase.question is None:
        question_end = len(ids + after) - 1
        return _Item(ids + after + start, names, question_end, question_end + len(start), situation_end)
    whole, _ = processor.suffix_ids(phrase.question, answered=True)
    if phrase.question.is_grounding:
        whole = whole[: whole.index(processor.config.ground_token_id) + 1]
        return _Item(whole, names, len(whole) - 1, len(whole) - 1)
    question_end = len(processor.suffix_ids(phrase.question, answered=False)[0]) - 1
    end = question_end + len(commonprefix([start, whole[question_end + 1 :]]))
    return _Item(whole, names, question_end, end, situation_end)


def _tokenize(
    text: str, ends: Collection[int], processor: Video3DProcessor, points: int = 0
) -> tuple[list[int], dict[int, int]]:
    """(ids of `text`, {end: index of the last token before that character}); no token spans one of the ends.

    The first `points` occurrences of <coord> become tokens, any others are text.
    """
    ids, last, begin = [], {}, 0
    for end in sorted({*ends, len(text)}):
        part = text[begin:end]
        own = min(points, part.count(COORD_TOKEN))
        ids, points = ids + processor.encode_text(part, own), points - own
        last[end], begin = len(ids) - 1, end
    return ids, last


def _frame(processor: Video3DProcessor, is_question: bool) -> tuple[str, list[int]]:
    """The words of a benchmark's prompt before the question or description, and the token ids after it, up to the token
    that predicts the answer's first word or whose state is compared with the proposals."""
    ground_id, coord_id = processor.config.ground_token_id, processor.config.coord_token_id
    if not is_question and ground_id is None:
        return "", []
    prompt = (
        ANSWER_PROMPT.format(question=COORD_TOKEN) if is_question else GROUND_PROMPT.format(description=COORD_TOKEN)
    )
    answer, targets = (None, None) if is_question else (GROUND_TOKEN, ())
    ids, _ = processor.suffix_ids(Question("", "", "", prompt, answer, ((0.0, 0.0, 0.0),), targets), answered=False)
    last = len(ids) if is_question else ids.index(ground_id) + 1
    return prompt.split(COORD_TOKEN)[0].removeprefix(IMAGE_TOKEN), ids[ids.index(coord_id) + 1 : last]
