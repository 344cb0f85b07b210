"""Labels and attributes as word vectors."""

from __future__ import annotations

import torch

from video3d_plugin.mini.curriculum.vocabulary import NONE, Vocabulary


def test_the_loss_is_small_for_states_similar_to_the_right_words(build):
    _, processor = build()
    vocabulary = Vocabulary.of([{1: ("red", "chair"), 2: (None, "trash can")}], processor.tokenizer)
    assert vocabulary.numbers({7: ("red", "trash can")}, 7) == (
        vocabulary.labels["trash can"],
        vocabulary.attributes["red"],
    )
    assert vocabulary.numbers({}, 7) == (NONE, NONE)
    words = torch.randn(len(processor.tokenizer), 16, generator=torch.Generator().manual_seed(0))
    vectors = torch.stack([words[list(ids)].mean(0) for ids in vocabulary.tokens])
    right = torch.tensor([[vocabulary.labels["chair"], NONE], [vocabulary.labels["trash can"], NONE]])
    states = vectors[[vocabulary.labels["chair"], vocabulary.labels["trash can"]]] * 5
    assert vocabulary.loss(states, right, words) < 0.1 < 1 < vocabulary.loss(states.flip(0), right, words)
    assert float(vocabulary.loss(states, torch.full((2, 2), NONE), words)) == 0
