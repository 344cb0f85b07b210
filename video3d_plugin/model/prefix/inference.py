"""Encodes a scene once and answers any number of questions about it.

System message, user header and visual tokens precede every question and do not depend on it. `encode_scene` runs them
through the language model once and stores their keys and values. `answer` and `ground` run only the questions, in
batches. The results are those of the full computation.

`prefix_attention` selects how a batch of questions attends to the prefix: "cascade" in one product for all questions,
without copies; "expanded", the reference implementation, through the forward pass of transformers with a copy of the
prefix for each question. Models that cannot run layer by layer (sliding windows, offloaded weights) always use
"expanded".

Memory of a prefix: for each token 2 * layers * key-value heads * head size numbers of the cache, and `hidden_size` of
the embeddings. Qwen2-7B in bfloat16: 57,344 + 7,168 bytes, which is 0.43 GB for the 6,733 tokens of 32 frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from video3d_plugin.compat import CACHE, cache_tensors
from video3d_plugin.model.grounding import score_proposals
from video3d_plugin.model.prefix.decoding import Cascade, PrefixAttention, encode_by_layer, runs_by_layer, start
from video3d_plugin.model.prefix.embeddings import embed_scene, grounding_suffixes, points_of, text_suffixes
from video3d_plugin.model.prefix.scene_prefix import ScenePrefix
from video3d_plugin.model.scene_tokens import grounding_features

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.scene import Question, SceneInputs


@torch.inference_mode()
def encode_scene(
    model: Video3DForCausalLM, processor: Video3DProcessor, inputs: SceneInputs, by_layer: bool = True
) -> ScenePrefix:
    """Run everything that precedes a question through tower and language model.

    Args:
        model: The model.
        processor: Its processor.
        inputs: The scene.
        by_layer: Skip the end of the last layer, which is never read. False: use the forward pass of transformers.

    Raises:
        DataError: The inputs do not fit the model.
    """
    return with_cache(model, embed_scene(model, processor, inputs), by_layer)


@torch.inference_mode()
def with_cache(model: Video3DForCausalLM, prefix: ScenePrefix, by_layer: bool = True) -> ScenePrefix:
    """Run the embeddings of a prefix through the language model.

    Args:
        model: The model.
        prefix: A prefix, with or without keys and values.
        by_layer: As for `encode_scene`.

    Returns:
        The prefix with keys and values, and with the features of its proposals where they need the last states.
    """
    if prefix.has_cache:
        return prefix
    embeds, proposals = prefix.embeds[None], prefix.proposals
    with model.model.placed_at(prefix.axes):
        if by_layer and runs_by_layer(model.model) and prefix.unfinished is None:  # else the last states are read too
            keys, values = encode_by_layer(model.model, embeds[0])
            return replace(prefix, keys=keys, values=values)
        output = model.model(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
            use_cache=True,
            return_dict=True,
            **{CACHE: DynamicCache()},
        )
    keys, values = cache_tensors(output[CACHE])
    if prefix.unfinished is not None:
        tokens, visual = prefix.unfinished
        proposals = grounding_features(tokens, output[0][0, visual.to(output[0].device)])
    return replace(prefix, keys=keys, values=values, proposals=proposals, unfinished=None)


@torch.inference_mode()
def ground(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    prefix: ScenePrefix,
    questions: Sequence[Question],
    prefix_attention: PrefixAttention = "cascade",
) -> list[torch.Tensor]:
    """Score the scene's proposals for each question.

    Args:
        model: The model.
        processor: Its processor.
        prefix: The encoded scene.
        questions: Grounding questions, decoded as one batch.
        prefix_attention: "cascade" or "expanded".

    Returns:
        For each question (N,) float32 scores, or (N + 1,) with the zero-target slot last.

    Raises:
        DataError: The model has no grounding head, the scene no proposals, or a question asks for text.
    """
    suffixes = grounding_suffixes(model, processor, prefix, questions)
    if not suffixes:
        return []
    step = start(model, prefix, suffixes, points_of(questions), prefix_attention)
    scores = score_proposals(model, model.config.head, step.hidden, prefix.proposals.to(step.hidden))
    return list(scores.float())


@torch.inference_mode()
def answer(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    prefix: ScenePrefix,
    questions: Sequence[Question],
    max_new_tokens: int = 512,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    generator: torch.Generator | None = None,
    prefix_attention: PrefixAttention = "cascade",
) -> list[str]:
    """Generate the answers of text questions.

    Args:
        model: The model.
        processor: Its processor.
        prefix: The encoded scene.
        questions: Text questions, decoded as one batch.
        max_new_tokens: Tokens of an answer at most.
        do_sample: Sample instead of decoding greedily.
        temperature: Divides the logits when sampling.
        top_p: Samples from the most probable tokens that together reach this probability.
        top_k: Samples from this many tokens; 0: all.
        generator: Random state for sampling.
        prefix_attention: "cascade" or "expanded".

    Returns:
        The answers' texts.

    Raises:
        DataError: A question is a grounding question or too long.
    """
    tokens = answer_tokens(
        model,
        processor,
        prefix,
        questions,
        max_new_tokens,
        choose=_sampler(temperature, top_p, top_k, generator) if do_sample else None,
        prefix_attention=prefix_attention,
    )
    return processor.batch_decode(tokens)


@torch.inference_mode()
def answer_tokens(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    prefix: ScenePrefix,
    questions: Sequence[Question],
    max_new_tokens: int,
    choose: Callable[[torch.Tensor], torch.Tensor] | None = None,
    prefix_attention: PrefixAttention = "cascade",
) -> list[list[int]]:
    """Generate answers as token ids, up to and including the end token.

    Args:
        model: A Video3DForCausalLM.
        processor: Its processor.
        prefix: The encoded scene.
        questions: Text questions, decoded as one batch.
        max_new_tokens: Tokens of an answer at most.
        choose: Maps logits (B, vocabulary) to token ids (B,); None: greedy. With a function, questions that have ended
            stay in the batch, because removing them would change what a sampler draws for the others.
        prefix_attention: "cascade" or "expanded".

    Raises:
        DataError: A question is a grounding question or too long.
    """
    if not questions or max_new_tokens < 1:
        return [[] for _ in questions]
    suffixes = text_suffixes(processor, questions)
    step = start(model, prefix, suffixes, points_of(questions), prefix_attention)
    stops = set(processor.stop_ids)
    answers: list[list[int]] = [[] for _ in questions]
    running = list(range(len(questions)))
    while True:
        logits = model.lm_head(step.hidden).float()
        ids = logits.argmax(-1) if choose is None else choose(logits)
        for index, token in zip(running, ids.tolist(), strict=True):
            answers[index].append(token)
        going = [place for place, index in enumerate(running) if not stops.intersection(answers[index])]
        if not going or len(answers[running[going[0]]]) == max_new_tokens:
            return [until_stop(tokens, processor.stop_ids) for tokens in answers]
        if isinstance(step, Cascade) and choose is None and len(going) < len(running):
            places = torch.tensor(going, device=ids.device)
            step.keep(places)
            ids, running = ids[places], [running[place] for place in going]
        step.advance(ids)


def _sampler(
    temperature: float, top_p: float, top_k: int, generator: torch.Generator | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    from transformers import (
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps: Any = LogitsProcessorList()  # their first argument is not read
    if temperature != 1.0:
        steps.append(TemperatureLogitsWarper(float(temperature)))
    if top_k:
        steps.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        steps.append(TopPLogitsWarper(top_p))

    def choose(logits: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(steps(None, logits).softmax(-1), 1, generator=generator)[:, 0]

    return choose


def until_stop(ids: list[int], stops: Sequence[int]) -> list[int]:
    """Return token ids up to and including the first of `stops`."""
    for count, token in enumerate(ids, 1):
        if token in stops:
            return ids[:count]
    return ids
