"""Encode a scene once, ask it any number of questions.

System message, user header and visual tokens precede every question and do not depend on it. `encode_scene` runs them
through the language model once and keeps their keys and values; `answer` and `ground` run the questions alone, in
batches, against them. Results are those of the full computation.

Memory of a prefix, a token: 2 * layers * key-value heads * head size numbers for the cache and `hidden_size` for the
embeddings. Qwen2-7B in bfloat16: 57,344 + 7,168 bytes, so 0.43 GB for the 6,733 tokens of 32 frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from video3d_plugin.errors import DataError
from video3d_plugin.model.grounding import score_proposals
from video3d_plugin.model.scene_tokens import encode_scene_tokens
from video3d_plugin.model.sequence import IMAGE_ID

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor
    from video3d_plugin.scene import Question, SceneInputs


@dataclass(frozen=True)
class ScenePrefix:
    """A scene as the language model has read it; never changed by use.

    embeds     (P, H) what entered the language model
    keys       for each layer (1, key-value heads, P, head size), rotated to their positions; values likewise
    proposals  (N, H) what enters the grounding head
    boxes      (N, 6) float32 the proposals, centre and size, world frame, metres
    """

    scene_id: str
    embeds: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    proposals: torch.Tensor
    boxes: torch.Tensor

    def __len__(self) -> int:
        """Positions that the prefix takes."""
        return len(self.embeds)

    @property
    def nbytes(self) -> int:
        tensors = (self.embeds, *self.keys, *self.values, self.proposals, self.boxes)
        return sum(t.element_size() * t.nelement() for t in tensors)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> ScenePrefix:
        """A copy on another device or in another number format (boxes stay float32)."""
        return replace(
            self,
            embeds=self.embeds.to(device=device, dtype=dtype),
            keys=tuple(t.to(device=device, dtype=dtype) for t in self.keys),
            values=tuple(t.to(device=device, dtype=dtype) for t in self.values),
            proposals=self.proposals.to(device=device, dtype=dtype),
            boxes=self.boxes.to(device=device),
        )


@torch.inference_mode()
def encode_scene(model: Video3DForCausalLM, processor: Video3DProcessor, inputs: SceneInputs) -> ScenePrefix:
    """Run the part before the question through tower and language model."""
    scene = inputs.tensors()
    tokens = encode_scene_tokens(model, scene, with_proposals=model.config.head is not None, name=inputs.scene_id)
    ids = torch.tensor([processor.prefix_ids()], device=tokens.visual.device)
    rows, _ = model.assemble(ids, [tokens])
    output = model.model(
        inputs_embeds=rows.embeds,
        attention_mask=rows.mask,
        past_key_values=DynamicCache(),
        use_cache=True,
        return_dict=True,
    )
    keys, values = _tensors(output.past_key_values)
    return ScenePrefix(inputs.scene_id, rows.embeds[0], keys, values, tokens.proposals, inputs.proposals.float())


@torch.inference_mode()
def ground(
    model: Video3DForCausalLM, processor: Video3DProcessor, prefix: ScenePrefix, questions: Sequence[Question]
) -> list[torch.Tensor]:
    """For every question the scores (N,) of the proposals, or (N + 1,) with the zero-target slot last; float32."""
    if model.config.head is None:
        raise DataError("this model has no grounding head", remedy="load a checkpoint with ground_head_type")
    if not questions:
        return []
    if not len(prefix.proposals):
        raise DataError("no proposals to choose from", where=prefix.scene_id, remedy="give the scene's proposal boxes")
    suffixes = []
    for question in questions:
        ids, _ = processor.suffix_ids(question, answered=True)
        if model.config.ground_token_id not in ids:
            raise DataError(f"{question.item_id} is no grounding question", remedy="use `answer` for it")
        suffixes.append(ids[: ids.index(model.config.ground_token_id) + 1])  # nothing after it is read
    step = _Steps(model, prefix, suffixes, _points(questions))
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
) -> list[str]:
    """The answers' texts: greedy, or sampled. A question that ends early waits for the others of the batch."""
    tokens = answer_tokens(
        model,
        processor,
        prefix,
        questions,
        max_new_tokens,
        choose=_sampler(temperature, top_p, top_k, generator) if do_sample else None,
    )
    return processor.batch_decode(tokens)


@torch.inference_mode()
def answer_tokens(model, processor, prefix, questions, max_new_tokens: int, choose=None) -> list[list[int]]:
    """As `answer`, token ids up to and with the end mark. choose: (B, vocabulary) logits -> (B,) ids, or greedy."""
    if not questions or max_new_tokens < 1:
        return [[] for _ in questions]
    suffixes = []
    for question in questions:
        if question.is_grounding:
            raise DataError(f"{question.item_id} is a grounding question", remedy="use `ground` for it")
        suffixes.append(processor.suffix_ids(question, answered=False)[0])
    step = _Steps(model, prefix, suffixes, _points(questions))
    stop = torch.tensor(processor.stop_ids, device=step.hidden.device)
    chosen, done = [], torch.zeros(len(questions), dtype=torch.bool, device=stop.device)
    while True:
        logits = model.lm_head(step.hidden).float()
        ids = logits.argmax(-1) if choose is None else choose(logits)
        chosen.append(torch.where(done, stop[0], ids))
        done |= torch.isin(ids, stop)
        if len(chosen) == max_new_tokens or bool(done.all()):
            break
        step.advance(chosen[-1])
    return [_until(row, processor.stop_ids) for row in torch.stack(chosen, 1).tolist()]


class _Steps:
    """Questions running against a prefix. Rows are aligned at their ends: padding lies between prefix and question."""

    def __init__(self, model, prefix: ScenePrefix, suffixes: list[list[int]], points: torch.Tensor | None):
        self._inner, longest = model.model, max(map(len, suffixes))
        limit = model.config.longest_sequence
        if len(prefix) + longest > limit:
            raise DataError(
                f"prefix and question take {len(prefix) + longest} positions, the model was made for {limit}",
                where=prefix.scene_id,
                remedy="use fewer frames or a shorter prompt",
            )
        device = model.get_input_embeddings().weight.device
        ids = torch.tensor([[0] * (longest - len(suffix)) + suffix for suffix in suffixes], device=device)
        mask = torch.tensor([[0] * (longest - len(suffix)) + [1] * len(suffix) for suffix in suffixes], device=device)
        if bool((ids == IMAGE_ID).any()):
            raise DataError("a question shows the scene again", remedy="put <image> once in its prompt")
        self._cache = _cache(prefix, len(suffixes), self._inner)
        self._mask = torch.cat([mask.new_ones(len(ids), len(prefix)), mask], 1)
        self._next = len(prefix) + mask.sum(1)  # the position of the token after
        embeds = model.embed_text(ids, mask.bool(), points)
        self._run(embeds, (len(prefix) + mask.cumsum(1) - 1).clamp(min=0))

    def advance(self, ids: torch.Tensor) -> None:
        """One more token a row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], 1)
        self._run(self._inner.embed_tokens(ids[:, None]), self._next[:, None])
        self._next = self._next + 1

    def _run(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> None:
        output = self._inner(
            inputs_embeds=embeds,
            attention_mask=self._mask,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            return_dict=True,
        )
        self._cache, self.hidden = output.past_key_values, output[0][:, -1]


def _cache(prefix: ScenePrefix, rows: int, inner) -> DynamicCache:
    """A cache that starts with the prefix for every row. It grows by concatenation: the prefix is not written to."""
    cache = DynamicCache()
    dtype = inner.embed_tokens.weight.dtype
    for index, (key, value) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
        device = next(inner.layers[index].parameters()).device
        placed = (t.to(device=device, dtype=dtype).expand(rows, -1, -1, -1) for t in (key, value))
        cache.update(*placed, index)
    return cache


def _tensors(cache) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Keys and values by layer, of transformers' cache before and after 4.54."""
    if hasattr(cache, "layers"):
        return tuple(layer.keys for layer in cache.layers), tuple(layer.values for layer in cache.layers)
    return tuple(cache.key_cache), tuple(cache.value_cache)


def _points(questions: Sequence[Question]) -> torch.Tensor | None:
    points = [point for question in questions for point in question.coords]
    return torch.tensor(points, dtype=torch.float32) if points else None


def _sampler(temperature: float, top_p: float, top_k: int, generator: torch.Generator | None):
    from transformers import (
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    steps = LogitsProcessorList()
    if temperature != 1.0:
        steps.append(TemperatureLogitsWarper(float(temperature)))
    if top_k:
        steps.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        steps.append(TopPLogitsWarper(top_p))

    def choose(logits: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(steps(None, logits).softmax(-1), 1, generator=generator)[:, 0]

    return choose


def _until(ids: list[int], stops: Sequence[int]) -> list[int]:
    for count, token in enumerate(ids, 1):
        if token in stops:
            return ids[:count]
    return ids
