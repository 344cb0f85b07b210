"""Questions about an embedded scene, answered by an engine; and the check that the engine runs the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from video3d_plugin.engine.base import Decoding, Engine, StateEngine
from video3d_plugin.errors import DataError
from video3d_plugin.model.grounding import score_proposals
from video3d_plugin.model.prefix.embeddings import grounding_suffixes, joined_embeddings, prompt_embeddings
from video3d_plugin.model.prefix.inference import until_stop
from video3d_plugin.model.prefix.scene_prefix import ScenePrefix
from video3d_plugin.model.sequence import IMAGE_ID
from video3d_plugin.scene import Question

if TYPE_CHECKING:
    from video3d_plugin.model.modeling import Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor

# Mean difference of log-probabilities above which an engine runs other weights. In bfloat16 it was 0.009 on the small
# checkpoint.
_LOGPROB_LIMIT = 0.1
_PROBE_TOKENS = 16
_PROBE = "<image>What colour is the chair next to the table?"
_REMEDY = "export this checkpoint with `video3d export CHECKPOINT --format vllm`, and start the engine on that folder"


def answer(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    engine: Engine,
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
    """Generate the answers of text questions.

    Args:
        model: The model, which computes the embeddings of the questions.
        processor: Its processor.
        engine: The engine, which runs the language model.
        prefix: The scene; its keys and values are not read.
        questions: Text questions.
        max_new_tokens: Tokens of an answer at most.
        do_sample: Sample instead of decoding greedily.
        temperature: Divides the logits when sampling.
        top_p: Samples from the most probable tokens that together reach this probability.
        top_k: Samples from this many tokens; 0: all.
        generator: Its initial seed is the engine's. The engine draws other numbers from it than torch.

    Returns:
        The answers' texts.

    Raises:
        Video3DError: A question cannot be asked, or the engine fails.
    """
    decoding = Decoding(max_new_tokens, tuple(processor.stop_ids))
    if do_sample:
        seed = torch.initial_seed() if generator is None else generator.initial_seed()
        decoding = replace(decoding, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed % (1 << 62))
    return processor.batch_decode(answer_tokens(model, processor, engine, prefix, questions, decoding))


def answer_tokens(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    engine: Engine,
    prefix: ScenePrefix,
    questions: Sequence[Question],
    decoding: Decoding,
) -> list[list[int]]:
    """Generate answers as token ids, up to and including the end token.

    Args:
        model: The model.
        processor: Its processor.
        engine: The engine.
        prefix: The scene.
        questions: Text questions.
        decoding: How to answer. An answer is shorter where the engine has fewer positions left.

    Raises:
        Video3DError: A question cannot be asked, or the engine fails.
    """
    if not questions or decoding.max_new_tokens < 1:
        return [[] for _ in questions]
    prompts = [prompt.cpu() for prompt in prompt_embeddings(model, processor, prefix, questions)]
    longest = max(map(len, prompts))
    if longest >= engine.longest:
        raise DataError(
            f"prefix and question take {longest} positions, {engine.name} has {engine.longest}",
            where=prefix.scene_id,
            remedy="start the engine with a larger max_model_len, or use fewer frames",
        )
    room = replace(decoding, max_new_tokens=min(decoding.max_new_tokens, engine.longest - longest))
    return [until_stop(made.ids, processor.stop_ids) for made in engine.generate(prompts, room)]


@torch.inference_mode()
def ground(
    model: Video3DForCausalLM,
    processor: Video3DProcessor,
    engine: StateEngine,
    prefix: ScenePrefix,
    questions: Sequence[Question],
) -> list[torch.Tensor]:
    """Score the scene's proposals for each question, with the hidden states of an engine.

    Args:
        model: The model, which holds the grounding head and computes the embeddings.
        processor: Its processor.
        engine: The engine, which runs the language model.
        prefix: The scene; its keys and values are not read.
        questions: Grounding questions.

    Returns:
        For each question (N,) float32 scores, or (N + 1,) with the zero-target slot last.

    Raises:
        Video3DError: As `model.prefix.inference.ground`, or the engine fails.
    """
    if prefix.unfinished is not None:
        what = "this checkpoint grounds with the language model's states of the scene, which the engine does not return"
        raise DataError(what, where=prefix.scene_id, remedy="ground with the model itself (no engine_grounding)")
    suffixes = grounding_suffixes(model, processor, prefix, questions)
    if not suffixes:
        return []
    prompts = [prompt.cpu() for prompt in joined_embeddings(model, prefix, suffixes, questions)]
    states = engine.last_states(prompts).to(prefix.proposals)
    return list(score_proposals(model, model.config.head, states, prefix.proposals).float())


@torch.inference_mode()
def check_same_weights(model: Video3DForCausalLM, processor: Video3DProcessor, engine: Engine) -> float:
    """Raise DataError if the engine runs other weights than the model's language part.

    The engine continues a fixed question without a scene, past its end tokens. The log-probabilities of its tokens are
    compared with those of the model here.

    Args:
        model: The model.
        processor: Its processor.
        engine: The engine.

    Returns:
        The mean difference of the log-probabilities, in nats.

    Raises:
        DataError: It is too large, or the engine's answer cannot be used.
    """
    inner: Any = model.get_model()
    ids = [token for token in processor.prefix_ids() if token != IMAGE_ID]
    ids += processor.suffix_ids(Question("probe", "0", "", _PROBE), answered=False)[0]
    prompt = inner.embed_tokens(torch.tensor(ids, device=inner.embed_tokens.weight.device))
    made = engine.generate([prompt.cpu()], Decoding(_PROBE_TOKENS, ()))[0]
    known = inner.embed_tokens.weight.shape[0]
    if not made.ids or len(made.ids) != len(made.logprobs) or not all(0 <= token < known for token in made.ids):
        raise DataError(f"{engine.name} continued the probe with {len(made.ids)} unusable tokens", remedy=_REMEDY)
    row = torch.cat([prompt, inner.embed_tokens(torch.tensor(made.ids, device=prompt.device))])[None]
    hidden = inner(inputs_embeds=row, use_cache=False, return_dict=True)[0][0, len(ids) - 1 : -1]
    logits = model.lm_head(hidden).float().log_softmax(-1)
    own = logits.gather(1, torch.tensor(made.ids, device=logits.device)[:, None])[:, 0].cpu()
    difference = float((own - torch.tensor(made.logprobs)).abs().mean())
    if not difference <= _LOGPROB_LIMIT:
        raise DataError(
            f"{engine.name} does not run the weights of this checkpoint: the log-probabilities of {len(made.ids)} "
            f"tokens differ by {difference:.2f} on average",
            remedy=_REMEDY,
        )
    return difference
