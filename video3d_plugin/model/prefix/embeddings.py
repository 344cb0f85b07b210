"""Input embeddings of the language model: of what precedes a question about a scene, and of the question.

They are all that an inference engine needs to answer (`video3d_plugin.engine`): the layers of Qwen2 do not run here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from video3d_plugin.errors import DataError
from video3d_plugin.model.prefix.decoding import check_suffixes
from video3d_plugin.model.prefix.key import prefix_key
from video3d_plugin.model.prefix.scene_prefix import ScenePrefix
from video3d_plugin.model.scene_tokens import encode_scene_tokens

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.scene import Question, SceneInputs


@torch.inference_mode()
def embed_scene(model: Video3DForCausalLM, processor: Video3DProcessor, inputs: SceneInputs) -> ScenePrefix:
    """Run vision tower, projector and position encoding, and insert the visual tokens into the prompt.

    Args:
        model: The model.
        processor: Its processor.
        inputs: The scene.

    Returns:
        The prefix without keys and values (`inference.with_cache` adds them).

    Raises:
        DataError: The inputs do not fit the model.
    """
    scene = inputs.tensors()
    tokens = encode_scene_tokens(model, scene, with_proposals=model.config.head is not None, name=inputs.scene_id)
    rows, _ = model.assemble(torch.tensor([processor.prefix_ids()]), [tokens])
    made_by, boxes = prefix_key(model, processor, full=True), inputs.proposals.float()
    unfinished = None if tokens.inside is None else (tokens, rows.visual_columns(0))
    made = ScenePrefix(inputs.scene_id, rows.embeds[0], (), (), tokens.proposals, boxes, inputs.extent, made_by)
    return replace(made, axes=rows.axes, unfinished=unfinished)


@torch.inference_mode()
def prompt_embeddings(
    model: Video3DForCausalLM, processor: Video3DProcessor, prefix: ScenePrefix, questions: Sequence[Question]
) -> list[torch.Tensor]:
    """Join the scene's embeddings with those of each question, up to where the answer starts.

    Args:
        model: The model.
        processor: Its processor.
        prefix: The scene.
        questions: Text questions.

    Returns:
        For each question (P + T, H), in the model's number format and on its device.

    Raises:
        DataError: A question is a grounding question or too long.
    """
    return joined_embeddings(model, prefix, text_suffixes(processor, questions), questions)


def joined_embeddings(
    model: Video3DForCausalLM, prefix: ScenePrefix, suffixes: list[list[int]], questions: Sequence[Question]
) -> list[torch.Tensor]:
    """Join the scene's embeddings with those of the token ids that follow, which hold the points of each question."""
    if not suffixes:
        return []
    if prefix.axes is not None:
        what = "this model rotates visual tokens by their voxels, which an engine does not do"
        raise DataError(what, where=prefix.scene_id, remedy="answer with the model itself (no engine)")
    check_suffixes(model, prefix, suffixes)
    prompts = []
    for question, suffix in zip(questions, suffixes, strict=True):
        ids = torch.tensor([suffix])
        own = model.embed_text(ids, torch.ones_like(ids, dtype=torch.bool), points_of([question]))[0]
        prompts.append(torch.cat([prefix.embeds.to(own), own]))
    return prompts


def text_suffixes(processor: Video3DProcessor, questions: Sequence[Question]) -> list[list[int]]:
    """Return the ids that follow the prefix, for each text question; raise DataError for a grounding question."""
    for question in questions:
        if question.is_grounding:
            raise DataError(f"{question.item_id} is a grounding question", remedy="use `ground` for it")
    return [processor.suffix_ids(question, answered=False)[0] for question in questions]


def grounding_suffixes(
    model: Video3DForCausalLM, processor: Video3DProcessor, prefix: ScenePrefix, questions: Sequence[Question]
) -> list[list[int]]:
    """Return the ids that follow the prefix, up to and including <ground>, for each grounding question.

    Raises:
        DataError: The model has no grounding head, the scene no proposals, or a question asks for text.
    """
    if model.config.head is None:
        raise DataError("this model has no grounding head", remedy="load a checkpoint with ground_head_type")
    if questions and not len(prefix.proposals):
        raise DataError("no proposals to choose from", where=prefix.scene_id, remedy="give the scene's proposal boxes")
    suffixes = []
    for question in questions:
        ids, _ = processor.suffix_ids(question, answered=True)
        if model.config.ground_token_id not in ids:
            raise DataError(f"{question.item_id} is no grounding question", remedy="use `answer` for it")
        suffixes.append(ids[: ids.index(model.config.ground_token_id) + 1])  # nothing after it is read
    return suffixes


def points_of(questions: Sequence[Question]) -> torch.Tensor | None:
    """Return the points (C, 3) of all <coord> tokens of the questions in order, or None where there are none."""
    points = [point for question in questions for point in question.coords]
    return torch.tensor(points, dtype=torch.float32) if points else None
