"""The interfaces of engines: prompts as embeddings in, token ids or hidden states out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Decoding:
    """How answers are generated.

    Attributes:
        max_new_tokens: Tokens of an answer at most.
        stop_ids: Ids of the tokens that end an answer; () where nothing does, the checkpoint's end tokens included.
        temperature: Divides the logits when sampling; 0 for greedy decoding.
        top_p: Samples from the most probable tokens that together reach this probability.
        top_k: Samples from this many tokens; 0: all.
        seed: Random state of sampling; the prompt at index i gets `seed + i`.
    """

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Generated:
    """What an engine made of one prompt.

    Attributes:
        ids: Token ids, with or without the end token.
        logprobs: For each of them the log-probability that the engine gave it, in nats.
    """

    ids: list[int]
    logprobs: list[float]


class Engine(Protocol):
    """An inference engine that runs the language part of a checkpoint.

    Attributes:
        name: Names the engine in messages.
        longest: Positions of prompt and answer together at most.
    """

    name: str
    longest: int

    def generate(self, prompts: Sequence[torch.Tensor], decoding: Decoding) -> list[Generated]:
        """Continue prompts.

        Args:
            prompts: For each prompt its input embeddings (L, H), L below `longest`, on the CPU.
            decoding: How to continue them.

        Returns:
            One result for each prompt.

        Raises:
            Video3DError: The engine refused a prompt, or cannot be reached.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class StateEngine(Protocol):
    """An engine that returns hidden states of the language part of a checkpoint."""

    def last_states(self, prompts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the last hidden state of each prompt, after the final norm.

        Args:
            prompts: For each prompt its input embeddings (L, H), on the CPU.

        Returns:
            (B, H) float32, on the CPU.

        Raises:
            Video3DError: The engine refused a prompt.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...
