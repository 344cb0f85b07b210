"""Video3DOutput: what the model returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils.generic import ModelOutput

from video3d_plugin.compat import CACHE


@dataclass
class Video3DOutput(ModelOutput):
    """Output of the model for a batch of I items in R rows of length L.

    Attributes:
        loss: () mean of `item_losses`.
        item_losses: (I,) loss of each item; 0 for an item without labels.
        logits: (R, L, vocabulary). In training with labels (K, vocabulary), of the K labelled positions only.
        ground_scores: For each item (N,) or (N + 1,) scores of the proposals; None for text items.
        cache: Cache of keys and values; `past_key_values` before transformers 5.24.
        hidden_states: As in transformers.
        attentions: As in transformers.
    """

    loss: torch.Tensor | None = None
    item_losses: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    ground_scores: list[torch.Tensor | None] | None = None
    if CACHE == "cache":
        cache: Any = None
    else:
        past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
