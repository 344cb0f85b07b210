"""Object proposals of a scene: boxes that a grounding head chooses from.

They come from a source: Mask3D's masks, which the readers turn into boxes, the annotated boxes, a JSON file, or a
maker. A maker needs nothing but the scene's frames. Each has a module of its own that defines a `ProposalMaker`; MAKERS
lists them by name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.proposals import auto
from video3d_plugin.data.proposals.json_file import read_proposals_json
from video3d_plugin.data.proposals.maker import ProposalMaker
from video3d_plugin.scene import Scene

MAKERS: dict[str, ProposalMaker] = {"auto": auto.MAKER}
SOURCES = ("mask3d", "gt", *MAKERS)  # or the path of a .json file
DEFAULT_LIMIT = 50  # Video-3D LLM uses the first 50 proposals


def is_source(source: str) -> bool:
    """Return whether proposals can come from `source`: a name in SOURCES, or the path of a .json file."""
    return source in SOURCES or source.endswith(".json")


def replace_proposals(scene: Scene, source: str, limit: int = DEFAULT_LIMIT) -> Scene:
    """Return the scene with proposals from another source.

    Args:
        scene: A scene as the readers give it.
        source: A name in SOURCES, or the path of a JSON file (see `read_proposals_json`). "mask3d" stands for the
            proposals that the readers found, and leaves the scene as it is.
        limit: Largest number of proposals. All annotated boxes are taken with "gt".

    Returns:
        The scene with (N, 6) float32 proposals, world frame, metres. Notes and omissions about the earlier proposals
        are gone; a note names the new source.

    Raises:
        MissingError: The JSON file does not exist.
        DataError: The JSON file has another form, or a frame cannot be decoded.
    """
    if source == "mask3d":
        return scene
    if source == "gt":
        boxes = np.array([instance.box for instance in scene.instances])
        note = "proposals are the annotated boxes"
    elif source in MAKERS:
        boxes, note = MAKERS[source].make(scene, limit), MAKERS[source].note
    else:
        path = Path(source)
        file_boxes = read_proposals_json(path, scene.scene_id)
        boxes = np.zeros((0, 6)) if file_boxes is None else file_boxes[:limit]
        note = f"no proposals in {path.name}" if file_boxes is None else f"proposals are of {path.name}"
    omissions = tuple(omission for omission in scene.omissions if not omission.what.startswith("proposal "))
    proposals = np.asarray(boxes, np.float32).reshape(-1, 6)
    return replace(scene, proposals=proposals, notes=_notes(scene, note), omissions=omissions)


def with_proposals(scene: Scene, limit: int = DEFAULT_LIMIT, maker: str = "auto") -> Scene:
    """Return the scene itself if it has proposals; else the scene with proposals made from its frames.

    Takes seconds: the default maker decodes up to 60 frames. The result has no proposals if the maker finds no objects.

    Args:
        scene: The scene.
        limit: Largest number of proposals.
        maker: A name in MAKERS.

    Raises:
        DataError: A frame cannot be decoded.
    """
    if len(scene.proposals):
        return scene
    boxes = MAKERS[maker].make(scene, limit)
    return replace(scene, proposals=boxes, notes=_notes(scene, MAKERS[maker].note))


def _notes(scene: Scene, note: str) -> tuple[str, ...]:
    """Return the scene's notes with the one about proposals replaced."""
    return (*(other for other in scene.notes if "proposals" not in other), note)
