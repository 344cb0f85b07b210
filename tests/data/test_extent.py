"""The space that a scan shows, and points outside of it."""

from __future__ import annotations

import numpy as np
import pytest

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
    check_inside([4.4, -0.4, 1], low, high, "room")
    with pytest.raises(DataError, match=r"room: the point 4.6 1 1 lies outside of the scan \(it spans x 0.0 to 4.0"):
        check_inside([4.6, 1, 1], low, high, "room")
