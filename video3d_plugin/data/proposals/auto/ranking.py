"""Chooses among candidate boxes: large, agreed on by many, well filled and with a clear border come first."""

from __future__ import annotations

import numpy as np

from video3d_plugin.data.proposals.auto.boxes import Candidates

_SAME_IOU = 0.7  # candidates that overlap more vote for each other
_VOTES_POWER = 0.4
_LARGEST_FILL = 3.0
_FREE_BORDER = 1.5  # of a set that no edge leaves
_LARGEST_IOU = 0.6  # between two chosen boxes
_MIDDLE_SCORE = 30.0  # becomes 0.5
_PAIRS_AT_ONCE = 1 << 20


def ranked(candidates: Candidates, area_m2: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of at most `limit` candidates, best first, and their scores in 0..1.

    Args:
        candidates: N candidates.
        area_m2: Surface that a surfel stands for.
        limit: Largest number.
    """
    if not len(candidates) or limit < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    scores = scores_of(candidates, area_m2)
    remaining = scores.copy()
    chosen: list[int] = []
    values: list[float] = []
    overlap = np.zeros(len(scores))  # largest IoU with a chosen one
    while len(chosen) < limit:
        best = int(remaining.argmax())
        if remaining[best] <= 0:
            break
        chosen.append(best)
        values.append(remaining[best])
        overlap = np.maximum(overlap, _ious(candidates, np.full(len(scores), best), np.arange(len(scores))))
        remaining = np.where(overlap > _LARGEST_IOU, 0, scores * (1 - overlap))
    best_scores = np.array(values)
    return np.array(chosen, np.int64), (best_scores / (best_scores + _MIDDLE_SCORE)).astype(np.float32)


def scores_of(candidates: Candidates, area_m2: float) -> np.ndarray:
    """(N,) score of each candidate, above 0."""
    size = candidates.high - candidates.low
    faces = np.stack([size[:, 0] * size[:, 1], size[:, 0] * size[:, 2], size[:, 1] * size[:, 2]])
    fill = np.minimum(candidates.counts * area_m2 / np.maximum(faces.max(0), 1e-6), _LARGEST_FILL)
    border = np.where(np.isnan(candidates.borders), _FREE_BORDER, candidates.borders)
    return (candidates.counts * votes_of(candidates)) ** _VOTES_POWER * fill * border * candidates.factors


def votes_of(candidates: Candidates) -> np.ndarray:
    """(N,) number of candidates with an IoU above _SAME_IOU, itself included."""
    volume = (candidates.high - candidates.low).prod(1)
    order = np.argsort(volume, kind="stable")
    ascending = volume[order]
    # a larger IoU than the quotient of two volumes is impossible
    last = np.searchsorted(ascending, ascending / _SAME_IOU, side="right")
    votes = np.ones(len(order), np.int64)
    start = 0
    while start < len(order):
        lengths = last[start:] - np.arange(start, len(order)) - 1
        count = max(1, int(np.searchsorted(np.cumsum(lengths), _PAIRS_AT_ONCE)))
        lengths = lengths[:count]
        one = np.repeat(np.arange(start, start + count), lengths)
        other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        same = _ious(candidates, order[one], order[other]) > _SAME_IOU
        votes += np.bincount(one[same], minlength=len(order)) + np.bincount(other[same], minlength=len(order))
        start += count
    result = np.empty(len(order), np.int64)
    result[order] = votes
    return result


def _ious(candidates: Candidates, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(K,) IoU of the boxes at indices `one` with those at `other`."""
    low = np.maximum(candidates.low[one], candidates.low[other])
    high = np.minimum(candidates.high[one], candidates.high[other])
    shared = np.maximum(high - low, 0).prod(1)
    volume = (candidates.high - candidates.low).prod(1)
    return shared / np.maximum(volume[one] + volume[other] - shared, 1e-12)
