"""Object proposals of a scene: boxes that a grounding head chooses from.

They come from a source: Mask3D's masks, which the readers turn into boxes, the annotated boxes, a JSON file, or a maker
NAME[:ARGUMENT], which needs nothing but the scene's frames (`proposals.registry` lists the makers).
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import numpy as np

from video3d_plugin.data.proposals.json_file import read_proposals_json
from video3d_plugin.data.proposals.maker import Proposals
from video3d_plugin.data.proposals.registry import MAKERS, make
from video3d_plugin.data.proposals.registry import preload as _preload
from video3d_plugin.errors import DataError, MissingError
from video3d_plugin.notes import Note, kind_of
from video3d_plugin.scene import Scene

OF_SCAN = ("mask3d", "gt")  # sources that are part of the scan
DEFAULT_MAKER = "auto"
DEFAULT_LIMIT = 50  # Video-3D LLM uses the first 50 proposals


def is_file_source(source: str) -> bool:
    """Return whether proposals of this source are boxes in a JSON file."""
    return source.endswith(".json") and source.partition(":")[0] not in MAKERS.names()


def check_source(source: str) -> None:
    """Check the name of a source of proposals, before any work is done.

    Args:
        source: "mask3d", "gt", NAME or NAME:ARGUMENT of a maker, or the path of a .json file.

    Raises:
        MissingError: The file does not exist.
        DataError: There is no such source; the message lists the known ones.
    """
    if source in OF_SCAN:
        return
    if is_file_source(source):
        if not Path(source).exists():
            raise MissingError("file not found", where=source)
        return
    if source.partition(":")[0] not in MAKERS.names():
        known = (*OF_SCAN, *MAKERS.names())
        close = difflib.get_close_matches(source.partition(":")[0], known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(f"proposals={source!r}", remedy=f"{hint}known: {', '.join(known)}, or a .json file")
    MAKERS.get(source.partition(":")[0])  # an add-on that cannot be loaded


def preload(source: str) -> None:
    """Read what a source needs besides a scene's own files, so that it works where other files are denied.

    Args:
        source: As for `check_source`. Of a JSON file, nothing is kept.

    Raises:
        MissingError: A file of the source does not exist.
        DataError: There is no such source, or it cannot be used.
    """
    check_source(source)
    if source not in OF_SCAN and not is_file_source(source):
        name, _, argument = source.partition(":")
        _preload(name, argument)


def replace_proposals(scene: Scene, source: str, limit: int = DEFAULT_LIMIT) -> Scene:
    """Return the scene with proposals from another source.

    Args:
        scene: A scene as the readers give it.
        source: "mask3d", "gt", NAME or NAME:ARGUMENT of a maker, or the path of a JSON file (see
            `read_proposals_json`). "mask3d" stands for the proposals that the readers found, and leaves the scene as
            it is.
        limit: Largest number of proposals. All annotated boxes are taken with "gt".

    Returns:
        The scene with (N, 6) float32 proposals, world frame, metres, and their scores, labels and views where the
        source has them. Notes and omissions about the earlier proposals are gone; a note names the new source.

    Raises:
        MissingError: The JSON file does not exist.
        DataError: There is no such source, the JSON file has another form, a maker fails, or a frame cannot be decoded.
    """
    check_source(source)
    if source == "mask3d":
        return scene
    if source == "gt":
        made = _annotated(scene)
    elif is_file_source(source):
        made = _of_file(scene, Path(source), limit)
    else:
        name, _, argument = source.partition(":")
        made = make(scene, name, limit, argument)
    omissions = tuple(omission for omission in scene.omissions if not omission.what.startswith("proposal "))
    notes = [note for note in scene.notes if kind_of(note) != "proposals"]
    if made.note:
        notes.append(Note(made.note, "proposals"))
    return replace(
        scene,
        proposals=made.boxes,
        proposal_scores=made.scores,
        proposal_labels=made.labels,
        proposal_views=made.views,
        omissions=omissions,
        notes=tuple(notes),
    )


def with_proposals(scene: Scene, source: str | None = None, limit: int = DEFAULT_LIMIT) -> Scene:
    """Return the scene with proposals: those of `source`, else its own, else those of the default maker.

    Takes seconds where they are made. The result has no proposals if the maker finds no objects.

    Args:
        scene: The scene.
        source: As for `replace_proposals`; None for the scene's own, or the default maker's where it has none.
        limit: Largest number of proposals.

    Raises:
        MissingError: The JSON file does not exist.
        DataError: As `replace_proposals`.
    """
    if source is None and len(scene.proposals):
        return scene
    return replace_proposals(scene, source or DEFAULT_MAKER, limit)


def first_proposals(scene: Scene, limit: int) -> Scene:
    """Return the scene with its first `limit` proposals alone."""
    return replace(
        scene,
        proposals=scene.proposals[:limit],
        proposal_scores=scene.proposal_scores[:limit],
        proposal_labels=scene.proposal_labels[:limit],
        proposal_views=scene.proposal_views[:limit],
    )


def _annotated(scene: Scene) -> Proposals:
    boxes = np.array([instance.box for instance in scene.instances], np.float32).reshape(-1, 6)
    labels = tuple(instance.label for instance in scene.instances)
    return Proposals(boxes, np.zeros(0, np.float32), labels, note="proposals are the annotated boxes")


def _of_file(scene: Scene, path: Path, limit: int) -> Proposals:
    rows = read_proposals_json(path, scene.scene_id)
    boxes = np.zeros((0, 6)) if rows is None else rows[:limit]
    note = f"no proposals in {path.name}" if rows is None else f"proposals are of {path.name}"
    return Proposals(boxes.astype(np.float32), np.zeros(0, np.float32), note=note)
