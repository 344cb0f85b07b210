"""What Python prints of a scene and of a result: short, rounded, without arrays."""

from __future__ import annotations

import numpy as np

from video3d_plugin.grounding_result import grounding_of
from video3d_plugin.scene import Scene


def test_a_scene_prints_its_counts():
    scene = Scene("kitchen", (), np.eye(4), proposals=np.zeros((3, 6), np.float32))
    assert repr(scene) == "Scene('kitchen': 0 frames, 0 annotated objects, 3 proposals)"


def test_a_grounding_prints_what_was_chosen_with_rounded_boxes():
    boxes = np.array([[0, 0, 0, 1, 1, 1], [1.23456, 2, -0.5, 0.333333, 1, 1]])
    found = grounding_of("the lamp", [0.2, 0.9, 0.1], boxes, 0.07)
    first, second = repr(found).splitlines()
    assert first == "Grounding('the lamp': 1 of 2 boxes; nothing fits: 0%)"
    assert "100% sure" in second and "centre 1.23, 2.00, -0.50 m, size 0.33, 1.00, 1.00 m" in second
    many = grounding_of("lamps", [1.0] * 9, np.tile(boxes, (5, 1))[:9], 0.07, several=True)
    assert len(repr(many).splitlines()) == 7 and "and 4 more" in repr(many)
