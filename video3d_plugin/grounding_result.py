"""Grounding: the result of `Video3D.ground`, boxes with scores, best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from video3d_plugin.metrics.selection import TEMPERATURE, best_object, objects_by_share


@dataclass(frozen=True, repr=False)
class FoundBox:
    """A proposal and its score for a description.

    Attributes:
        box: Centre x, y, z and size x, y, z; axis-aligned, world frame (z up), metres.
        score: Output of the grounding head, for ranking only (InfoNCE: a cosine, -1 to 1).
        confidence: 0 to 1. InfoNCE: the softmax over all proposals and "no such object"; other heads: the logistic
            function of the score.
        index: Row among the scene's proposals.
    """

    box: tuple[float, float, float, float, float, float]
    score: float
    confidence: float
    index: int

    def __repr__(self) -> str:
        centre, size = (", ".join(f"{value:.2f}" for value in values) for values in (self.centre, self.size))
        sure = f"{self.confidence:.0%} sure, score {self.score:.3f}"
        return f"FoundBox({self.index}: {sure}, centre {centre} m, size {size} m)"

    @property
    def centre(self) -> tuple[float, float, float]:
        """x, y, z of the box's centre: world frame, metres."""
        return self.box[:3]

    @property
    def size(self) -> tuple[float, float, float]:
        """Extent of the box along x, y, z: metres."""
        return self.box[3:]


@dataclass(frozen=True, repr=False)
class Grounding(Sequence[FoundBox]):
    """All proposals of a scene for one description: a sequence of FoundBox, best first.

    Attributes:
        description: The description.
        found: All proposals, best first.
        chosen: The selected boxes: the best one; if several were allowed, all that fit, or none.
        nothing: Confidence that no object fits; None for a head without such a score.

    >>> result = model.ground(scene, "the chair next to the table")
    >>> len(result) == len(result.boxes) == len(result.scores), result.boxes.shape[1]
    (True, 6)
    >>> result[0] == result.best, float(result.scores.max() - result.scores[0])
    (True, 0.0)
    """

    description: str
    found: tuple[FoundBox, ...]
    chosen: tuple[FoundBox, ...]
    nothing: float | None = None

    def __repr__(self) -> str:
        lines = "".join(f"\n  {box!r}" for box in self.chosen[:5])
        more = f"\n  and {len(self.chosen) - 5} more" if len(self.chosen) > 5 else ""
        rest = "" if self.nothing is None else f"; nothing fits: {self.nothing:.0%}"
        return f"Grounding({self.description!r}: {len(self.chosen)} of {len(self.found)} boxes{rest}){lines}{more}"

    @overload
    def __getitem__(self, index: int) -> FoundBox: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FoundBox, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[FoundBox]:
        return iter(self.found)

    @property
    def best(self) -> FoundBox:
        """The box with the highest score."""
        return self.found[0]

    @property
    def boxes(self) -> np.ndarray:
        """(N, 6) float32 centre and size, world frame, metres, best first."""
        return np.array([box.box for box in self.found], np.float32).reshape(-1, 6)

    @property
    def scores(self) -> np.ndarray:
        """(N,) float32, best first."""
        return np.array([box.score for box in self.found], np.float32)

    def as_json(self, limit: int | None = None) -> dict[str, Any]:
        """Return a JSON-serialisable dict.

        Args:
            limit: How many boxes to include besides the selected ones; None: all.
        """
        return {
            "description": self.description,
            "chosen": [_plain(box) for box in self.chosen],
            "boxes": [_plain(box) for box in self.found[:limit]],
            **({} if self.nothing is None else {"nothing": round(self.nothing, 6)}),
        }


def _plain(box: FoundBox) -> dict[str, Any]:
    values = [float(str(np.float32(value))) for value in box.box]
    return {"box": values, "score": round(box.score, 6), "confidence": round(box.confidence, 6), "index": box.index}


def grounding_of(
    description: str,
    scores: Sequence[float],
    boxes: np.ndarray,
    temperature: float | None,
    several: bool = False,
) -> Grounding:
    """Rank proposals by their scores and select those that are meant.

    Args:
        description: The description.
        scores: (N,), or (N + 1,) with "no such object" last.
        boxes: (N, 6) centre and size, world frame, metres.
        temperature: The InfoNCE head's; None for a head that scores each box independently.
        several: False: select the best box (ScanRefer). True: select all boxes at least half as probable as the best
            (Multi3DRefer), or none.
    """
    values = np.asarray(scores, np.float64)
    has_nothing = len(values) == len(boxes) + 1
    confidence = 1 / (1 + np.exp(-values)) if temperature is None else shares_of(values, temperature)
    order = np.argsort(-values[: len(boxes)], kind="stable")
    by_index = {int(i): FoundBox(_six(boxes[i]), float(values[i]), float(confidence[i]), int(i)) for i in order}
    if several:
        indices = objects_by_share(scores, len(boxes), has_nothing, temperature=temperature or TEMPERATURE)
    else:
        best = best_object(scores, len(boxes), has_nothing)
        indices = [] if best is None else [best]
    selected = tuple(by_index[i] for i in indices)
    return Grounding(description, tuple(by_index.values()), selected, float(confidence[-1]) if has_nothing else None)


def shares_of(scores: Sequence[float] | np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """Return the softmax of an InfoNCE head's scores, which is how sure it is of each.

    Args:
        scores: (N + 1,) of the proposals and of "no such object".
        temperature: The head's.

    Returns:
        (N + 1,) float64, of sum 1.
    """
    values = np.asarray(scores, np.float64)
    weights = np.exp((values - values.max()) / temperature)
    return weights / weights.sum()


def _six(box: np.ndarray) -> tuple[float, float, float, float, float, float]:
    x, y, z, dx, dy, dz = map(float, box)
    return x, y, z, dx, dy, dz
