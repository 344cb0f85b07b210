"""Small models and scenes for the model's tests: no files, no network, seconds on one core."""

from __future__ import annotations

import pytest
from model_cases import SIZES, TEXTS, VISION, question, random_scene

from video3d_plugin.model.tiny import build_tiny, train_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="session")
def build(tokenizer):
    """build(**overrides) -> (model, processor): 7 x 7 patches of 8 pixels in a crop of 58, two of which are unused."""

    def make(vision=None, **overrides):
        return build_tiny(tokenizer, vision={**VISION, **(vision or {})}, **{**SIZES, **overrides})

    return make


@pytest.fixture(scope="session")
def pair(build):
    return build()


@pytest.fixture(scope="session")
def scenes(pair):
    spec = pair[0].config.inputs_spec
    return [random_scene(spec, "a", 2, 4, seed=1), random_scene(spec, "b", 3, 6, seed=2)]


@pytest.fixture(scope="session")
def mixed(scenes):
    """All tasks over two scenes of different length, targets none to several."""
    return [
        question("scanqa", "a"),
        question("scanrefer", "b", (20,)),
        question("scan2cap", "b"),
        question("multi3drefer", "a", ()),
        question("two_coords", "a"),
        question("multi3drefer", "b", (0, 40)),
        question("sqa3d", "b"),
    ]
