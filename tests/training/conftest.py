"""Three small rooms to train on."""

from __future__ import annotations

import pytest

from video3d_plugin.data.folder import DataFolder
from video3d_plugin.data.prepare import prepare
from video3d_plugin.data.synthetic.benchmark import Counts, make_benchmark


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
