"""Labels and attributes as the language model knows them: the vectors of their words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from video3d_plugin.model.text_ids import encode_text
from video3d_plugin.training.objects import Named

NONE = -100  # of an object without label or attribute
_SHARPNESS = 1 / 3  # of the likeness of a state to a word's vector, both about as long as a word's vector is


@dataclass(frozen=True)
class Naming:
    """The labels and attributes of a training set, numbered, and the tokens that each is written with."""

    labels: Mapping[str, int]
    attributes: Mapping[str, int]
    tokens: tuple[tuple[int, ...], ...]  # labels first

    @classmethod
    def of(cls, named: Iterable[Named], tokenizer: Any) -> Naming:
        pairs = [pair for objects in named for pair in objects.values()]
        labels, attributes = (sorted({pair[k] for pair in pairs if pair[k]}) for k in (1, 0))
        tokens = tuple(tuple(encode_text(tokenizer, " " + word)) for word in labels + attributes)
        return cls({w: i for i, w in enumerate(labels)}, {w: i for i, w in enumerate(attributes)}, tokens)

    def numbers(self, objects: Named, object_id: int) -> tuple[int, int]:
        """(label, attribute) of one object, NONE where it has none."""
        attribute, label = objects.get(object_id, (None, None))
        return self.labels.get(label, NONE), self.attributes.get(attribute, NONE)

    def loss(self, states: torch.Tensor, wanted: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of states (M, H), told apart by their likeness to words, as labels and as attributes.

        wanted (M, 2) numbers, NONE where not asked; words (vocabulary, H): embeddings, or the rows of the output head.
        0, with a gradient, where nothing is asked.
        """
        vectors = torch.stack([words[list(ids)].mean(0) for ids in self.tokens])
        total = states.sum() * 0
        first = len(self.labels)
        for part, numbers in ((vectors[:first], wanted[:, 0]), (vectors[first:], wanted[:, 1])):
            asked = numbers != NONE
            if bool(asked.any()):
                logits = states[asked] @ (part - part.mean(0)).T * _SHARPNESS
                total = total + F.cross_entropy(logits, numbers[asked])
        return total
