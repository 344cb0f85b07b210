"""Video3DProcessor: questions and scenes -> the batch that the model takes.

The chat layout is that of the published checkpoint (conversation `qwen_1_5`): system message, user turn with the
visual placeholder followed by a newline token, assistant turn. Every id comes from the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoProcessor

from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.json_text import read_object, write_object
from video3d_plugin.model.host_methods import COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN
from video3d_plugin.model.sequence import IGNORE, IMAGE_ID
from video3d_plugin.model.tokenizer_files import load_tokenizer, save_tokenizer
from video3d_plugin.scene import Question, SceneInputs

SYSTEM_MESSAGE = "You are a helpful assistant."
_START, _END = "<|im_start|>", "<|im_end|>"
_FILE = "processor_config.json"
LabelStyle = Literal["llava_next", "answer"]


class Video3DProcessor:
    """Tokenizer and configuration together. `label_style` says which tokens are trained on:

    llava_next  what LLaVA-NeXT's preprocess_qwen leaves: the assistant's turn with its header, and every chat mark and
                newline anywhere (LaVi-Lab/Video-3D-LLM at 3ff70e8, llava/train/train_3d.py)
    answer      the answer, its end mark and the newline after it
    """

    def __init__(
        self,
        tokenizer: Any,
        config: Video3DConfig,
        *,
        system_message: str = SYSTEM_MESSAGE,
        label_style: LabelStyle = "llava_next",
    ):
        if label_style not in ("llava_next", "answer"):
            raise DataError(f"label_style {label_style!r} is unknown", remedy="known: llava_next, answer")
        if not isinstance(system_message, str):
            raise DataError(f"system_message is {system_message!r:.60}", remedy="give text (processor_config.json)")
        self.tokenizer, self.config = tokenizer, config
        self.system_message, self.label_style = system_message, label_style
        self._start, self._end = self._token(_START), self._token(_END)
        self._newline = self._encode("\n")

    # -- one item --------------------------------------------------------------------------------------------------

    def prefix_ids(self) -> list[int]:
        """System message and user header up to and with the placeholder and its newline: the same for all questions."""
        return [*self._turn_start("system"), *self._encode(self.system_message), self._end, *self._newline,
                *self._turn_start("user"), IMAGE_ID, *self._newline]  # fmt: skip

    def suffix_ids(self, question: Question, *, answered: bool) -> tuple[list[int], int]:
        """(ids after the prefix, how many of them precede the assistant's turn).

        answered: with answer and end mark; else it ends where generation starts. A grounding item is always answered:
        its score is read at the <ground> token.
        """
        _, text = self._split(question)
        ask = [*self._encode(text), self._end, *self._newline]
        header = self._turn_start("assistant")
        if question.is_grounding:
            answer = [self._token(GROUND_TOKEN), self._end, *self._newline]
        elif answered:
            if question.answer is None:
                raise self._error(question, "has no answer to train on", "use questions of a training split")
            answer = [*self._encode(question.answer), self._end, *self._newline]
        else:
            answer = []
        return [*ask, *header, *answer], len(ask)

    def encode(self, question: Question, *, answered: bool) -> tuple[list[int], list[int]]:
        """(ids, labels) of one item, IMAGE_ID where the visual tokens go."""
        before, _ = self._split(question)
        prefix = self.prefix_ids()
        if before:  # text between the user header and the image
            at = prefix.index(IMAGE_ID)
            prefix[at:at] = self._encode(before)
        suffix, asked = self.suffix_ids(question, answered=answered)
        return prefix + suffix, self._labels(prefix, suffix, asked)

    def _labels(self, prefix: list[int], suffix: list[int], asked: int) -> list[int]:
        """Labels of prefix and suffix; the assistant's turn starts `asked` ids into the suffix."""
        turn = suffix[asked:]
        if self.label_style == "answer":
            header = len(self._turn_start("assistant"))
            return [IGNORE] * (len(prefix) + asked + header) + turn[header:]
        marks = {self._start, self._end, *self._newline}
        return [i if i in marks else IGNORE for i in prefix + suffix[:asked]] + turn

    def _split(self, question: Question) -> tuple[str, str]:
        """The prompt before and after <image>; a line break directly after it is the placeholder's own newline."""
        parts = question.prompt.split(IMAGE_TOKEN)
        if len(parts) != 2:
            raise self._error(
                question, f"has {len(parts) - 1} {IMAGE_TOKEN} in its prompt", f"put {IMAGE_TOKEN} once in it"
            )
        for mark in (GROUND_TOKEN, _START, _END):
            if mark in question.prompt:
                raise self._error(question, f"has {mark} in its prompt", "leave chat and ground marks out of prompts")
        count = question.prompt.count(COORD_TOKEN)
        if count != len(question.coords):
            raise self._error(
                question,
                f"has {count} {COORD_TOKEN} in its prompt and {len(question.coords)} coords",
                "give one point for each",
            )
        return parts[0], parts[1].removeprefix("\n")

    def _turn_start(self, role: str) -> list[int]:
        return [self._start, *self._encode(role), *self._newline]

    def _encode(self, text: str) -> list[int]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair: how Python carries bytes that it could not decode
            raise DataError(f"{text!r:.80} is no text", remedy="write the question in UTF-8") from None
        return list(self.tokenizer(text, add_special_tokens=False).input_ids) if text else []

    def _token(self, token: str) -> int:
        ids = self._encode(token)
        if len(ids) != 1:
            raise DataError(
                f"{token} is {len(ids)} tokens of the tokenizer",
                remedy="use the tokenizer of the checkpoint, or model.add_tokens(tokenizer)",
            )
        return ids[0]

    @staticmethod
    def _error(question: Question, what: str, remedy: str) -> DataError:
        return DataError(what, where=f"{question.task} {question.item_id} of {question.scene_id}", remedy=remedy)

    # -- batches -----------------------------------------------------------------------------------------------------

    def __call__(
        self,
        questions: Sequence[Question],
        scenes: Sequence[SceneInputs],
        with_labels: bool = False,
        padding_side: Literal["left", "right"] = "right",
        shared: bool = False,
    ) -> dict[str, Any]:
        """The batch for `forward` and `generate`; CPU tensors.

        shared: one row a scene with all its questions, `segments` telling them apart; items then come scene by scene,
        in the order of `scenes`, and within a scene in the order of `questions`.
        """
        if not questions:
            raise DataError("no questions", remedy="give at least one")
        index = self._scene_positions(questions, scenes)
        if shared:
            questions = sorted(questions, key=lambda question: index[question.scene_id])
        make = self._shared_rows if shared else self._single_rows
        rows, scene_index = make(questions, index, with_labels)
        batch = {name: _pad(values, fill, padding_side) for name, (values, fill) in rows.items()}
        batch["scenes"] = [scene.tensors() for scene in scenes]
        batch["scene_index"] = torch.tensor(scene_index)
        batch["coords"] = torch.tensor([p for q in questions for p in q.coords], dtype=torch.float32).reshape(-1, 3)
        by_id = {scene.scene_id: scene for scene in scenes}
        batch["targets"] = [
            self._targets(question, by_id[question.scene_id]) if with_labels else torch.zeros(0, dtype=torch.long)
            for question in questions
        ]
        return batch

    def _single_rows(self, questions, index, with_labels):
        items = [self.encode(question, answered=with_labels) for question in questions]
        rows = {
            "input_ids": ([ids for ids, _ in items], self._padding_id),
            "attention_mask": ([[1] * len(ids) for ids, _ in items], 0),
        }
        if with_labels:
            rows["labels"] = ([labels for _, labels in items], IGNORE)
        return rows, [index[question.scene_id] for question in questions]

    def _shared_rows(self, questions, index, with_labels):
        prefix = self.prefix_ids()
        packed: dict[int, tuple[list[int], list[int], list[int]]] = {}
        for question in questions:
            if self._split(question)[0]:
                raise self._error(question, f"has text before {IMAGE_TOKEN}", "pass shared=False")
            suffix, asked = self.suffix_ids(question, answered=with_labels)
            labels = self._labels(prefix, suffix, asked)
            start = (list(prefix), labels[: len(prefix)], [0] * len(prefix))
            ids, row_labels, segments = packed.setdefault(index[question.scene_id], start)
            segments += [segments[-1] + 1] * len(suffix)
            ids += suffix
            row_labels += labels[len(prefix) :]
        rows = list(packed.values())
        result = {
            "input_ids": ([ids for ids, _, _ in rows], self._padding_id),
            "attention_mask": ([[1] * len(ids) for ids, _, _ in rows], 0),
            "segments": ([segments for _, _, segments in rows], -1),
        }
        if with_labels:
            result["labels"] = ([labels for _, labels, _ in rows], IGNORE)
        return result, list(packed)

    def _scene_positions(self, questions, scenes) -> dict[str, int]:
        index = {scene.scene_id: i for i, scene in enumerate(scenes)}
        if len(index) != len(scenes):
            raise DataError("the same scene was given twice", remedy="give every scene once")
        for question in questions:
            if question.scene_id not in index:
                raise self._error(question, "asks of a scene that was not given", "give the inputs of its scene")
        for scene in scenes:
            if scene.spec != self.config.inputs_spec:
                raise DataError(
                    f"made for {scene.spec}, the model asks for {self.config.inputs_spec}",
                    where=scene.scene_id,
                    remedy="make the inputs with this model's config.inputs_spec",
                )
        return index

    def _targets(self, question: Question, scene: SceneInputs) -> torch.Tensor:
        """Object ids -> indices of the scene's proposals."""
        place = {int(object_id): i for i, object_id in enumerate(scene.proposal_ids.tolist()) if object_id >= 0}
        unknown = [object_id for object_id in question.targets or () if object_id not in place]
        if unknown:
            raise self._error(
                question,
                f"refers to objects {unknown} that are no proposal of the scene",
                "use proposals='gt' to train",
            )
        return torch.tensor([place[object_id] for object_id in question.targets or ()], dtype=torch.long)

    @property
    def _padding_id(self) -> int:
        for token_id in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token_id is not None:
                return token_id
        return self._end

    @property
    def stop_ids(self) -> list[int]:
        """Ids at which an answer ends."""
        eos = self.tokenizer.eos_token_id
        return [self._end] if eos in (None, self._end) else [self._end, eos]

    def decode(self, tokens: torch.Tensor | Iterable[int]) -> str:
        """An answer's text: up to its end mark, without special tokens, stripped (as in the reference's scripts)."""
        kept = []
        for token in (int(t) for t in tokens):
            if token in self.stop_ids:
                break
            kept.append(token)
        return self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()

    def batch_decode(self, sequences: Iterable[Any]) -> list[str]:
        return [self.decode(tokens) for tokens in sequences]

    # -- files -------------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Tokenizer, configuration and processor_config.json, which names this class for AutoProcessor."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(self.tokenizer, folder)
        if not (folder / "config.json").exists():
            self.config.save_pretrained(str(folder))
        content = {
            "processor_class": type(self).__name__,
            "system_message": self.system_message,
            "label_style": self.label_style,
        }
        write_object(folder / _FILE, content)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Video3DProcessor:
        """From a folder written by `save_pretrained`, or any checkpoint folder with a tokenizer and a config.json."""
        path = str(pretrained_model_name_or_path)
        folder = Path(path)
        if folder.is_dir() and not any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json")):
            raise MissingError("no tokenizer here", where=folder, remedy="copy tokenizer.json beside the weights")
        config = kwargs.pop("config", None) or Video3DConfig.from_pretrained(path)
        kwargs.pop("trust_remote_code", None)
        options = {}
        if (folder / _FILE).is_file():
            stored = read_object(folder / _FILE)
            options = {name: stored[name] for name in ("system_message", "label_style") if name in stored}
        return cls(load_tokenizer(path), config, **options)


def _pad(values: list[list[int]], fill: int, side: str) -> torch.Tensor:
    rows = [torch.tensor(row) for row in values]
    if side == "left":
        return pad_sequence([row.flip(0) for row in rows], batch_first=True, padding_value=fill).flip(1)
    return pad_sequence(rows, batch_first=True, padding_value=fill)


AutoProcessor.register(Video3DConfig, Video3DProcessor, exist_ok=True)
