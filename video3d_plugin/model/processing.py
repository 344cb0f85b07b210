"""Video3DProcessor: makes batches of questions and scenes.

The chat format is that of the published checkpoint (conversation `qwen_1_5`): system message, user turn with the visual
placeholder and a newline, assistant turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoProcessor

from video3d_plugin.arguments import check_items, check_one_of
from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import write_json
from video3d_plugin.model.checkpoint.checks import check_tokenizer_files, read_processor_config
from video3d_plugin.model.checkpoint.tokenizer import load_tokenizer, save_tokenizer
from video3d_plugin.model.sequence import IGNORE, IMAGE_ID
from video3d_plugin.model.text_ids import encode_text, encode_with_token, token_id
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.tokens import CHAT_END, CHAT_START, COORD_TOKEN, GROUND_TOKEN, IMAGE_TOKEN

SYSTEM_MESSAGE = "You are a helpful assistant."
_FILE = "processor_config.json"
LabelStyle = Literal["llava_next", "answer"]


class Video3DProcessor:
    """Tokenizes questions and assembles batches.

    Args:
        tokenizer: The checkpoint's tokenizer.
        config: The checkpoint's configuration.
        system_message: Text of the system turn.
        label_style: Which tokens have a loss. "llava_next": as in LLaVA-NeXT's preprocess_qwen (LaVi-Lab/Video-3D-LLM
            at 3ff70e8, llava/train/train_3d.py), the assistant's turn with its header, and all chat tokens and
            newlines. "answer": the answer, its end token and the newline after it.

    Raises:
        DataError: The label style is unknown, or the tokenizer lacks a chat token.
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
        self._start, self._end = self._token(CHAT_START), self._token(CHAT_END)
        self._newline = self._encode("\n")

    # -- one item --------------------------------------------------------------------------------------------------

    def prefix_ids(self) -> list[int]:
        """Return the ids that precede every question: system turn, user header, placeholder and newline."""
        return [*self._turn_start("system"), *self._encode(self.system_message), self._end, *self._newline,
                *self._turn_start("user"), IMAGE_ID, *self._newline]  # fmt: skip

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
        _, text = self._split(question)
        ask = [*self._encode_prompt(text, question), self._end, *self._newline]
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
        """Tokenize one item.

        Args:
            question: The question.
            answered: As for `suffix_ids`.

        Returns:
            Ids, with IMAGE_ID as the placeholder of the visual tokens; labels, IGNORE for tokens without loss.
        """
        before, _ = self._split(question)
        prefix = self.prefix_ids()
        if before:  # text between the user header and the image
            at = prefix.index(IMAGE_ID)
            prefix[at:at] = self._encode_prompt(before, question)
        suffix, asked = self.suffix_ids(question, answered=answered)
        return prefix + suffix, self._labels(prefix, suffix, asked)

    def _labels(self, prefix: list[int], suffix: list[int], asked: int) -> list[int]:
        """Return labels of prefix and suffix; the assistant's turn starts at index `asked` of the suffix."""
        turn = suffix[asked:]
        if self.label_style == "answer":
            header = len(self._turn_start("assistant"))
            return [IGNORE] * (len(prefix) + asked + header) + turn[header:]
        marks = {self._start, self._end, *self._newline}
        return [i if i in marks else IGNORE for i in prefix + suffix[:asked]] + turn

    def _split(self, question: Question) -> tuple[str, str]:
        """Split the prompt at its first <image>; a line break directly after it belongs to the placeholder."""
        before, image, after = question.prompt.partition(IMAGE_TOKEN)
        if not image:
            raise self._error(question, f"has no {IMAGE_TOKEN} in its prompt", f"put {IMAGE_TOKEN} once in it")
        count = before.count(COORD_TOKEN) + after.count(COORD_TOKEN)
        if question.coords and count != len(question.coords):
            raise self._error(
                question,
                f"has {count} {COORD_TOKEN} in its prompt and {len(question.coords)} coords",
                "give one point for each",
            )
        return before, after.removeprefix("\n")

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
        """Make a batch.

        Args:
            questions: The questions.
            scenes: Inputs of their scenes, each once.
            with_labels: For training: append answers, and add labels and targets.
            padding_side: "left" or "right".
            shared: Pack all questions of a scene in one row, distinguished by `segments`. Items are then ordered by
                scene, and within a scene as in `questions`.

        Returns:
            Arguments of the model's `forward` and `generate`, as CPU tensors.

        Raises:
            ArgumentError: An argument has a wrong type.
            DataError: A scene is missing or given twice, inputs were made for another model, a target is not among the
                proposals, or a prompt does not fit.
        """
        check_items("questions", questions, Question, "a Question")
        check_items("scenes", scenes, SceneInputs, "SceneInputs")
        check_one_of("padding_side", padding_side, ("left", "right"))
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
        """Map the question's object ids to indices of the scene's proposals."""
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
        for padding in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if padding is not None:
                return padding
        return self._end

    @property
    def stop_ids(self) -> list[int]:
        """Ids of the tokens that end an answer."""
        eos = self.tokenizer.eos_token_id
        return [self._end] if eos in (None, self._end) else [self._end, eos]

    def decode(self, tokens: torch.Tensor | Iterable[int]) -> str:
        """Decode an answer up to its end token, without special tokens and outer spaces, as the reference does."""
        kept = []
        for token in (int(t) for t in tokens):
            if token in self.stop_ids:
                break
            kept.append(token)
        return self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()

    def batch_decode(self, sequences: Iterable[Any]) -> list[str]:
        """Decode several answers."""
        return [self.decode(tokens) for tokens in sequences]

    # -- files -------------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Write tokenizer, config.json (if there is none) and processor_config.json, which names the class.

        Args:
            save_directory: Folder to write to; it is made if it is missing.
        """
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
        write_json(folder / _FILE, content, indent=1)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Video3DProcessor:
        """Load the processor of a checkpoint.

        Args:
            pretrained_model_name_or_path: A folder with tokenizer and config.json, or a hub name.
            **kwargs: `config`: a configuration to use instead of config.json.

        Raises:
            MissingError: The folder has no tokenizer.
            DataError: A file of it cannot be used.
        """
        path = str(pretrained_model_name_or_path)
        folder = Path(path)
        if folder.is_dir() and not any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json")):
            raise MissingError("no tokenizer here", where=folder, remedy="copy tokenizer.json beside the weights")
        config = kwargs.pop("config", None) or Video3DConfig.from_pretrained(path)
        kwargs.pop("trust_remote_code", None)
        options = {}
        if (folder / _FILE).is_file():
            stored = read_processor_config(folder / _FILE)
            options = {name: stored[name] for name in ("system_message", "label_style") if name in stored}
        check_tokenizer_files(folder)
        return cls(load_tokenizer(path), config, **options)


def _pad(values: list[list[int]], fill: int, side: str) -> torch.Tensor:
    rows = [torch.tensor(row) for row in values]
    if side == "left":
        return pad_sequence([row.flip(0) for row in rows], batch_first=True, padding_value=fill).flip(1)
    return pad_sequence(rows, batch_first=True, padding_value=fill)


AutoProcessor.register(Video3DConfig, Video3DProcessor, exist_ok=True)
