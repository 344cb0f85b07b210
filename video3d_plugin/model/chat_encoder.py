"""The chat format: questions and answers as token ids, and back.

The format is that of the published checkpoint (conversation `qwen_1_5`): system message, user turn with the visual
placeholder and a newline, assistant turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Literal

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.model.sequence import IGNORE, IMAGE_ID
from video3d_plugin.model.text_ids import encode_text, encode_with_token, token_id
from video3d_plugin.scene import Question
from video3d_plugin.tokens import CHAT_END, CHAT_START, COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

SYSTEM_MESSAGE = "You are a helpful assistant."
LabelStyle = Literal["llava_next", "answer"]


class ChatEncoder:
    """Tokenizes one question at a time, with or without its answer.

    Args:
        tokenizer: The checkpoint's tokenizer.
        system_message: Text of the system turn.
        label_style: Which tokens have a loss. "llava_next": as in LLaVA-NeXT's preprocess_qwen (LaVi-Lab/Video-3D-LLM
            at 3ff70e8, llava/train/train_3d.py), the assistant's turn with its header, and all chat tokens and
            newlines. "answer": the answer, its end token and the newline after it. In the reference, a newline follows
            the placeholder in evaluation, and in training only if the prompt has one, as the one with the spatial
            instruction does. Ids for training are the reference's with "llava_next"; with "answer" they are those of
            evaluation.
        stop_ids: Ids of further tokens that end an answer, beside the chat's end token and the tokenizer's: those of
            the checkpoint's generation_config.json.

    Raises:
        DataError: The label style is unknown, or the tokenizer lacks a chat token.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        system_message: str = SYSTEM_MESSAGE,
        label_style: LabelStyle = "llava_next",
        stop_ids: Iterable[int] = (),
    ):
        if label_style not in ("llava_next", "answer"):
            raise DataError(f"label_style {label_style!r} is unknown", remedy="known: llava_next, answer")
        if not isinstance(system_message, str):
            raise DataError(f"system_message is {system_message!r:.60}", remedy="give text (processor_config.json)")
        self.tokenizer, self.system_message, self.label_style = tokenizer, system_message, label_style
        self._start, self._end = self._token(CHAT_START), self._token(CHAT_END)
        self._newline = self._encode("\n")
        known = (self._end, self.tokenizer.eos_token_id, *stop_ids)
        self._stop_ids = list(dict.fromkeys(int(token) for token in known if token is not None))

    def prefix_ids(self, newline: bool = True) -> list[int]:
        """Return the ids that precede every question: system turn, user header, placeholder and newline.

        Args:
            newline: Whether the newline follows. It does in evaluation; see `label_style` for training.
        """
        return [*self._turn_start("system"), *self._encode(self.system_message), self._end, *self._newline,
                *self._turn_start("user"), IMAGE_ID, *(self._newline if newline else ())]  # fmt: skip

    def suffix_ids(self, question: Question, *, answered: bool) -> tuple[list[int], int]:
        """Tokenize what follows the prefix.

        Args:
            question: The question.
            answered: Append answer and end token; else the ids end where generation starts. Grounding questions are
                always answered, because their scores are read at the <ground> token.

        Returns:
            The ids, and how many of them precede the assistant's turn.

        Raises:
            DataError: The prompt lacks <image> or has another number of <coord> than points, or there is no answer.
        """
        _, text = self.split_prompt(question)
        ask = [*self._encode_prompt(text, question), self._end, *self._newline]
        header = self._turn_start("assistant")
        if question.is_grounding:
            answer = [self._token(GROUND_TOKEN), self._end, *self._newline]
        elif answered:
            if question.answer is None:
                raise question_error(question, "has no answer to train on", "use questions of a training split")
            answer = [*self._encode(question.answer), self._end, *self._newline]
        else:
            answer = []
        return [*ask, *header, *answer], len(ask)

    def encode(self, question: Question, *, answered: bool, training: bool = False) -> tuple[list[int], list[int]]:
        """Tokenize one item.

        Args:
            question: The question.
            answered: As for `suffix_ids`.
            training: Give the ids of training, which differ from those of evaluation by `label_style`.

        Returns:
            Ids, with IMAGE_ID as the placeholder of the visual tokens; labels, IGNORE for tokens without loss.
        """
        before, _ = self.split_prompt(question)
        prefix = self.prefix_ids(self.has_newline(question, training))
        if before:  # text between the user header and the image
            at = prefix.index(IMAGE_ID)
            prefix[at:at] = self._encode_prompt(before, question)
        return self.labelled(prefix, question, answered=answered)

    def labelled(self, prefix: list[int], question: Question, *, answered: bool) -> tuple[list[int], list[int]]:
        """Tokenize an item whose prefix is given; with its further turns if it is answered.

        Args:
            prefix: The ids before the question.
            question: The question.
            answered: As for `suffix_ids`.

        Returns:
            Ids and labels, as `encode`.
        """
        suffix, asked = self.suffix_ids(question, answered=answered)
        ids, labels = prefix + suffix, self.labels(prefix, suffix, asked)
        for user, assistant in question.further if answered else ():
            turns = [[*self._turn_start(role), *self._encode(text), self._end, *self._newline]
                     for role, text in (("user", user), ("assistant", assistant))]  # fmt: skip
            ids += turns[0] + turns[1]
            labels += self.labels([], turns[0] + turns[1], len(turns[0]))
        return ids, labels

    def labels(self, prefix: list[int], suffix: list[int], asked: int) -> list[int]:
        """Return labels of prefix and suffix; the assistant's turn starts at index `asked` of the suffix."""
        turn = suffix[asked:]
        if self.label_style == "answer":
            header = len(self._turn_start("assistant"))
            return [IGNORE] * (len(prefix) + asked + header) + turn[header:]
        marks = {self._start, self._end, *self._newline}
        return [i if i in marks else IGNORE for i in prefix + suffix[:asked]] + turn

    def split_prompt(self, question: Question) -> tuple[str, str]:
        """Split a question's prompt at its first <image>; a line break directly after it belongs to the placeholder."""
        before, image, after = question.prompt.partition(IMAGE_TOKEN)
        if not image:
            raise question_error(question, f"has no {IMAGE_TOKEN} in its prompt", f"put {IMAGE_TOKEN} once in it")
        count = before.count(COORD_TOKEN) + after.count(COORD_TOKEN)
        if question.coords and count != len(question.coords):
            raise question_error(
                question,
                f"has {count} {COORD_TOKEN} in its prompt and {len(question.coords)} coords",
                "give one point for each",
            )
        return before, after.removeprefix("\n")

    def has_newline(self, question: Question, training: bool) -> bool:
        """Whether a newline follows the placeholder: always in evaluation, in the reference's training if written."""
        written = question.prompt.partition(IMAGE_TOKEN)[2].startswith("\n")
        return written or not training or self.label_style != "llava_next"

    def _turn_start(self, role: str) -> list[int]:
        return [self._start, *self._encode(role), *self._newline]

    def _encode_prompt(self, text: str, question: Question) -> list[int]:
        """Tokenize a part of the prompt; <coord> is special only if the question has points."""
        return self.encode_text(text, text.count(COORD_TOKEN) if question.coords else 0)

    def encode_text(self, text: str, points: int = 0) -> list[int]:
        """Tokenize text in which the first `points` <coord> are special tokens; all others are plain text."""
        return encode_with_token(self.tokenizer, text, COORD_TOKEN, points)

    def _encode(self, text: str) -> list[int]:
        return encode_text(self.tokenizer, text)

    def _token(self, token: str) -> int:
        return token_id(self.tokenizer, token)

    @property
    def padding_id(self) -> int:
        for padding in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if padding is not None:
                return padding
        return self._end

    @property
    def stop_ids(self) -> list[int]:
        """Ids of the tokens that end an answer."""
        return self._stop_ids

    def decode(self, tokens: torch.Tensor | Iterable[int]) -> str:
        """Decode an answer up to its end token, without special tokens and outer spaces, as the reference does."""
        ids = itertools.takewhile(lambda token: token not in self.stop_ids, (int(token) for token in tokens))
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()

    def batch_decode(self, sequences: Iterable[Any]) -> list[str]:
        """Decode several answers."""
        return [self.decode(tokens) for tokens in sequences]


def question_error(question: Question, what: str, remedy: str) -> DataError:
    """Return an error about a question, which names it."""
    return DataError(what, where=f"{question.task} {question.item_id} of {question.scene_id}", remedy=remedy)
