"""The small checkpoint, its language part as an engine has it, and two scenes."""

from __future__ import annotations

import pytest
from engines import PlainEngine
from model_cases import random_scene

from video3d_plugin import load_model
from video3d_plugin.model.checkpoint.export_language import export_language


@pytest.fixture(scope="session")
def mini():
    return load_model(device="cpu")


@pytest.fixture(scope="session")
def exported(mini, tmp_path_factory):
    return export_language(mini.model, mini.processor, tmp_path_factory.mktemp("engine") / "qwen2")


@pytest.fixture(scope="session")
def rooms(mini):
    return [random_scene(mini.spec, "a", 2, 3, seed=1), random_scene(mini.spec, "b", 3, 4, seed=2)]


@pytest.fixture
def engine(exported):
    return PlainEngine(exported)
