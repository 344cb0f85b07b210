"""Video3DProcessor: makes batches of questions and scenes, and is saved with the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoProcessor

from video3d_plugin.arguments import check_items, check_one_of
from video3d_plugin.config import Video3DConfig
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.files.atomic import write_json
from video3d_plugin.model.chat_encoder import SYSTEM_MESSAGE, ChatEncoder, LabelStyle, question_error
from video3d_plugin.model.checkpoint.checks import check_tokenizer_files, read_processor_config, read_stop_ids
from video3d_plugin.model.checkpoint.tokenizer import load_tokenizer, save_tokenizer
from video3d_plugin.model.sequence import IGNORE
from video3d_plugin.scene import Question, SceneInputs
from video3d_plugin.tokens import IMAGE_TOKEN

_FILE = "processor_config.json"
_SETTINGS = ("system_message", "label_style")
Columns = dict[str, tuple[list[list[int]], int]]  # of a batch, by name: the rows, and what they are padded with


class Video3DProcessor(ChatEncoder):
    """Tokenizes questions and assembles batches.

    Args:
        tokenizer: The checkpoint's tokenizer.
        config: The checkpoint's configuration.
        system_message: Text of the system turn.
        label_style: Which tokens have a loss; see `ChatEncoder`.
        stop_ids: Ids of further tokens that end an answer; see `ChatEncoder`.

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
        stop_ids: Iterable[int] = (),
    ):
        super().__init__(tokenizer, system_message=system_message, label_style=label_style, stop_ids=stop_ids)
        self.config = config

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
                scene, and within a scene as in `questions`. In training, prompts with a newline after <image> and those
                without are packed in different rows (see `ChatEncoder`).

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
            order = {id(q): (index[q.scene_id], not self.has_newline(q, with_labels)) for q in questions}
            questions = sorted(questions, key=lambda question: order[id(question)])
        make = self._shared_rows if shared else self._single_rows
        rows, scene_index = make(questions, index, with_labels)
        batch: dict[str, Any] = {name: _pad(values, fill, padding_side) for name, (values, fill) in rows.items()}
        batch["scenes"] = [scene.tensors() for scene in scenes]
        batch["scene_index"] = torch.tensor(scene_index)
        batch["coords"] = torch.tensor([p for q in questions for p in q.coords], dtype=torch.float32).reshape(-1, 3)
        by_id = {scene.scene_id: scene for scene in scenes}
        batch["targets"] = [
            self._targets(question, by_id[question.scene_id]) if with_labels else torch.zeros(0, dtype=torch.long)
            for question in questions
        ]
        return batch

    def _single_rows(
        self, questions: Sequence[Question], index: Mapping[str, int], with_labels: bool
    ) -> tuple[Columns, list[int]]:
        """Return the values of each column of the batch with their padding, and the scene of each row."""
        items = [self.encode(question, answered=with_labels, training=with_labels) for question in questions]
        rows = {
            "input_ids": ([ids for ids, _ in items], self.padding_id),
            "attention_mask": ([[1] * len(ids) for ids, _ in items], 0),
        }
        if with_labels:
            rows["labels"] = ([labels for _, labels in items], IGNORE)
        return rows, [index[question.scene_id] for question in questions]

    def _shared_rows(
        self, questions: Sequence[Question], index: Mapping[str, int], with_labels: bool
    ) -> tuple[Columns, list[int]]:
        """Return the same with all questions of a scene in one row, or two (see `has_newline`)."""
        packed: dict[tuple[int, bool], tuple[list[int], list[int], list[int]]] = {}
        for question in questions:
            if self.split_prompt(question)[0]:
                raise question_error(question, f"has text before {IMAGE_TOKEN}", "pass shared=False")
            newline = self.has_newline(question, with_labels)
            prefix = self.prefix_ids(newline)
            item, labels = self.labelled(prefix, question, answered=with_labels)
            suffix = item[len(prefix) :]
            start = (list(prefix), labels[: len(prefix)], [0] * len(prefix))
            ids, row_labels, segments = packed.setdefault((index[question.scene_id], newline), start)
            segments += [segments[-1] + 1] * len(suffix)
            ids += suffix
            row_labels += labels[len(prefix) :]
        rows = list(packed.values())
        result = {
            "input_ids": ([ids for ids, _, _ in rows], self.padding_id),
            "attention_mask": ([[1] * len(ids) for ids, _, _ in rows], 0),
            "segments": ([segments for _, _, segments in rows], -1),
        }
        if with_labels:
            result["labels"] = ([labels for _, labels, _ in rows], IGNORE)
        return result, [scene for scene, _ in packed]

    def _scene_positions(self, questions: Sequence[Question], scenes: Sequence[SceneInputs]) -> dict[str, int]:
        index = {scene.scene_id: i for i, scene in enumerate(scenes)}
        if len(index) != len(scenes):
            raise DataError("the same scene was given twice", remedy="give every scene once")
        for question in questions:
            if question.scene_id not in index:
                raise question_error(question, "asks of a scene that was not given", "give the inputs of its scene")
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
            raise question_error(
                question,
                f"refers to objects {unknown} that are no proposal of the scene",
                "use proposals='gt' to train",
            )
        return torch.tensor([place[object_id] for object_id in question.targets or ()], dtype=torch.long)

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
            **kwargs: `config`: a configuration to use instead of config.json. `system_message`, `label_style`: to use
                instead of those of processor_config.json.

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
            options = {name: stored[name] for name in _SETTINGS if name in stored}
        options |= {name: kwargs[name] for name in _SETTINGS if kwargs.get(name) is not None}
        check_tokenizer_files(folder)
        return cls(load_tokenizer(path), config, stop_ids=read_stop_ids(folder), **options)


def _pad(values: list[list[int]], fill: int, side: str) -> torch.Tensor:
    rows = [torch.tensor(row) for row in values]
    if side == "left":
        return pad_sequence([row.flip(0) for row in rows], batch_first=True, padding_value=fill).flip(1)
    return pad_sequence(rows, batch_first=True, padding_value=fill)


AutoProcessor.register(Video3DConfig, Video3DProcessor, exist_ok=True)
