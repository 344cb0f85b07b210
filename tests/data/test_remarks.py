"""What is said of a scan on the terminal, in one wording."""

from __future__ import annotations

import numpy as np

from video3d_plugin.data.remarks import remarks
from video3d_plugin.scene import Omission, Scene


def test_notes_and_omissions_are_said_once_and_boxes_elsewhere():
    notes = ("poses are taken as metres", "poses are taken as metres", "no mesh: no annotated boxes")
    scene = Scene("x", (), np.eye(4), notes=notes, omissions=(Omission("frame 1", "no pose"), Omission("frame 2", "a")))
    assert remarks(scene) == [
        "x: note: poses are taken as metres",
        "x: 2 left out, the first: frame 1: no pose",
    ]


def test_nothing_is_said_of_a_scan_without_remarks():
    assert remarks(Scene("x", (), np.eye(4))) == []
