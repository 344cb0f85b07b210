"""Proposals from a JSON file of boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from video3d_plugin.files.json import read_json
from video3d_plugin.files.schema import check
from video3d_plugin.geometry.camera_checks import check_boxes
from video3d_plugin.tasks.kinds import BOX


def read_proposals_json(path: Path, scene_id: str) -> np.ndarray | None:
    """Read the boxes of one scene.

    Args:
        path: JSON object of the form {"<scene id>": [[cx, cy, cz, dx, dy, dz], ...]}, world frame, metres. Ids may have
            the prefix "scannet/", as in Video-3D LLM's metadata files.
        scene_id: Id of the scene.

    Returns:
        (N, 6) float64 boxes, in the order of the file; None if the file has none for this scene.

    Raises:
        MissingError: There is no such file.
        DataError: The file has another form.
    """
    content = read_json(path, dict, 'expected {"<scene id>": [[cx, cy, cz, dx, dy, dz], ...]}, world frame, metres')
    rows = content.get(scene_id, content.get(f"scannet/{scene_id}"))
    if rows is None:
        return None
    check(rows, [BOX], path, f"like {json.dumps([0, 0, 0.5, 1, 1, 1])}", name=f"boxes of {scene_id}")
    return check_boxes(np.array(rows, np.float64).reshape(-1, 6), path, f"boxes of {scene_id}")
