"""Builds small models with random weights, of the same classes as the large ones, for the demo and for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from video3d_plugin.config import Video3DConfig
from video3d_plugin.config.paper import PAPER
from video3d_plugin.model.modeling import Video3DForCausalLM
from video3d_plugin.model.processing import Video3DProcessor
from video3d_plugin.tokens import CHAT_END, CHAT_START, SPATIAL_TOKENS, TEXT_END

_CHAT = [TEXT_END, CHAT_START, CHAT_END]

TINY_LANGUAGE: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
TINY_VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 112,
    "patch_size": 14,
}


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> Any:
    """Train a byte-level BPE tokenizer in Qwen2's format, with its chat tokens and the spatial tokens.

    Args:
        texts: Training texts; the result depends on their order.
        vocab_size: Tokens at most, before the spatial tokens are added.

    Returns:
        A tokenizer of transformers.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # Qwen2's split of text into words (Qwen/Qwen2-7B, tokenizer.json), before byte-level encoding.
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_CHAT,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    result = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=CHAT_END,
        pad_token=TEXT_END,
        additional_special_tokens=[CHAT_START, CHAT_END],
        clean_up_tokenization_spaces=False,
    )
    result.add_tokens(list(SPATIAL_TOKENS))
    return result


def build_tiny(
    tokenizer: Any,
    *,
    vision: dict[str, Any] | None = None,
    seed: int | None = 0,
    attn_implementation: str = "sdpa",
    **overrides: Any,
) -> tuple[Video3DForCausalLM, Video3DProcessor]:
    """Build a small model with random weights, and its processor.

    Args:
        tokenizer: A tokenizer of transformers; the special tokens that it lacks are added.
        vision: Sizes of the tower that differ from TINY_VISION.
        seed: Seed of the weights, independent of torch's global generator; None draws from that generator.
        attn_implementation: Attention of the language model.
        **overrides: Keys of the configuration that differ from TINY_LANGUAGE and PAPER.

    Returns:
        The model, in evaluation mode, and its processor.
    """
    config = Video3DConfig(
        **{
            **TINY_LANGUAGE,
            **PAPER,
            "vocab_size": len(tokenizer),
            "vision_config": {**TINY_VISION, **(vision or {})},
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
            **overrides,
        }
    )
    config.mm_hidden_size = config.vision["hidden_size"]
    config._attn_implementation = attn_implementation
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = Video3DForCausalLM(config)
    model.add_tokens(tokenizer)
    return model.eval(), Video3DProcessor(tokenizer, config)
