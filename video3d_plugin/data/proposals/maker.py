"""The interface of a proposal maker: a scene in; boxes with scores, and possibly labels and views, out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from video3d_plugin.scene import Scene


@dataclass(frozen=True)
class Proposals:
    """Boxes of the objects in a scene, best first.

    Attributes:
        boxes: (N, 6) float32 centre and size, world frame (z up), metres; N may be 0.
        scores: (N,) float32 in 0..1, in descending order.
        labels: N names of objects, "" where unknown; or empty: the maker knows no names.
        views: N tuples with the names of the frames that show the object; or empty: unknown.
        note: One sentence for `Scene.notes` about where the proposals come from.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...] = ()
    views: tuple[tuple[str, ...], ...] = ()
    note: str = ""


class ProposalMaker(Protocol):
    """A member of the entry-point group `video3d.proposals`: a way to make proposals from a scene's frames."""

    def __call__(self, scene: Scene, limit: int, argument: str) -> Proposals:
        """Make proposals.

        Args:
            scene: The scene. Its instances and earlier proposals are not to be looked at.
            limit: Largest number of boxes.
            argument: What follows the colon of `--proposals NAME:ARGUMENT`; "" if there is none.

        Returns:
            The proposals. N is 0 if no object is found.

        Raises:
            DataError: The argument or a frame cannot be used.
            MissingError: A file that the argument names does not exist.
        """
        ...


@runtime_checkable
class PreloadingMaker(Protocol):
    """A maker that reads files of its own, such as a model's, and can do so before it is called.

    `video3d serve` reads uploads in processes that deny other files than the upload's.
    """

    def preload(self, argument: str) -> None:
        """Read what calls with this argument need, and keep it.

        Args:
            argument: As for the call.

        Raises:
            DataError: The argument or a file cannot be used.
            MissingError: A file that the argument names does not exist.
        """
        ...
