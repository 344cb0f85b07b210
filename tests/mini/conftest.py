"""Three small rooms to train on, and small models."""

from __future__ import annotations

import pytest

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.mini.presets import MiniPreset
from video3d_plugin.mini.rooms import Counts, make_benchmark
from video3d_plugin.mini.settings import MiniSettings
from video3d_plugin.mini.train import from_scratch


@pytest.fixture(scope="session")
def rooms(tmp_path_factory) -> DataFolder:
    root = tmp_path_factory.mktemp("rooms")
    counts = Counts(objects=8, references=(3, 3), multi3drefer=4, scanqa=4, sqa3d=4)
    parts = ("posed_images", "mesh", "mask", "annotations")
    make_benchmark(
        root / "s", split={"train": 3}, image_size=(60, 80), frames=4, counts=counts, plan="small", write=parts
    )
    prepare(root / "s", root / "data")
    return DataFolder.open(root / "data")


@pytest.fixture(scope="session")
def questions(rooms):
    return rooms.questions("scanrefer", "train")


@pytest.fixture(scope="session")
def sizes() -> dict:
    """Of the language model."""
    return {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.1}


@pytest.fixture(scope="session")
def tower_sizes() -> dict:
    return {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "image_size": 112}


@pytest.fixture
def build(questions, sizes, tower_sizes):
    """Makes a model of two layers from scratch, with the same weights each time; options go to its configuration."""
    return lambda **options: from_scratch(MiniPreset(MiniSettings(), {**sizes, **options}, tower_sizes, 400), questions)
