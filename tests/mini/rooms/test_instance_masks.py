"""Instance masks of rooms."""

from __future__ import annotations

import numpy as np

from video3d_plugin.mini.rooms import synthetic_scene
from video3d_plugin.mini.rooms.instance_masks import instance_masks

SIZE = (96, 128)


def test_masks_show_objects_without_overlap_and_without_walls_and_floor():
    scene = synthetic_scene(0, "val", 0, frames=4)
    for index in range(4):
        masks = instance_masks(scene, index, SIZE)
        assert masks and all(mask.shape == SIZE and mask.dtype == bool and mask.sum() >= 50 for mask in masks)
        assert np.sum(masks, 0).max() == 1 and np.mean(np.any(masks, 0)) < 0.9
