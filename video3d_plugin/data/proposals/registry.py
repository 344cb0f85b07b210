"""Proposal makers by name: the built-in ones and add-ons of the entry-point group `video3d.proposals`.

A maker is called as `maker(scene, limit, argument)` and returns `Proposals` (see `maker.ProposalMaker`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from video3d_plugin.data.proposals.maker import PreloadingMaker, ProposalMaker, Proposals
from video3d_plugin.errors import DataError, Video3DError
from video3d_plugin.extensions import ExtensionGroup
from video3d_plugin.scene import Scene


def _check(name: str, loaded: Any) -> None:
    if not callable(loaded):
        raise DataError(f"is a {type(loaded).__name__}, expected a function")


MAKERS = ExtensionGroup(
    "video3d.proposals",
    "proposal maker",
    {
        "auto": "video3d_plugin.data.proposals.auto:make_proposals",
        "detector": "video3d_plugin.data.proposals.detector:make_proposals",
    },
    _check,
)


_REVISION = 2  # of what the built-in makers return; results that were stored before a change are made again


def identity(source: str) -> str | None:
    """Return what identifies the code of the maker NAME[:ARGUMENT]; None for a source that is no maker."""
    name = source.partition(":")[0]
    if name not in MAKERS.names():
        return None
    return MAKERS.source(name) or f"{name} {_REVISION}"


def preload(name: str, argument: str) -> None:
    """Import a maker, and let it read the files of its own that calls with this argument need.

    Raises:
        DataError: There is no such maker, or it cannot use the argument.
        MissingError: A file that the argument names does not exist.
    """
    maker = MAKERS.get(name)
    if isinstance(maker, PreloadingMaker):
        with _blamed(name, where=None):
            maker.preload(argument)


@contextmanager
def _blamed(name: str, where: str | None) -> Iterator[None]:
    """Turn any error of an add-on's code into a DataError that names the add-on."""
    try:
        yield
    except Exception as error:
        if name in MAKERS.built_in or isinstance(error, Video3DError | OSError | MemoryError):
            raise
        what = f"proposal maker {name!r} ({MAKERS.source(name)}) failed: {type(error).__name__}: {error}"
        raise DataError(what, where=where, remedy="repair it, or choose another --proposals") from error


def make(scene: Scene, name: str, limit: int, argument: str = "") -> Proposals:
    """Run a proposal maker and check its result.

    Args:
        scene: The scene.
        name: Name of the maker.
        limit: Largest number of boxes; further ones are cut off.
        argument: The maker's argument.

    Returns:
        The proposals, with arrays of the types that `Proposals` states, best first.

    Raises:
        DataError: There is no such maker, it fails, or it returns something else than `Proposals`.
        MissingError: A file that it needs does not exist.
    """
    maker: ProposalMaker = MAKERS.get(name)
    with _blamed(name, where=scene.scene_id):
        return _checked(maker(scene, limit, argument), limit)


def _checked(made: Any, limit: int) -> Proposals:
    """Return the proposals best first, at most `limit`; raise ValueError for what breaks the interface."""
    if not isinstance(made, Proposals):
        raise ValueError(f"returned a {type(made).__name__}, expected Proposals")
    boxes, scores = np.asarray(made.boxes, np.float32), np.asarray(made.scores, np.float32)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 6)
    if boxes.ndim != 2 or boxes.shape[1] != 6 or not np.isfinite(boxes).all() or (boxes[:, 3:] < 0).any():
        raise ValueError(f"boxes of shape {boxes.shape}, expected finite (N, 6) with sizes of 0 m or more")
    if scores.shape != (len(boxes),) or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores of shape {scores.shape} for {len(boxes)} boxes, expected (N,) in 0..1")
    for field, values in (("labels", made.labels), ("views", made.views)):
        if len(values) not in (0, len(boxes)):
            raise ValueError(f"{len(values)} {field} for {len(boxes)} boxes")
    order = np.argsort(-scores, kind="stable")[:limit]
    return Proposals(
        boxes[order],
        scores[order],
        tuple(str(made.labels[i]) for i in order) if made.labels else (),
        tuple(tuple(map(str, made.views[i])) for i in order) if made.views else (),
        made.note,
    )
