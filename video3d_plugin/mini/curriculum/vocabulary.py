"""Labels and attributes of objects as the language model's word vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from video3d_plugin.mini.curriculum.object_questions import ObjectNames
from video3d_plugin.model.text_ids import encode_text

NONE = -100  # the number of an object without a label or attribute
_SCALE = 1 / 3  # of the logits: products of a state and a word vector, both about as long as a word vector


@dataclass(frozen=True)
class Vocabulary:
    """The labels and attributes of a training set.

    Attributes:
        labels: Number of each label.
        attributes: Number of each attribute.
        tokens: Token ids of each label, then of each attribute.
    """

    labels: Mapping[str, int]
    attributes: Mapping[str, int]
    tokens: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, scenes: Iterable[ObjectNames], tokenizer: Any) -> Vocabulary:
        """Collect the labels and attributes of the objects of `scenes`."""
        pairs = [pair for objects in scenes for pair in objects.values()]
        labels, attributes = (sorted({pair[k] for pair in pairs if pair[k]}) for k in (1, 0))
        tokens = tuple(tuple(encode_text(tokenizer, " " + word)) for word in labels + attributes)
        return cls({w: i for i, w in enumerate(labels)}, {w: i for i, w in enumerate(attributes)}, tokens)

    def numbers(self, objects: ObjectNames, object_id: int) -> tuple[int, int]:
        """Return the numbers of an object's label and attribute; NONE for one that it does not have."""
        attribute, label = objects.get(object_id, (None, None))
        return self.labels.get(label, NONE), self.attributes.get(attribute, NONE)

    def loss(self, states: torch.Tensor, numbers: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of states that are classified by their similarity to word vectors.

        Args:
            states: (M, H).
            numbers: (M, 2) label and attribute numbers; NONE is left out.
            words: (V, H) word vectors: embeddings, or the rows of the output head.

        Returns:
            The sum of the mean over labels and the mean over attributes; 0, with a gradient, if all are left out.
        """
        vectors = torch.stack([words[list(ids)].mean(0) for ids in self.tokens])
        total = states.sum() * 0
        first = len(self.labels)
        for part, expected in ((vectors[:first], numbers[:, 0]), (vectors[first:], numbers[:, 1])):
            is_known = expected != NONE
            if bool(is_known.any()):
                logits = states[is_known] @ (part - part.mean(0)).T * _SCALE
                total = total + F.cross_entropy(logits, expected[is_known])
        return total
