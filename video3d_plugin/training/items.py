"""Points and phrases of a lesson as items of one row: their token ids, and which tokens are looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING

import torch

from video3d_plugin.prompts import ANSWER_PROMPT, GROUND_PROMPT
from video3d_plugin.scene import Question
from video3d_plugin.tokens import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN
from video3d_plugin.training.phrases import Phrase

if TYPE_CHECKING:
    from video3d_plugin.model.processing import Video3DProcessor


@dataclass(frozen=True)
class _Item:
    """names: numbers of the last tokens of names; situation: of a situation's last, where there is one; asked: of the
    token that gives the answer's first word; end: of the one whose state is scored, or tells what is meant: that, or
    one of an answer that is begun; what follows `asked` is the answer."""

    ids: list[int]
    names: list[int]
    asked: int
    end: int
    situation: int | None = None


def lesson_items(points: int, said: Sequence[Phrase], processor: Video3DProcessor) -> dict[str, torch.Tensor]:
    """The row of `points` points asked of and phrases `said`; see `lessons.scene_lesson` for its parts."""
    prefix, frames = processor.prefix_ids(), {asks: _frame(processor, asks) for asks in (False, True)}
    mark = processor.config.coord_token_id
    ids, segments = [*prefix, *[mark] * points], [0] * len(prefix) + list(range(1, points + 1))
    names, mentions, ends, situations, situated, answered, shares = [], [], [], [], [], [], []
    for number, phrase in enumerate(said, points + 1):
        item, begin = _item(phrase, processor, frames), len(ids) - len(prefix)
        names += [begin + name for name in item.names]
        mentions += [begin + name for name in item.names]
        mentions += [begin + number for number, token in enumerate(item.ids) if token == mark]
        ends.append(begin + item.end)
        if item.situation is not None:
            situations.append(begin + item.situation)
            situated.append(len(ends) - 1)
        if phrase.asks == "words":
            words = len(item.ids) - 1 - item.asked
            answered += range(begin + item.asked, begin + item.asked + words)
            shares += [1 / words] * words
        ids += item.ids
        segments += [number] * len(item.ids)
    columns = {"point_columns": list(range(points)), "name_columns": names, "end_columns": ends}
    columns |= {"mention_columns": mentions, "situation_columns": situations, "situated": situated}
    answers = {"answer_columns": answered, "answers": [ids[len(prefix) + column + 1] for column in answered]}
    parts = {"ids": ids, "segments": segments, **columns, **answers}
    made = {name: torch.tensor(part, dtype=torch.long) for name, part in parts.items()}
    return {**made, "answer_shares": torch.tensor(shares)}


def _item(phrase: Phrase, processor: Video3DProcessor, frames: dict[bool, tuple[str, list[int]]]) -> _Item:
    before, after = frames[phrase.asks is not None] if phrase.framed else ("", [])
    text = before + (phrase.text.capitalize() if phrase.framed else phrase.text)
    name_ends = [len(before) + end for end, _ in phrase.names]
    ends = {*name_ends, *([phrase.stands[0]] if phrase.stands else ())}
    points = phrase.whole.coords if phrase.whole else phrase.points
    ids, last = _in_parts(text, ends, processor, len(points))
    names, situation = [last[end] for end in name_ends], last[phrase.stands[0]] if phrase.stands else None
    begun, _ = _in_parts(phrase.begun, (), processor)
    if phrase.whole is None:
        asked = len(ids + after) - 1
        return _Item(ids + after + begun, names, asked, asked + len(begun), situation)
    whole, _ = processor.suffix_ids(phrase.whole, answered=True)
    if phrase.whole.is_grounding:
        whole = whole[: whole.index(processor.config.ground_token_id) + 1]
        return _Item(whole, names, len(whole) - 1, len(whole) - 1)
    asked = len(processor.suffix_ids(phrase.whole, answered=False)[0]) - 1
    return _Item(whole, names, asked, asked + len(commonprefix([begun, whole[asked + 1 :]])), situation)


def _in_parts(
    text: str, ends: Collection[int], processor: Video3DProcessor, points: int = 0
) -> tuple[list[int], dict[int, int]]:
    """The ids of `text`, whose first `points` <coord> are tokens, and the number of the last id before each of its
    characters `ends`."""
    ids, last, begin = [], {}, 0
    for end in sorted({*ends, len(text)}):
        part = text[begin:end]
        own = min(points, part.count(COORD_TOKEN))
        ids, points = ids + processor.encode_text(part, own), points - own
        last[end], begin = len(ids) - 1, end
    return ids, last


def _frame(processor: Video3DProcessor, asks: bool) -> tuple[str, list[int]]:
    """What a benchmark says before a question, or a description to ground; and the ids after it, up to the token whose
    state gives the answer's first word, or is scored."""
    ground, mark = processor.config.ground_token_id, processor.config.coord_token_id
    if not asks and ground is None:
        return "", []
    prompt = ANSWER_PROMPT.format(question=COORD_TOKEN) if asks else GROUND_PROMPT.format(description=COORD_TOKEN)
    answer, targets = (None, None) if asks else (GROUND_TOKEN, ())
    ids, _ = processor.suffix_ids(Question("", "", "", prompt, answer, ((0.0, 0.0, 0.0),), targets), answered=False)
    last = len(ids) if asks else ids.index(ground) + 1
    return prompt.split(COORD_TOKEN)[0].removeprefix(IMAGE_TOKEN), ids[ids.index(mark) + 1 : last]
