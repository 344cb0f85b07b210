"""A small scene that the page shows."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin import load_scene
from video3d_plugin.view import gather


@pytest.fixture(scope="session")
def scene(room_root):
    return load_scene(room_root)


@pytest.fixture(scope="session")
def view(scene):
    return gather(scene, [0, 3, 5], "uniform")


@pytest.fixture
def item(scene):
    """A grounding sample: the first annotated object is meant, a box half a size beside it was predicted."""
    truth = [float(v) for v in scene.instances[0].box]
    near = [truth[0] + truth[3] / 2, *truth[1:]]
    return {
        "task": "scanrefer",
        "id": "s|0|0",
        "question": "the first object",
        "answer": None,
        "expected": [],
        "status": "",
        "reason": "",
        "verdict": "wrong",
        "score": 0.33,
        "measure": "IoU",
        "point": None,
        "truth": [truth],
        "predicted": [{"box": near, "score": 0.5, "confidence": 0.25, "iou": 1 / 3}],
        "proposals": scene.proposals.astype(float).tolist(),
        "scores": np.linspace(1, 0, len(scene.proposals)).tolist(),
    }
