"""The space that a scan shows, and points outside of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from video3d_plugin.data.extent import check_inside, extent
from video3d_plugin.data.readers import load_scene
from video3d_plugin.errors import DataError


def test_the_extent_holds_the_cameras_and_the_room(my_scan):
    scene = load_scene(my_scan)
    low, high = extent(scene)
    places = np.array([(scene.world_from_scan @ frame.scan_from_camera)[:3, 3] for frame in scene.frames])
    assert (low <= places.min(0)).all() and (places.max(0) <= high).all()
    assert ((high - low) > 2).all() and ((high - low) < 9).all()


def test_a_point_is_inside_up_to_half_a_metre_beyond():
    low, high = np.zeros(3), np.array([4.0, 3.0, 2.5])
    check_inside([[4.4, -0.4, 1]], low, high, "room")
    with pytest.raises(DataError, match=r"room: the point 4.6 1 1 lies outside of the scan \(it spans x 0.0 to 4.0"):
        check_inside([[1, 1, 1], [4.6, 1, 1]], low, high, "room")


def test_inputs_know_the_extent_of_their_frames_and_nan_without_depth(my_scan, tiny_checkpoint):
    from video3d_plugin import load_model

    scene = load_scene(my_scan)
    inputs = load_model(tiny_checkpoint, device="cpu").inputs(scene)
    low, high = extent(scene)
    assert inputs.extent.shape == (2, 3) and (inputs.extent[0] < inputs.extent[1]).all()
    assert (inputs.extent[0].numpy() > low - 0.1).all() and (inputs.extent[1].numpy() < high + 0.1).all()
    nothing = replace(inputs, token_valid=torch.zeros_like(inputs.token_valid)).extent
    assert nothing.isnan().all()
    check_inside([[90, 0, 0]], *nothing.numpy(), "room")  # nothing is known of such a scene
